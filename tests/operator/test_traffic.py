"""What a device sends without writing a key counts, too: it is shut out, and neither its neighbour nor an agent is."""

from __future__ import annotations

from collections.abc import Callable

from fleet.contract.buckets import AGENT_LEASE
from fleet.contract.limits import MESSAGE_BURST
from fleet.contract.upgrade import MAX_ARTIFACT
from fleet.operator.meter import Flood
from fleet.operator.session_limit import Session
from fleet.operator.traffic import Sent, Traffic
from harness.devices.hostile.raw_connection import ConnectionEnded, RawConnection, message
from tests.operator.flooding import expect_shut_out
from tests.operator.test_sessions import enrolled
from tests.support.operator import Operator

Name = Callable[[str], str]


def sent(device: str, cid: int, messages: int, size: int = 0) -> Sent:
    return Sent(device, Session("S", cid), messages, size)


def test_what_was_sent_before_the_first_look_says_nothing_of_now() -> None:
    traffic = Traffic()
    assert traffic.seen([sent("pi-1", 1, 10**9, 10**12)], 0.0) == []
    assert traffic.seen([sent("pi-1", 1, 10**9 + 5, 10**12)], 1.0) == []


def test_who_sends_too_much_on_all_its_sessions_together_floods() -> None:
    traffic = Traffic()
    traffic.seen([sent("pi-3", 1, 0), sent("pi-1", 9, 0)], 0.0)
    half = MESSAGE_BURST // 2 + 100
    (flood,) = traffic.seen([sent("pi-3", 1, half), sent("pi-3", 2, half), sent("pi-1", 9, MESSAGE_BURST)], 1.0)
    assert (flood.device, flood.messages, flood.seconds) == ("pi-3", 2 * half, 1.0)
    assert flood.message.startswith(f"it sent {2 * half} messages")


def test_bytes_count_too() -> None:
    traffic = Traffic()
    traffic.seen([], 0.0)
    (flood,) = traffic.seen([sent("pi-3", 1, 3, 64 * 1024 * 1024)], 1.0)
    assert flood.size == 64 * 1024 * 1024


def took(cid: int, taken: int, device: str = "pi-3") -> Sent:
    return Sent(device, Session("S", cid), taken=taken)


def test_a_device_that_asks_slowly_for_much_is_shut_out() -> None:
    """Eighty small messages a second, below every other bound, fetch ten megabytes a second of agents."""
    traffic, floods = Traffic(), list[Flood]()
    for second in range(60):
        floods += traffic.seen([took(1, second * 10 * 1024 * 1024), took(2, 0, "pi-1")], float(second))
    assert {one.device for one in floods} == {"pi-3"}
    assert floods[0].message == "it took 230.7 MB in 22.0 s; right is 1.05 MB a second"


def test_whoever_fetches_the_largest_agent_again_and_again_is_not() -> None:
    """A download that breaks off near its end, three times."""
    traffic, floods = Traffic(), list[Flood]()
    for second in range(120):
        agents = min(3, second // 10) * MAX_ARTIFACT
        floods += traffic.seen([took(1, agents + 500_000 * second)], float(second))
    assert floods == []


def test_a_device_that_reads_without_end_is_shut_out(operator: Operator, name: Name) -> None:
    bad, good = enrolled(operator, name), enrolled(operator, name)
    get = message(f"$JS.API.DIRECT.GET.{AGENT_LEASE.stream}.{AGENT_LEASE.subject(bad)}".encode(), reply=b"_INBOX_x.y")

    async def ask(line: RawConnection) -> None:
        try:
            while True:
                await line.say(get * 200)
        except ConnectionEnded:
            return

    expect_shut_out(operator, bad, good, ask)
