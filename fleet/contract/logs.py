"""What travels when somebody reads a device's logs: the question, and its answer in pieces.

A reader asks at `ask_subject`, and repeats the question to keep the answer coming; the device answers at `log_subject`.
Nothing of it is stored. Decision 054 says who may read, and why a device can answer for itself alone.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleet.contract.buckets import HEARD_PREFIX
from fleet.contract.limits import Count, Message
from fleet.contract.names import DeviceId

LOG_READER_USER = "fleet-log-reader"
"""Whoever reads logs, in the STORE account; it may ask devices, and hear their answers, and nothing else."""
LOG_READER_SECRET = "fleet-log-reader"  # noqa: S105 - its name
"""The Kubernetes Secret with the password of that user: who may get it may read the logs of the server's devices."""
LOG_READER_KEY = "password"
"""Where in it."""

MAX_TAIL = 10_000
"""Lines of the past that may be asked for."""
MAX_SINCE = 31 * 86_400.0
"""Seconds of the past that may be asked for."""
MAX_LINE = 4096
"""Bytes of a line; what is longer is cut."""
MAX_TEXT = 16 * 1024
"""Bytes of the lines in a piece, as JSON: far below what a device may send in one message."""
UNSEEN = 4
"""Pieces that a device sends ahead of what the reader has seen: what waits before a heartbeat on a slow line."""
RENEW = 3.0
"""Seconds after which a reader repeats its question."""
FORGOTTEN = 12.0
"""Seconds without a question after which a device ends its answer."""
LONGEST = 3600.0
"""Seconds of one answer."""
MOST = 4 * 1024 * 1024
"""Bytes of one answer that does not follow."""
AT_ONCE = 4
"""Answers that a device gives at the same time."""

SessionId = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[A-Za-z0-9_-]{8,64}\Z")]
"""Chosen by the reader: whose answer it is."""
_Name = Annotated[str, msgspec.Meta(max_length=253)]
_Line = Annotated[str, msgspec.Meta(max_length=MAX_LINE * 4)]


class LogAsk(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="log-ask"):
    """Asks a device for a log, keeps its answer coming, or ends it.

    Without a `deployment` it is the agent's own. `since` is in seconds before now, 0 for all there is. `seen` is the
    number of the last piece that arrived. With `done` nobody reads any more.
    """

    session: SessionId
    deployment: _Name = ""
    container: _Name = ""
    since: Annotated[float, msgspec.Meta(ge=0, le=MAX_SINCE)] = 0
    tail: Annotated[int, msgspec.Meta(ge=0, le=MAX_TAIL)] = 100
    follow: bool = False
    seen: Count = 0
    done: bool = False


class LogPiece(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, tag="log"):
    """A piece of an answer. Numbers begin at 1 and leave out none; `dropped` lines are missing before its first.

    `skipped` says that lines are missing which nobody counted. The last piece has `ended`; `failed` says that the log
    could not be read, `message` why, or why it ends here.
    """

    session: SessionId
    number: Count
    lines: Annotated[tuple[_Line, ...], msgspec.Meta(max_length=MAX_TEXT)] = ()
    dropped: Count = 0
    skipped: bool = False
    ended: bool = False
    failed: bool = False
    message: Message = ""


_ASK = "fleet.log-ask"
_LOG = "fleet.log"
ALL_ASKS, ALL_LOGS = f"{_ASK}.*", f"{_LOG}.*"


def ask_subject(device: DeviceId) -> str:
    """Where a reader asks a device, in the STORE account."""
    return f"{_ASK}.{device}"


def heard_subject(device: DeviceId) -> str:
    """Where the device hears it: below the prefix where no reply of another device arrives (decision 030)."""
    return f"{HEARD_PREFIX}.{ask_subject(device)}"


def log_subject(device: DeviceId) -> str:
    """Where a device answers, in both accounts."""
    return f"{_LOG}.{device}"
