"""A device that comes and goes all day long does not fill Kubernetes with events about it; none of it is lost."""

from __future__ import annotations

import asyncio
from typing import NamedTuple, cast

from fleet.operator.act.events import Events
from fleet.operator.kube import KubeApi, Meta, Times
from fleet.operator.metrics import Metrics
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Note
from fleet.operator.skipped_keys import SkippedKeys
from tests.support.waiting import eventually


class Told(NamedTuple):
    name: str
    reason: str
    message: str
    times: Times


class Api:
    """Stands for the API server, and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Told] = []

    async def create_event(self, kind: str, meta: Meta, note: Note, times: Times) -> None:
        del kind
        self.told.append(Told(meta.name, note.reason, note.message, times))


def told_after(puts: list[tuple[str, str, float]]) -> list[Told]:
    api = Api()
    events = Events(cast("KubeApi", api), Readiness(), SkippedKeys(Metrics()))

    async def run() -> None:
        task = asyncio.create_task(events.run())
        for number, (name, reason, at) in enumerate(puts):
            events.put("Device", Meta(name, "u", "1", ()), Note("Warning", reason, f"the {number}th"), at)
        # What was held back of those times is due by now: it is told in the first look.
        happened = len(puts)
        await eventually(lambda: sum(one.times.count for one in api.told) == happened, "all was told")
        task.cancel()

    asyncio.run(run())
    return api.told


def test_of_a_device_that_flaps_ten_are_told_and_then_one_a_minute() -> None:
    flaps = [("pi-3", "HeartbeatMissed", 1000.0 + second) for second in range(0, 600, 2)]
    told = told_after(flaps)
    assert len(told) == 10 + 9 + 1
    assert told[-1].message == "the 299th", "the last is what is so now"
    assert {one.times.count for one in told[:10]} == {1}
    assert told[10].times == Times(1020.0, 1060.0, 21), "what was held back counts, from its first time on"


def test_what_else_happens_to_it_and_to_others_is_told() -> None:
    flaps = [("pi-3", "HeartbeatMissed", 1000.0)] * 500
    told = told_after([*flaps, ("pi-3", "Flooding", 1000.0), ("pi-1", "HeartbeatMissed", 1000.0)])
    assert [one[:2] for one in told[10:12]] == [("pi-3", "Flooding"), ("pi-1", "HeartbeatMissed")]
    assert len(told) == 13


def test_after_a_quiet_time_it_has_its_ten_again() -> None:
    flaps = [("pi-3", "HeartbeatMissed", 1000.0)] * 10
    again = [("pi-3", "HeartbeatMissed", 10_000.0)] * 10
    assert len(told_after([*flaps, *again])) == 20


def test_many_reasons_are_no_way_round_it() -> None:
    """A device chooses what it reports: thirty events at once, and one every twenty seconds, whatever their reasons."""
    reports = [("pi-3", f"Reason{second % 25}", 1000.0 + second) for second in range(600)]
    told = told_after(reports)
    at_once_and_then = 30 + 600 // 20
    assert len(told) <= at_once_and_then + 25, "and what was held back of each reason, once"


def test_what_is_kept_of_very_many_objects_is_bounded() -> None:
    api = Api()
    events = Events(cast("KubeApi", api), Readiness(), SkippedKeys(Metrics()))

    def put(name: str) -> None:
        events.put("Device", Meta(name, "u", "1", ()), Note("Normal", "Pulling", "-"), 1000.0)

    async def run() -> None:
        for number in range(3000):
            for _ in range(12):
                put(f"pi-{number}")
        put("last")
        task = asyncio.create_task(events.run())
        await eventually(lambda: any(one.name == "last" for one in api.told), "all that was kept is told")
        task.cancel()

    asyncio.run(run())
    assert len(api.told) <= 2000
