"""What devices publish is heard as they sent it, and whose it is shows by the subject, or is asked for."""

from __future__ import annotations

import pytest

from fleet.contract.buckets import DEVICE_HEARTBEAT, chunk_subject, manifest_subject
from fleet.contract.names import DeviceId
from fleet.contract.permissions import device_permissions, inbox_prefix
from fleet.contract.sent import ALL_SENT, SERVICES, SHARED_SERVICES, inbox_owner, original, sender, sent_subject
from tests.contract.subjects import overlap


@pytest.mark.parametrize("granted", device_permissions(DeviceId("pi-3")).publish)
def test_everything_that_a_device_may_publish_is_heard_and_says_whose_it_is(granted: str) -> None:
    assert sum(overlap(granted, service) for service in SERVICES) == 1
    shared = any(overlap(granted, service) for service in SHARED_SERVICES)
    assert sender(granted.encode()) == ("" if shared else "pi-3")
    assert shared == ("pi-3" not in granted)
    assert overlap(ALL_SENT, sent_subject(granted))
    assert original(sent_subject(granted).encode()) == granted.encode()


def test_a_device_that_publishes_below_its_key_is_named_too() -> None:
    assert sender(DEVICE_HEARTBEAT.subject("pi-3.x.y").encode()) == "pi-3"
    assert sender(DEVICE_HEARTBEAT.subject("").encode() + b"\xff") != "pi-3"


@pytest.mark.parametrize("kept", [manifest_subject("v1"), chunk_subject("0" * 64, 0)])
def test_who_reads_an_agent_is_not_in_the_subject(kept: str) -> None:
    assert sender(f"$JS.API.DIRECT.GET.OBJ_agent-artifacts.{kept}".encode()) == ""


@pytest.mark.parametrize("granted", device_permissions(DeviceId("pi-3")).publish)
def test_the_answer_to_a_shared_read_comes_to_the_inbox_of_an_agent(granted: str) -> None:
    heard, reply = sent_subject(granted).encode(), f"{inbox_prefix(DeviceId('pi-3'))}.abc.1".encode()
    shared = "pi-3" not in granted
    assert inbox_owner(heard, reply) == ("pi-3" if shared else "")
    assert inbox_owner(heard, b"_INBOX_" + b"x" * 64 + b".1") == inbox_owner(heard, b"") == ""
    assert inbox_owner(heard, b"_INBOX_\xff.1") != "pi-3"
