"""No two devices share a subject, and no device is granted what reads or writes past its own keys."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fleet.contract.buckets import (
    AGENT_LEASE,
    APP_BUCKETS,
    ARTIFACTS,
    ARTIFACTS_STREAM,
    DESIRED_INDEX,
    IDENTITIES,
    RELEASE_KEYS,
    TRUST_BUNDLE,
    TRUST_KEY,
)
from fleet.contract.names import DeviceId
from fleet.contract.permissions import (
    ARTIFACT_READS,
    DEVICE_READS,
    DEVICE_WRITES,
    LATER_READS,
    SHARED_READS,
    device_permissions,
)
from tests.contract.subjects import overlap

SHARED = {
    *ARTIFACT_READS,
    f"$JS.API.DIRECT.GET.{TRUST_BUNDLE.stream}.{TRUST_BUNDLE.subject(TRUST_KEY)}",
    TRUST_BUNDLE.notify_subject(TRUST_KEY),
    f"$JS.API.DIRECT.GET.{RELEASE_KEYS.stream}.{RELEASE_KEYS.subject(TRUST_KEY)}",
    RELEASE_KEYS.notify_subject(TRUST_KEY),
}
"""What every device may read alike."""
device_ids = st.from_regex(DeviceId.grammar, fullmatch=True).map(DeviceId)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("*.b", "a.*", True),
        ("*.b", "a.c", False),
        (">", "a.b.c", True),
        ("a.*.c", "a.b.>", True),
        ("a.*.c", "b.>", False),
        ("a", "a.b", False),
        ("pi-1.*", "pi-10.web", False),
    ],
)
def test_the_matching_itself(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@given(device_ids, device_ids)
def test_no_two_devices_share_a_subject(one: DeviceId, other: DeviceId) -> None:
    assume(one != other)
    mine, theirs = device_permissions(one), device_permissions(other)
    for my, their in product((*mine.publish, *mine.subscribe), (*theirs.publish, *theirs.subscribe)):
        assert (my == their and my in SHARED) or not overlap(my, their), (
            f"{one} may use {my}, which meets {their} of {other}"
        )


FORBIDDEN = [
    "$JS.API.INFO",
    "$JS.API.STREAM.>",
    "$JS.API.CONSUMER.>",
    "$JS.API.META.>",
    "$JS.API.SERVER.>",
    "$JS.API.ACCOUNT.>",
    "$JS.FC.>",
    "$SYS.>",
    "$O.>",
    "_INBOX.>",
    *(f"$JS.ACK.{bucket.stream}.>" for bucket in (*APP_BUCKETS, IDENTITIES)),
    *(f"$JS.API.DIRECT.GET.{bucket.stream}" for bucket in (*APP_BUCKETS, IDENTITIES)),
    *(f"$KV.{IDENTITIES.name}.>", f"$JS.API.DIRECT.GET.{IDENTITIES.stream}.>"),
]


@given(device_ids)
def test_no_device_gets_what_must_never_be_granted(device: DeviceId) -> None:
    granted = device_permissions(device)
    for subject, forbidden in product((*granted.publish, *granted.subscribe), FORBIDDEN):
        assert not overlap(subject, forbidden), f"{subject} meets {forbidden}"


@given(device_ids)
def test_every_grant_names_the_device(device: DeviceId) -> None:
    granted = device_permissions(device)
    for subject in (*granted.publish, *granted.subscribe):
        assert device in subject.split(".") or subject.startswith(f"_INBOX_{device}.") or subject in SHARED


@given(device_ids)
def test_no_subscription_has_a_depth_of_the_devices_choice(device: DeviceId) -> None:
    """nats-server keeps about 0.5 KB for each token, and a line has room for 8,000 of them."""
    assert not [subject for subject in device_permissions(device).subscribe if subject.endswith(">")]


def test_what_every_device_may_read_is_agents_only() -> None:
    prefix = f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.$O.{ARTIFACTS}."
    assert all(subject.startswith((f"{prefix}M.", f"{prefix}C.")) for subject in ARTIFACT_READS)


def test_no_device_writes_what_the_operator_decides() -> None:
    granted = device_permissions(DeviceId("pi-1"))
    for bucket in APP_BUCKETS:
        writes = any(overlap(subject, bucket.subject(">")) for subject in granted.publish)
        assert writes is (bucket in DEVICE_WRITES), bucket.name
        reads = any(overlap(subject, f"$JS.API.DIRECT.GET.{bucket.stream}.>") for subject in granted.publish)
        assert reads is (bucket in (*DEVICE_READS, *LATER_READS, *SHARED_READS)), bucket.name


def test_the_index_is_readable_and_the_lease_both() -> None:
    granted = device_permissions(DeviceId("pi-1"))
    assert f"$JS.API.DIRECT.GET.{DESIRED_INDEX.stream}.{DESIRED_INDEX.subject('pi-1')}" in granted.publish
    assert AGENT_LEASE.subject("pi-1") in granted.publish
