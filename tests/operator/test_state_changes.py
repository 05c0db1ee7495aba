"""What a device invents, or says without a pause, costs the pass one write, and not one for each name or each try."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from fleet.contract.errors import Conflict
from fleet.contract.limits import MAX_DEPLOYMENTS
from fleet.contract.states import DeviceStates, entry
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.nats.bus import Entry
from fleet.operator.act.states import States
from fleet.operator.reconcile.actions import DeleteStates
from tests.operator.model import fleet

RUNNING = DeviceState(1, Phase.RUNNING, Reason.STARTED)
INVENTED = tuple(f"invented-{number}" for number in range(MAX_DEPLOYMENTS - 1))


@dataclass
class Kept:
    """In place of NATS: one value, over which the device writes each time before the operator does."""

    value: DeviceStates
    meanwhile: int = 0
    revision: int = 1
    writes: int = 0

    def kv(self, _: object) -> Kept:
        return self

    async def get(self, key: str) -> Entry[DeviceStates]:
        return Entry(key, self.value, self.revision)

    async def update(self, key: str, value: DeviceStates, *, revision: int) -> int:
        self.writes += 1
        if self.writes > 1_000:
            raise AssertionError("it tries without end")
        if self.meanwhile > 0:
            self.meanwhile -= 1
            self.revision += 1
        if revision != self.revision:
            raise Conflict(f"{key} was written in between", next_step="again")
        self.value, self.revision = value, self.revision + 1
        return self.revision


def states(kept: Kept) -> States:
    return States(kept)  # pyright: ignore[reportArgumentType]


def test_what_a_device_invented_is_decided_at_once() -> None:
    world = fleet("pi-1")
    world.deploy("web")
    world.settle()
    world.report_all(("pi-1",), "web")
    world.states["pi-1"] |= dict.fromkeys(INVENTED, RUNNING)
    assert [one for one in world.plan() if isinstance(one, DeleteStates)] == [DeleteStates("pi-1", frozenset(INVENTED))]
    world.settle()
    assert set(world.states["pi-1"]) == {"web"}


def test_and_removed_with_one_write() -> None:
    kept = Kept(DeviceStates(dict.fromkeys(("web", *INVENTED), entry(RUNNING))))
    asyncio.run(states(kept).remove("pi-1", (*INVENTED, "never-reported")))
    assert (set(kept.value.states), kept.writes) == ({"web"}, 1)


def test_a_device_that_reports_in_between_is_asked_again() -> None:
    kept = Kept(DeviceStates({"web": entry(RUNNING)}), meanwhile=3)
    asyncio.run(states(kept).remove("pi-1", ("web",)))
    assert (kept.value, kept.writes) == (DeviceStates({}), 4)


def test_one_that_never_pauses_ends_the_tries() -> None:
    kept = Kept(DeviceStates({"web": entry(RUNNING)}), meanwhile=10_000)
    with pytest.raises(Conflict, match="pi-1 reports states without a pause"):
        asyncio.run(states(kept).remove("pi-1", ("web",)))
    assert kept.writes < 20
