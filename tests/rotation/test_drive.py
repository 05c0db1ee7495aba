"""How long a rotation waits, and for whom."""

from __future__ import annotations

import pytest

from fleet.contract.errors import TimedOut
from fleet.rotation import drive as driving
from fleet.rotation.decide import Goal, Seen, Versions
from fleet.rotation.drive import Driven, drive
from fleet.rotation.lease import LeaseLost
from fleet.rotation.look import DEVICE
from fleet.secrets.store import Change

AWAY = f"{DEVICE}pi-7 (it reported last at noon)"


class Ground:
    """A secret of which one part, and a device, honour only what they had before."""

    def __init__(self, *late: str) -> None:
        self.versions = Versions("A")
        self.late = frozenset(late)
        self.honoured = dict.fromkeys((*late, "callout"), frozenset("A"))
        self.applied = 0

    def look(self) -> Seen:
        return Seen(self.versions, self.honoured, {"nats": self.versions.current})

    def change(self, change: Change) -> None:
        self.versions = {
            Change.STAGE: Versions("A", next="B"),
            Change.PROMOTE: Versions("B", previous="A"),
            Change.RETIRE: Versions("B"),
        }[change]

    def apply(self) -> None:
        self.applied += 1
        self.honoured |= {part: self.versions.ids for part in self.honoured if part not in self.late}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(driving, "PATIENCE", 0.3)


def play(ground: Ground, *, wait: bool, said: list[str] | None = None) -> Driven:
    words = [] if said is None else said
    return drive(ground, Goal.FORWARD, timeout=1, wait=wait, progress=words.append)


def test_a_device_that_is_away_is_named_and_not_waited_for_unless_that_is_asked_for() -> None:
    ground = Ground(AWAY)
    driven = play(ground, wait=False)
    assert driven.acted
    assert driven.left.startswith(f"{AWAY} does not honour B yet; repeat the command")
    assert "--leave-behind" in driven.left
    assert (ground.versions, ground.applied) == (Versions("A", next="B"), 1)
    with pytest.raises(TimedOut, match="pi-7"):
        play(ground, wait=True)


@pytest.mark.parametrize("wait", [False, True])
def test_who_need_not_repeat_the_command_is_not_told_to(wait: bool) -> None:
    """It is retired, and devices take that up without us: a repeat after that would begin another rotation."""
    ground = Ground(AWAY)
    ground.versions = Versions("B", previous="A")
    if wait:
        with pytest.raises(TimedOut, match=r"pi-7.* still honours A\n.*need not be repeated") as error:
            play(ground, wait=True)
        assert "goes on from here" not in str(error.value)
    else:
        left = play(ground, wait=False).left
        assert left.startswith(f"{AWAY} still honours A; nothing else has the old version")
        assert "need not be repeated" in left
    assert ground.versions == Versions("B")
    ground.honoured[AWAY] = frozenset("B")
    ground.late = frozenset()
    assert play(ground, wait=False).acted, "a repeat begins another rotation, which is why nobody is asked for it"


@pytest.mark.parametrize("wait", [False, True])
def test_a_part_of_the_server_is_always_waited_for(wait: bool) -> None:
    with pytest.raises(TimedOut, match="nats-0 does not honour B yet"):
        play(Ground(AWAY, "nats-0"), wait=wait)


def test_a_rotation_that_lost_its_lease_ends() -> None:
    class Lost(Ground):
        def change(self, change: Change) -> None:
            raise LeaseLost(f"this rotation lost its lease before {change}", next_step="repeat the command")

    with pytest.raises(LeaseLost):
        play(Lost(), wait=True)
