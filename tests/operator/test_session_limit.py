"""One device holds a few sessions at most, whatever it opens; a neighbour's is not among those that are ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest

from fleet.contract.limits import SESSION_BURST
from fleet.operator.session_limit import MAX_SESSIONS, Session, SessionLimit, SessionPace
from harness.devices.hostile.raw_connection import ConnectionEnded, RawConnection
from harness.wait import WaitTimeout
from tests.operator.flooding import expect_shut_out
from tests.operator.test_sessions import enrolled
from tests.support.callout_stand_in import callout_stand_in
from tests.support.operator import Operator
from tests.support.waiting import eventually

Name = Callable[[str], str]


def sessions(*cids: int) -> list[Session]:
    return [Session("S", cid) for cid in cids]


def test_the_oldest_sessions_of_a_device_go_when_there_are_too_many() -> None:
    limit = SessionLimit()
    surplus = [limit.begun("pi-3", one) for one in sessions(*range(MAX_SESSIONS + 2))]
    assert surplus == [[]] * MAX_SESSIONS + [sessions(0), sessions(1)]
    assert limit.begun("pi-1", Session("S", 99)) == [], "each device has its own"


def test_a_session_that_ended_makes_room() -> None:
    limit = SessionLimit()
    for one in sessions(*range(MAX_SESSIONS)):
        limit.begun("pi-3", one)
    limit.ended("pi-3", Session("S", 5))
    assert limit.begun("pi-3", Session("S", 50)) == []
    assert limit.begun("pi-3", Session("S", 51)) == sessions(0)


def test_a_count_finds_what_nobody_told_of() -> None:
    limit = SessionLimit()
    for one in sessions(1, 2, 3):
        limit.begun("pi-3", one)
    before = limit.known()
    limit.begun("pi-3", Session("S", 100))  # while NATS was asked
    found = [("pi-3", one) for one in sessions(2, *range(10, 20))]
    ended = limit.recounted(before, found)
    assert not {Session("S", 1), Session("S", 3)} & set(ended), "they are gone already"
    assert len({one for device, one in limit.known() if device == "pi-3"} - set(ended)) == MAX_SESSIONS
    assert len(ended) == 12 - MAX_SESSIONS


def test_a_session_that_is_being_ended_when_it_is_listed_takes_nobodys_place() -> None:
    limit = SessionLimit()
    for one in sessions(*range(MAX_SESSIONS + 2)):
        limit.begun("pi-3", one)
    listed = [("pi-3", one) for one in sessions(*range(MAX_SESSIONS + 2))]
    for _ in range(2):
        assert limit.recounted(limit.known(), listed) == sessions(0, 1), "they are ended once more, and no others"
    assert limit.recounted(limit.known(), listed[2:]) == []
    assert limit.begun("pi-3", Session("S", 50)) == sessions(2)


@pytest.mark.parametrize(("pause", "found_within"), [(0.01, 2.0), (1.0, 260.0)])
def test_a_device_that_begins_sessions_without_end_is_found(pause: float, found_within: float) -> None:
    """One a second is enough for it: what a session does shows at its second look only."""
    pace = SessionPace()
    floods = [flood for number in range(1000) if (flood := pace.begun("pi-3", pause * number))]
    assert floods
    assert floods[0].seconds < found_within
    assert f"it began {floods[0].messages} sessions in " in floods[0].message
    assert "right is one in 2 s" in floods[0].message


def test_a_bad_line_is_no_flood_of_sessions() -> None:
    """It comes back every other second, for hours; or a hundred times at once, as after a restart of NATS."""
    pace = SessionPace()
    assert not [number for number in range(5000) if pace.begun("pi-1", 2.0 * number)]
    assert not [number for number in range(SESSION_BURST) if pace.begun("pi-2", 5.0)]


def test_a_device_that_comes_back_without_end_is_shut_out(operator: Operator, name: Name) -> None:
    bad, good = enrolled(operator, name), enrolled(operator, name)

    async def begins() -> bool:
        try:
            line = await RawConnection.open(operator.nats.url, operator.nats.tls.ca)
        except ConnectionEnded:
            return False
        try:
            return await line.log_in(f"sub-{bad}")
        except ConnectionEnded:
            return False
        finally:
            line.close()

    async def come_back(_: RawConnection) -> None:
        """Until it is refused: one after the other, so that the oldest session is not among a surplus."""
        refused = 0
        while refused < 3:
            refused = 0 if await begins() else refused + 1

    expect_shut_out(operator, bad, good, come_back)


def test_a_session_that_is_to_end_and_is_heard_of_late_pushes_no_newer_one_out() -> None:
    limit, sessions = SessionLimit(), [Session("S", number) for number in range(MAX_SESSIONS + 1)]
    listed = [("pi-1", session) for session in sessions]
    assert limit.recounted(frozenset(), listed) == sessions[:1]
    assert limit.begun("pi-1", sessions[0]) == sessions[:1]
    assert limit.held("pi-1") == sessions[1:]


def test_a_session_that_ended_while_nats_listed_it_pushes_no_newer_one_out() -> None:
    limit, sessions = SessionLimit(), [Session("S", number) for number in range(MAX_SESSIONS + 1)]
    listed = [("pi-1", session) for session in sessions]
    for session in sessions[:-1]:
        assert limit.begun("pi-1", session) == []
    before = limit.count()
    limit.ended("pi-1", sessions[0])
    assert limit.begun("pi-1", sessions[-1]) == []
    for _ in range(3):  # NATS says that a session ended before it takes it off its list
        assert limit.recounted(before, listed) == []
        assert limit.held("pi-1") == sessions[1:]
        before = limit.count()
    assert limit.begun("pi-1", sessions[0]) == []
    assert limit.held("pi-1") == sessions[1:], "its beginning was heard after its end"
    assert limit.recounted(before, listed[1:]) == []


@asynccontextmanager
async def held(operator: Operator, device: str, number: int) -> AsyncGenerator[list[RawConnection]]:
    """So many sessions that do not come back; one after the other, so that their order is known."""
    lines: list[RawConnection] = []
    try:
        for _ in range(number):
            lines.append(await RawConnection.open(operator.nats.url, operator.nats.tls.ca))
            assert await lines[-1].log_in(f"sub-{device}")
        yield lines
    finally:
        for line in lines:
            line.close()


def alive(lines: list[RawConnection]) -> list[bool]:
    return [not line.over for line in lines]


def test_a_device_that_opens_sessions_without_end_keeps_the_newest_few(operator: Operator, name: Name) -> None:
    bad, good = enrolled(operator, name), enrolled(operator, name)

    async def run() -> None:
        async with (
            callout_stand_in(operator.nats),
            held(operator, good, 1) as other,
            held(operator, bad, 20) as lines,
        ):
            wanted = [False] * (20 - MAX_SESSIONS) + [True] * MAX_SESSIONS
            try:
                await eventually(lambda: alive(lines) == wanted, "the newest few are left")
            except WaitTimeout as error:
                raise AssertionError(f"{error}: {alive(lines)}") from None
            assert alive(other) == [True]

    asyncio.run(run())


def test_sessions_that_began_without_an_operator_are_counted_when_it_comes(operator: Operator, name: Name) -> None:
    bad = enrolled(operator, name)

    async def run() -> None:
        async with callout_stand_in(operator.nats):
            await asyncio.to_thread(operator.stop)
            async with held(operator, bad, 12) as lines:
                await asyncio.to_thread(operator.start_ready)
                await eventually(lambda: alive(lines).count(True) == MAX_SESSIONS, "a few are left", within=30)

    asyncio.run(run())
