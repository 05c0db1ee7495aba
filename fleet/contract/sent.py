"""Where the operator hears what devices publish as they sent it: with the reply-to that they chose (decision 100).

Between accounts the server replaces a reply-to, so what a device chose shows in its own account alone. APP exports
what devices publish to STORE, below a prefix of its own, and says of a shared read who asks.
"""

from __future__ import annotations

from fleet.contract.logs import ALL_LOGS
from fleet.contract.names import DeviceId
from fleet.contract.permissions import ARTIFACT_READS, DEVICE_READS, DEVICE_WRITES, LATER_READS, SHARED_READS

SENT_PREFIX = "fleet.sent"
ALL_SENT = f"{SENT_PREFIX}.>"
"""Where it is heard in STORE."""
_DIRECT_GET = "$JS.API.DIRECT.GET"
SHARED_SERVICES = (*(f"{_DIRECT_GET}.{it.stream}.{it.subject('>')}" for it in SHARED_READS), *ARTIFACT_READS)
"""Reads in which no device is named, for all may ask for the same."""
SERVICES = (
    *(bucket.subject(">") for bucket in DEVICE_WRITES),
    ALL_LOGS,
    *(f"{_DIRECT_GET}.{bucket.stream}.{bucket.subject('>')}" for bucket in (*DEVICE_READS, *LATER_READS)),
    *SHARED_SERVICES,
)
"""What devices may publish: acknowledged writes, logs, which get no answer, and direct gets."""
_NAMED = (
    *(bucket.subject("").encode() for bucket in DEVICE_WRITES),
    ALL_LOGS.removesuffix("*").encode(),
    *(f"{_DIRECT_GET}.{it.stream}.{it.subject('')}".encode() for it in (*DEVICE_READS, *LATER_READS)),
)
"""What stands before a device's id in the other subjects."""

_SHARED = tuple(f"{SENT_PREFIX}.{one}".partition("*")[0].removesuffix(">").encode() for one in SHARED_SERVICES)
"""How what was heard of such a read begins."""
_INBOX = b"_INBOX_"


def sent_subject(subject: str) -> str:
    """Where STORE hears what is published at `subject`, or at those of a pattern, in APP."""
    return f"{SENT_PREFIX}.{subject}"


def original(heard: bytes) -> bytes:
    """The subject in APP of what was heard in STORE."""
    return heard[len(SENT_PREFIX) + 1 :]


def inbox_owner(heard: bytes, reply: bytes) -> str:
    """The device in whose inbox the answer to a shared read is to arrive; empty for anything else that was heard."""
    if not reply.startswith(_INBOX) or not heard.startswith(_SHARED):
        return ""
    owner = reply[len(_INBOX) :].partition(b".")[0]
    return owner.decode("ascii", "replace") if len(owner) <= DeviceId.longest else ""


def sender(subject: bytes) -> str:
    """The device that published at `subject`, for no other one may; empty where several may."""
    start = next((prefix for prefix in _NAMED if subject.startswith(prefix)), None)
    return "" if start is None else subject[len(start) :].partition(b".")[0].decode("ascii", "replace")
