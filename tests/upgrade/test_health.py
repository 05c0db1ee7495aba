"""When a workload counts as unwell: an upgrade must neither wait for a hiccup nor begin between two crashes."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from fleet.agent.upgrade.device.workload_health import Health, Illness
from fleet.agent.upgrade.protocol.events import Workloads
from fleet.contract.wire import DeviceState, Phase, Reason

PATIENCE = 5.0


def after(*looks: tuple[float, bool]) -> Illness:
    """What is known after looks at moments that each found it ill or not; the first found it ill."""
    (since, _), *later = looks
    illness = Illness(since)
    for now, ill in later:
        illness = illness.looked(ill=ill, now=now)
    return illness


def test_it_counts_once_it_has_lasted() -> None:
    lasting = after((0, True), (3, True))
    assert not lasting.counts(4.9, PATIENCE)
    assert lasting.counts(5, PATIENCE)
    assert not lasting.is_over(100, PATIENCE), "nobody has seen it well"


def test_one_failed_check_never_counts() -> None:
    hiccup = after((0, True), (1, False))
    assert not any(hiccup.counts(now / 10, PATIENCE) for now in range(200))
    assert hiccup.is_over(6, PATIENCE)


def test_a_good_look_between_two_crashes_is_no_recovery() -> None:
    looping = after((0, True), (1, False), (2, True), (3, False), (6, True), (7, False))
    assert looping.counts(7, PATIENCE), "it runs at this moment"
    assert looping.counts(11.9, PATIENCE)
    assert not looping.counts(12, PATIENCE)
    assert looping.is_over(12, PATIENCE)


@given(st.lists(st.tuples(st.floats(0.1, 4), st.booleans()), max_size=20))
def test_a_timer_at_the_next_change_misses_none(steps: list[tuple[float, bool]]) -> None:
    now, illness = 0.0, Illness(0)
    for pause, ill in steps:
        now += pause
        illness = illness.looked(ill=ill, now=now)
    change = illness.next_change(PATIENCE)
    if change > now:
        assert illness.counts(now, PATIENCE) == illness.counts((now + change) / 2, PATIENCE)


def test_both_ends_are_told_even_if_nobody_looks_again() -> None:
    told: list[bool] = []

    async def body() -> None:
        changed = asyncio.Event()

        def tell(workloads: Workloads) -> None:
            told.append(workloads.healthy)
            changed.set()

        async def next_word() -> None:
            changed.clear()
            await asyncio.wait_for(changed.wait(), 10)

        health = Health(0.05, tell)
        health.see({"web": DeviceState(1, Phase.RESTARTING, Reason.EXITED)}, busy=False)
        await next_word()
        health.see({"web": DeviceState(1, Phase.RUNNING, Reason.STARTED)}, busy=False)
        await next_word()

    asyncio.run(body())
    assert told == [True, False, True]


def test_a_crash_loop_counts_at_once() -> None:
    told: list[bool] = []

    async def body() -> None:
        health = Health(PATIENCE, lambda workloads: told.append(workloads.healthy))
        health.see({"web": DeviceState(1, Phase.RESTARTING, Reason.CRASH_LOOP)}, busy=False)
        health.see({"web": DeviceState(1, Phase.PENDING, Reason.STARTING)}, busy=False)
        health.emit(busy=False)

    asyncio.run(body())
    assert told == [False, False]
