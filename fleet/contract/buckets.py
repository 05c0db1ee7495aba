"""The JetStream KV buckets and their subjects, in one place."""

from __future__ import annotations

from typing import Generic

import msgspec

from fleet.contract.certificates import TrustBundle
from fleet.contract.machine_keys import KeyOrder
from fleet.contract.release_keys import OfferedKeys
from fleet.contract.states import DeviceStates
from fleet.contract.wire import (
    AgentLease,
    AgentTarget,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Heartbeat,
    Identity,
    T,
)

APP_ACCOUNT = "APP"
"""The NATS account of every device. It holds no stream: a device reaches its keys through what STORE exports."""
STORE_ACCOUNT = "STORE"
"""The NATS account of the operator, and of the buckets that it and the devices share."""
CONTROL_ACCOUNT = "CONTROL"
"""The NATS account of the callout service and the identity registry; no device ever gets in."""
SYSTEM_ACCOUNT = "SYS"
"""The NATS system account: connection listing and kicking."""
ARTIFACTS = "agent-artifacts"
"""The store of agents: what each version is, and its file in pieces."""
ARTIFACTS_STREAM = f"OBJ_{ARTIFACTS}"
"""The stream behind it (named as NATS ADR-20 has it; its chunks are not: see docs/decisions/015)."""
APP_USER = "fleet-app"
"""The operator in the STORE account."""
CONTROL_USER = "fleet-control"
"""The operator in the CONTROL account: it writes the identity registry."""
CALLOUT_USER = "fleet-callout"
"""The callout service in the CONTROL account."""
PUBLISHER_USER = "fleet-publisher"
"""An admin who publishes agents in the STORE account, and may do nothing else there."""
PUBLISHER_INBOX = f"_INBOX_{PUBLISHER_USER}"
"""The publisher's own inbox prefix: the only one its user may listen on."""
WEB_USER = "fleet-web"
"""The web page in the STORE account: it hears what devices report, and may say nothing."""
SYSTEM_USER = "fleet-system"
"""The operator in the system account: it lists and kicks connections."""
CALLOUT_INBOX = f"_INBOX_{CALLOUT_USER}"
"""The callout's own inbox prefix: the only one its user may listen on."""
AUTH_SUBJECT = "$SYS.REQ.USER.AUTH"
"""Where nats-server asks for decisions (servers' ADR-26)."""
CALLOUT_QUEUE = "fleet-callout"
"""The queue group that callout replicas share."""

_CHANGES = "fleet.changed"
"""Where the streams of STORE tell that a key was written; the value is not in it."""
ALL_CHANGES = f"{_CHANGES}.>"
HEARD_PREFIX = "$JS.ACK"
"""What devices put before such a subject to hear of it. nats-server refuses every reply-to that begins so, and no
device may publish there: what is heard there was said by a stream (docs/decisions/030)."""


class Bucket(msgspec.Struct, Generic[T], frozen=True):
    """A KV bucket and the kind of its values."""

    name: str
    kind: type[T]
    account: str = STORE_ACCOUNT
    reported: bool = False
    """Whether devices write it, so that its values are bounded by the reader (`wire.decode_report`)."""
    largest: int = -1
    """Bytes of a message that the stream takes, headers included; -1 where only the operator writes."""
    keys: str = ">"
    """The keys that are stored."""

    @property
    def stream(self) -> str:
        """The stream behind the bucket (NATS ADR-8)."""
        return f"KV_{self.name}"

    def subject(self, key: str) -> str:
        """The subject of a key, or of a key pattern."""
        return f"$KV.{self.name}.{key}"

    def changed(self, key: str) -> str:
        """Where the stream tells, in its own account, that the key, or one of the pattern, was written."""
        return f"{_CHANGES}.{self.name}.{key}"

    def notify_subject(self, key: str) -> str:
        """Where a device hears of it."""
        return f"{HEARD_PREFIX}.{self.changed(key)}"


def manifest_subject(version: str) -> str:
    """Where the signed manifest of a version is kept, or those of a pattern of versions."""
    return f"$O.{ARTIFACTS}.M.{version}"


def chunk_subject(digest: str, number: int | str) -> str:
    """Where a piece of an artefact is kept: by the digest of the whole, without `sha256:`, and its place from 0."""
    return f"$O.{ARTIFACTS}.C.{digest.removeprefix('sha256:')}.{number}"


DESIRED_STATE = Bucket("desired-state", Desired)
DESIRED_INDEX = Bucket("desired-state", DesiredIndex)
"""The same bucket, under the one-token key `<device>`."""
DEVICE_STATE = Bucket("device-state", DeviceStates, reported=True, largest=62 * 1024, keys="*")
SINGLE_STATE = Bucket("device-state", DeviceState, reported=True)
"""Where agents up to two releases behind report: `<device>.<deployment>`. It is not stored; the operator answers."""
DEVICE_INFO = Bucket("device-info", DeviceInfo, reported=True, largest=16 * 1024)
DEVICE_HEARTBEAT = Bucket("device-heartbeat", Heartbeat, reported=True, largest=4 * 1024)
AGENT_TARGET = Bucket("agent-target", AgentTarget)
AGENT_LEASE = Bucket("agent-lease", AgentLease, reported=True, largest=4 * 1024)
TRUST_BUNDLE = Bucket("trust-bundle", TrustBundle)
TRUST_KEY = "server"
"""The one key of `TRUST_BUNDLE`, and of `RELEASE_KEYS`, which every device may read."""
KEY_ORDER = Bucket("key-order", KeyOrder)
RELEASE_KEYS = Bucket("release-keys", OfferedKeys)
IDENTITIES = Bucket("identities", Identity, CONTROL_ACCOUNT)

APP_BUCKETS = (
    DESIRED_STATE,
    DEVICE_STATE,
    DEVICE_INFO,
    DEVICE_HEARTBEAT,
    AGENT_TARGET,
    AGENT_LEASE,
    TRUST_BUNDLE,
    KEY_ORDER,
    RELEASE_KEYS,
)
"""What the operator creates in the STORE account."""
