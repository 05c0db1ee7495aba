"""What a device may do in NATS: one pure function, applied by the callout and enumerated by the tests.

The rules follow the measured "core" profile of the NATS reference: a device publishes to and reads its own keys only,
gets them by direct get, and hears by a core subscription that they were written. It never gets a consumer, a stream's
information, or a bare direct get, for each of these reads or writes past its own keys.
"""

from __future__ import annotations

import msgspec

from fleet.contract.buckets import (
    AGENT_LEASE,
    AGENT_TARGET,
    ARTIFACTS_STREAM,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    KEY_ORDER,
    RELEASE_KEYS,
    SINGLE_STATE,
    TRUST_BUNDLE,
    TRUST_KEY,
    chunk_subject,
    manifest_subject,
)
from fleet.contract.logs import heard_subject, log_subject
from fleet.contract.names import DeviceId

DEVICE_READS = (DESIRED_STATE, AGENT_TARGET, AGENT_LEASE, DEVICE_HEARTBEAT)
"""The buckets of which a device reads its own keys. Its heartbeat: an agent listens for its successor."""
DEVICE_WRITES = (DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT, AGENT_LEASE)
"""The buckets of which a device writes its own keys."""
LATER_READS = (KEY_ORDER,)
"""The same, of buckets that no agent listens to by the raw subject: they are younger than decision 030."""
SHARED_READS = (TRUST_BUNDLE, RELEASE_KEYS)
"""The buckets of which every device reads the same key, and hears of it."""
ARTIFACT_READS = tuple(
    f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.{kept}" for kept in (manifest_subject(">"), chunk_subject("*", "*"))
)
"""What every device may ask for: agents are no secret, and a signature protects them."""

MAX_SUBSCRIPTIONS = 32
"""Subscriptions of one device's connection; an agent holds nine."""
MAX_PAYLOAD = 64 * 1024
"""Bytes of a message of a device, headers included; nats-server ends the connection that sends more."""


class Permissions(msgspec.Struct, frozen=True):
    """Subjects that a NATS user may publish and subscribe to; everything else is refused."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(device: DeviceId) -> str:
    """The device's own inbox prefix: replies to one device reach no other."""
    return f"_INBOX_{device}"


def device_permissions(device: DeviceId) -> Permissions:
    """The whole of what one device may do."""
    read = (
        (DESIRED_INDEX, f"{device}"),
        (DESIRED_STATE, f"{device}.*"),
        (AGENT_TARGET, f"{device}"),
        (AGENT_LEASE, f"{device}"),
        (DEVICE_HEARTBEAT, f"{device}"),
    )
    write = (
        (DEVICE_STATE, f"{device}"),
        # Agents up to two releases behind report here. No key of this form is stored.
        (SINGLE_STATE, f"{device}.*"),
        (DEVICE_INFO, f"{device}"),
        (DEVICE_HEARTBEAT, f"{device}"),
        (AGENT_LEASE, f"{device}"),
    )
    later = ((KEY_ORDER, f"{device}"), *((bucket, TRUST_KEY) for bucket in SHARED_READS))
    direct_get = tuple(f"$JS.API.DIRECT.GET.{bucket.stream}.{bucket.subject(key)}" for bucket, key in (*read, *later))
    return Permissions(
        publish=(
            *(bucket.subject(key) for bucket, key in write),
            log_subject(device),
            *direct_get,
            *ARTIFACT_READS,
        ),
        subscribe=(
            # What clients ask for, and nothing deeper: nats-server keeps 0.5 KB for each token of a subscription, and a
            # line has room for 8,000. With `>` here, one device's sessions took 900 MB.
            f"{inbox_prefix(device)}.*",
            f"{inbox_prefix(device)}.*.*",
            *(bucket.notify_subject(key) for bucket, key in read),
            heard_subject(device),
            # Agents up to two releases behind listen here, where the reply-to of another device reaches.
            *(bucket.subject(key) for bucket, key in read),
            *(bucket.notify_subject(key) for bucket, key in later),
        ),
    )
