"""A device that sends a reply-to with a wildcard is found and shut out, and no other one is accused of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.contract.buckets import DEVICE_HEARTBEAT, TRUST_BUNDLE, TRUST_KEY, manifest_subject
from fleet.contract.logs import log_subject
from fleet.contract.names import DeviceId
from fleet.contract.sent import sent_subject
from fleet.operator.wildcard_replies import LATE, WildcardReplies
from harness.devices.hostile.raw_connection import RawConnection, message
from tests.operator.flooding import expect_shut_out
from tests.operator.test_sessions import enrolled
from tests.support.operator import Operator

Name = Callable[[str], str]

TRUST = f"$JS.API.DIRECT.GET.{TRUST_BUNDLE.stream}.{TRUST_BUNDLE.subject(TRUST_KEY)}"
AGENTS = f"$JS.API.DIRECT.GET.OBJ_agent-artifacts.{manifest_subject('v')}"


class Ear:
    """What is heard of several devices at times of its own."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.now = 100.0
        self._ear = WildcardReplies(self.found.append)

    def asks(self, device: str, subject: str) -> None:
        self._ear.asked(subject.encode(), device, self.now)

    def sends(self, subject: str, reply: str = "_INBOX_pi-3.*") -> bool:
        return self._ear.sent(sent_subject(subject).encode(), reply.encode(), self.now)

    def judge(self) -> None:
        self.now += LATE
        self._ear.judge(self.now)

    def reads(self, subject: str, *devices: str) -> None:
        """Devices read the same, and one of them sends a wildcard."""
        self.now += 10
        for device in devices:
            self.asks(device, subject)
        assert self.sends(subject)
        self.judge()


@pytest.mark.parametrize("reply", ["_INBOX_pi-2.>", ">", "*", "_INBOX_pi-3.7.aaa.*", "a*b"])
def test_one_reply_to_is_enough_where_the_subject_names_the_device(reply: str) -> None:
    ear = Ear()
    assert not ear.sends(DEVICE_HEARTBEAT.subject("pi-3"), reply)
    assert ear.found == ["pi-3"]


def test_other_reply_tos_are_right() -> None:
    ear = Ear()
    for subject in (DEVICE_HEARTBEAT.subject("pi-3"), TRUST):
        for reply in ("", "_INBOX_pi-3.abc.7", "$KV.desired-state.pi-2"):
            assert not ear.sends(subject, reply)
    assert ear.found == []


def test_a_read_that_all_may_make_is_put_down_to_the_only_one_who_made_it() -> None:
    ear = Ear()
    ear.reads(TRUST, "pi-3")
    ear.reads(AGENTS + "1", "pi-3")
    assert ear.found == []
    ear.reads(AGENTS + "2", "pi-3")
    assert ear.found == ["pi-3"]


def test_a_burst_of_several_reads_is_judged_at_once() -> None:
    ear = Ear()
    begins: list[bool] = []
    for number in range(50):
        ear.asks("pi-3", f"{AGENTS}{number}")
        begins.append(ear.sends(f"{AGENTS}{number}"))
    assert begins == [True, *[False] * 49], "one judgement for all"
    ear.judge()
    assert ear.found == ["pi-3"]


def test_who_reads_the_same_at_the_same_time_is_not_accused() -> None:
    """Nor is anybody else, as long as it may have been either."""
    ear = Ear()
    for _ in range(20):
        ear.reads(TRUST, "pi-1", "pi-3")
    assert ear.found == []


def test_two_stolen_devices_that_make_the_same_reads_are_both_found() -> None:
    """With a wildcard both, or one of them as cover for the other, under whatever inbox."""
    for cover in ("_INBOX_pi-4.*", "_INBOX_pi-4.x", "_INBOX_pi-3.x", "_INBOX_pi-1.x", "", "x"):
        ear = Ear()
        for number in range(60):
            ear.now += 1 / 90
            for device, reply in (("pi-3", "_INBOX_pi-3.*"), ("pi-4", cover)):
                ear.asks(device, f"{AGENTS}{number}")
                ear.sends(f"{AGENTS}{number}", reply)
            if number % 10 == 9:
                ear.judge()
        assert ear.found, cover
        assert set(ear.found) <= {"pi-3", "pi-4"}


def test_an_agent_that_reads_what_a_thief_reads_with_a_wildcard_is_not_accused() -> None:
    """Whichever is heard first, and however many names the thief gives to others."""
    ear = Ear()
    for number in range(200):
        subject = f"{AGENTS}{number}"
        ear.now += 1 / 90
        ear.asks("pi-3", subject)
        ear.sends(subject)
        for kind in ("ask", "send") if number % 2 else ("send", "ask"):
            if kind == "ask":
                ear.asks("pi-1", subject)
            else:
                ear.sends(subject, "_INBOX_pi-1.nuid.1")
        ear.sends(subject, "_INBOX_pi-2.nuid.1")
        if number % 10 == 9:
            ear.judge()
    assert set(ear.found) == {"pi-3"}


def test_a_request_that_is_heard_later_than_its_reply_to_counts() -> None:
    ear = Ear()
    for _ in range(3):
        ear.now += 10
        ear.sends(TRUST)
        ear.asks("pi-3", TRUST)
        ear.judge()
    assert ear.found == ["pi-3"]


def test_a_request_of_long_before_accuses_nobody() -> None:
    ear = Ear()
    for _ in range(20):
        ear.asks("pi-1", TRUST)
        ear.now += 0.3
        ear.sends(TRUST)
        ear.judge()
    assert ear.found == []


def test_a_few_that_point_to_another_device_do_not_accuse_it() -> None:
    """As with requests that came late: of 500 reads that a thief guesses, some are what another one reads just then."""
    ear = Ear()
    for number in range(500):
        ear.asks("pi-1" if number % 50 == 0 else "", f"{AGENTS}{number}")
        ear.sends(f"{AGENTS}{number}")
    ear.judge()
    assert "pi-1" not in ear.found


def test_nobody_is_accused_where_requests_were_left_out() -> None:
    ear = Ear()
    for number in range(30_000):
        ear.asks("pi-3", f"{AGENTS}{number}")
    for _ in range(5):
        ear.asks("pi-1", TRUST)
        ear.sends(TRUST)
        ear.judge()
    assert ear.found == []


def own(device: str) -> list[bytes]:
    """One message."""
    return [message(log_subject(DeviceId(device)).encode(), reply=b"_INBOX_pi-2.>")]


def shared(_: str) -> list[bytes]:
    """Who asks is in none of the subjects."""
    return [
        message(at.encode(), reply=b"_INBOX_pi-2.*") for at in (TRUST, *(f"{AGENTS}{number}" for number in range(4)))
    ]


def hidden(device: str) -> list[bytes]:
    """NATS is to trace the message, and to hand it to nobody; what it tells of it arrives at the device's own log."""
    return [_traced(device, log_subject(DeviceId(device)), "gzip")]


def hidden_in_a_read(device: str) -> list[bytes]:
    """What NATS tells arrives where the subject names no device, compressed."""
    return [_traced(device, AGENTS, "snappy")]


def _traced(device: str, told_at: str, encoding: str) -> bytes:
    headers = f"NATS/1.0\r\nNats-Trace-Dest: {told_at}\r\nNats-Trace-Only: true\r\nAccept-Encoding: {encoding}\r\n\r\n"
    return message(log_subject(DeviceId(device)).encode(), reply=b"_INBOX_pi-2.*", headers=headers.encode())


@pytest.mark.parametrize("say", [own, shared, hidden, hidden_in_a_read])
def test_a_device_is_shut_out_until_an_admin_lets_it_in(
    operator: Operator, name: Name, say: Callable[[str], list[bytes]]
) -> None:
    bad, good = enrolled(operator, name), enrolled(operator, name)

    async def send(line: RawConnection) -> None:
        """Each once."""
        for one in say(bad):
            await line.say(one)

    expect_shut_out(operator, bad, good, send, "Flooding")
    device = operator.objects.device(bad)
    assert device is not None
    (told,) = [one.message for one in device.status.conditions if one.type == "Quarantined"]
    did = "had NATS trace a message" if "hidden" in say.__name__ else "sent a reply-to with a wildcard"
    assert told.startswith(f"it {did}, which no agent does")
    assert told.endswith("; it is kept out until `fleet device release`")
