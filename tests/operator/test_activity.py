"""Subscriptions that NATS refuses are counted by nobody: who asks for them without end is found, and shut out."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.operator.activity import Activity
from fleet.operator.meter import Flood
from fleet.operator.session_limit import Session
from fleet.operator.traffic import Sent
from harness.devices.hostile.raw_connection import ConnectionEnded, RawConnection
from tests.operator.flooding import expect_shut_out
from tests.operator.test_sessions import enrolled
from tests.support.operator import Operator

Name = Callable[[str], str]


def active(idle: float, exchanged: int = 0, device: str = "pi-3", cid: int = 1) -> Sent:
    return Sent(device, Session("S", cid), exchanged=exchanged, idle=idle)


@pytest.mark.parametrize("idle", [0.0, 0.002, 0.03])
def test_who_is_always_active_and_sends_nothing_is_found_within_seconds(idle: float) -> None:
    activity, floods = Activity(), list[Flood]()
    for look in range(20):
        # Its neighbour beats once in ten seconds.
        floods += activity.seen([active(idle), active(look % 10, look // 10, "pi-1", 2)], 1.2 * look)
    assert {one.device for one in floods} == {"pi-3"}
    assert floods[0].message.startswith("it kept NATS busy for ")
    assert floods[0].seconds < 24


def test_a_few_heartbeats_in_between_do_not_hide_it() -> None:
    activity = Activity()
    floods = [flood for look in range(60) for flood in activity.seen([active(0.02, 5 * look)], 1.2 * look)]
    assert floods
    assert {one.device for one in floods} == {"pi-3"}


def test_a_new_session_tells_nothing_yet() -> None:
    """A device that comes back again and again asks for its subscriptions each time."""
    activity = Activity()
    assert [flood for look in range(200) for flood in activity.seen([active(0.01, cid=look)], 1.2 * look)] == []


@given(seed=st.integers(0, 2**32), rate=st.floats(0.01, 300), wait=st.sampled_from([1.0, 5.0, 40.0]))
def test_whoever_sends_what_it_says_is_never_taken_for_one(seed: int, rate: float, wait: float) -> None:
    """Regular heartbeats as well as messages at random; the looks are at random moments."""
    chance = random.Random(seed)
    activity, now = Activity(), 0.0
    for _ in range(60):
        now += wait * chance.uniform(1, 1.5)
        regular = active(now % (1 / rate), int(now * rate), "regular", 1)
        moments = chance.expovariate(rate)
        at_random = active(min(moments, now), int(now * rate), "random", 2)
        assert activity.seen([regular, at_random], now) == []


def test_a_device_whose_subscriptions_are_refused_without_end_is_shut_out(operator: Operator, name: Name) -> None:
    bad, good = enrolled(operator, name), enrolled(operator, name)
    refused = b"".join(b"SUB $SYS.%d %d\r\n" % (number, number) for number in range(20))

    async def flood(line: RawConnection) -> None:
        """It waits for each answer, so that nothing but the server ends its session."""
        with contextlib.suppress(ConnectionEnded):
            while not line.over:
                await line.say(refused)
                await line.settle(60)

    expect_shut_out(operator, bad, good, flood)
