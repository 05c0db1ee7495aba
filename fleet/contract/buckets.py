"""The JetStream KV buckets and their subjects, in one place."""

from __future__ import annotations

from typing import Generic

import msgspec

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
"""The object store of agent versions."""
APP_USER = "fleet-app"
"""The operator in the STORE account."""
CONTROL_USER = "fleet-control"
"""The operator in the CONTROL account: it writes the identity registry."""
CALLOUT_USER = "fleet-callout"
"""The callout service in the CONTROL account."""
SYSTEM_USER = "fleet-system"
"""The operator in the system account: it lists and kicks connections."""
CALLOUT_INBOX = f"_INBOX_{CALLOUT_USER}"
"""The callout's own inbox prefix: the only one its user may listen on."""
AUTH_SUBJECT = "$SYS.REQ.USER.AUTH"
"""Where nats-server asks for decisions (servers' ADR-26)."""
CALLOUT_QUEUE = "fleet-callout"
"""The queue group that callout replicas share."""


class Bucket(msgspec.Struct, Generic[T], frozen=True):
    """A KV bucket and the kind of its values."""

    name: str
    kind: type[T]
    account: str = STORE_ACCOUNT

    @property
    def stream(self) -> str:
        """The stream behind the bucket (NATS ADR-8)."""
        return f"KV_{self.name}"

    def subject(self, key: str) -> str:
        """The subject of a key, or of a key pattern."""
        return f"$KV.{self.name}.{key}"


DESIRED_STATE = Bucket("desired-state", Desired)
DESIRED_INDEX = Bucket("desired-state", DesiredIndex)
"""The same bucket, under the one-token key `<device>`."""
DEVICE_STATE = Bucket("device-state", DeviceState)
DEVICE_INFO = Bucket("device-info", DeviceInfo)
DEVICE_HEARTBEAT = Bucket("device-heartbeat", Heartbeat)
AGENT_TARGET = Bucket("agent-target", AgentTarget)
AGENT_LEASE = Bucket("agent-lease", AgentLease)
IDENTITIES = Bucket("identities", Identity, CONTROL_ACCOUNT)

APP_BUCKETS = (DESIRED_STATE, DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_TARGET, AGENT_LEASE)
"""What the operator creates in the STORE account."""
