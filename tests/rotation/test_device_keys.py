"""Machine keys of several devices renewed at once: who holds it up is named, and holds up nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from fleet.cli.device_keys import due_now
from fleet.contract.errors import Conflict, InvalidInput
from fleet.contract.machine_keys import KeyOrder
from fleet.contract.objects import ENROLLED_AT
from fleet.rotation.decide import Goal
from fleet.rotation.devices.decide import Done, Refused, Seen, Step, Wait, decide
from fleet.rotation.devices.drive import Outcome, drive, foretell
from fleet.rotation.ground import Installed
from fleet.rotation.listing import device_keys, key_since
from fleet.rotation.look import InUse

NOON = 1_800_000_000
NOW = datetime.fromtimestamp(NOON, UTC)
STEADY = Seen("1", "1", "", None, frozenset({"1"}), "heard last at noon")
STEPS = [Step.ORDER, Step.REGISTER, Step.REMOVE, Step.REFUSE, Step.FINISH]
ORDERED = msgspec.structs.replace(STEADY, order=KeyOrder("1"))


class Fleet:
    """Devices that do what they are told, at once; but those in `away`."""

    def __init__(self, *names: str, away: str = "") -> None:
        self.seen = dict.fromkeys(names, STEADY)
        self.away = away
        self.refuses = ""
        self.steps: list[tuple[str, Step]] = []

    def look(self, devices: Sequence[str]) -> dict[str, Seen]:
        return {name: self.seen[name] for name in devices}

    def take(self, device: str, seen: Seen, step: Step) -> None:
        if device == self.refuses:
            raise InvalidInput("the provider refuses", next_step="")
        self.steps.append((device, step))
        self.seen[device] = self._after(device, seen, step)

    def _after(self, device: str, seen: Seen, step: Step) -> Seen:
        assert seen.order or step is Step.ORDER
        if step is Step.ORDER:
            offered = seen.offered if device == self.away else "offer"
            return msgspec.structs.replace(seen, order=KeyOrder(seen.used), offered=offered)
        if step is Step.REGISTER:
            order = KeyOrder(seen.used, "2", seen.offered)
            return msgspec.structs.replace(seen, order=order, used="2", kept="2", registered=frozenset({"1", "2"}))
        if step is Step.WITHDRAW:
            assert seen.order
            return msgspec.structs.replace(seen, order=msgspec.structs.replace(seen.order, withdrawn=True), offered="")
        if step is Step.REMOVE:
            return msgspec.structs.replace(seen, registered=frozenset({seen.used}))
        if step is Step.REFUSE:
            assert seen.order
            refused = msgspec.structs.replace(seen.order, tokens_after=NOON)
            return msgspec.structs.replace(seen, order=refused, refused_until=0 if device == self.away else NOON)
        return msgspec.structs.replace(seen, order=None, offered="", registered=frozenset({seen.used}))


def play(fleet: Fleet, goal: Goal = Goal.FORWARD, said: list[str] | None = None) -> list[Outcome]:
    words = [] if said is None else said
    return drive(fleet, list(fleet.seen), goal, timeout=0.5, progress=words.append, check=lambda: None)


def test_every_device_gets_another_key_and_loses_the_old_one() -> None:
    fleet = Fleet("pi-1", "pi-2")
    assert play(fleet) == [Outcome("pi-1", "2", True), Outcome("pi-2", "2", True)]
    assert [step for name, step in fleet.steps if name == "pi-1"] == STEPS
    assert all(one.registered == {"2"} and one.order is None for one in fleet.seen.values())


def test_a_device_that_is_away_is_named_and_holds_up_nobody_else() -> None:
    fleet, said = Fleet("pi-1", "pi-2", away="pi-1"), list[str]()
    first, second = play(fleet, said=said)
    assert second == Outcome("pi-2", "2", True)
    assert first.why == "it has not offered a new key yet (heard last at noon)"
    assert first.awaits_device
    assert said.count("pi-1: waiting: it has not offered a new key yet (heard last at noon)") == 1
    fleet.away = ""
    fleet.seen["pi-1"] = msgspec.structs.replace(fleet.seen["pi-1"], offered="offer")
    del fleet.seen["pi-2"]
    assert play(fleet) == [Outcome("pi-1", "2", True)]


def test_nothing_ends_before_tokens_of_the_old_key_are_refused() -> None:
    refused = KeyOrder("1", "2", "offer", tokens_after=NOON)
    seen = Seen("2", "2", "", refused, frozenset({"2"}), refused_until=NOON)
    assert decide(seen, Goal.FORWARD, begin=False) is Step.FINISH
    step = decide(msgspec.structs.replace(seen, refused_until=NOON - 1), Goal.FORWARD, begin=False)
    assert isinstance(step, Wait)
    assert "the operator has not written yet" in step.why


def test_what_the_provider_refuses_for_one_device_is_its_own() -> None:
    fleet = Fleet("pi-1", "pi-2")
    fleet.refuses = "pi-1"
    first, second = play(fleet)
    assert (first.why, second.why) == ("the provider refuses", "")
    assert not first.awaits_device, "nobody may take it for a device that is away"


@pytest.mark.parametrize("lie", ["offers another key", "and says that it has it"])
def test_a_device_that_offers_another_key_each_time_keeps_nobody_waiting(
    lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It moved the deadline for ever, and had a key registered at each look."""
    monkeypatch.setattr("fleet.rotation.devices.drive._INTERVAL", 0.001)

    class Stolen(Fleet):
        def look(self, devices: Sequence[str]) -> dict[str, Seen]:
            assert len(self.steps) < 100, "it goes on for ever"
            if "pi-3" in devices and (order := self.seen["pi-3"].order):
                number = str(len(self.steps))
                has = order.registered if lie != "offers another key" and order.tokens_after == 0 else ""
                self.seen["pi-3"] = msgspec.structs.replace(
                    self.seen["pi-3"], offered=number, used=has or order.replaces, kept=has or order.replaces
                )
            return super().look(devices)

        def _after(self, device: str, seen: Seen, step: Step) -> Seen:
            after = super()._after(device, seen, step)
            if device == "pi-3" and step in {Step.REMOVE, Step.FINISH}:  # the next look begins anew
                after = msgspec.structs.replace(after, order=KeyOrder("1"), registered=frozenset({"1", "2"}))
            return after

    fleet = Stolen("pi-1", "pi-3")
    honest, stolen = drive(
        fleet, list(fleet.seen), Goal.FORWARD, timeout=60, progress=lambda _: None, check=lambda: None
    )
    assert honest == Outcome("pi-1", "2", True)
    assert "it is not done after 15 steps" in stolen.why
    assert "fleet device revoke pi-3" in stolen.why
    assert not stolen.awaits_device
    assert len([name for name, _ in fleet.steps if name == "pi-3"]) == 15


def test_nothing_is_done_once_somebody_else_may_be_at_work() -> None:
    fleet = Fleet("pi-1")

    def lost() -> None:
        raise Conflict("the lease is lost", next_step="")

    with pytest.raises(Conflict):
        drive(fleet, ["pi-1"], Goal.FORWARD, timeout=1, progress=lambda _: None, check=lost)
    assert fleet.steps == []


def test_there_is_a_way_back_until_the_device_has_the_new_key() -> None:
    fleet = Fleet("pi-1")
    fleet.seen["pi-1"] = msgspec.structs.replace(
        ORDERED, order=KeyOrder("1", "2", "offer"), offered="offer", registered=frozenset({"1", "2"})
    )
    assert play(fleet, Goal.BACK) == [Outcome("pi-1", "1", True)]
    assert fleet.seen["pi-1"] == STEADY
    taken = msgspec.structs.replace(ORDERED, kept="2", registered=frozenset({"1", "2"}))
    assert isinstance(decide(taken, Goal.BACK, begin=False), Refused)


def test_what_would_be_done_is_told() -> None:
    assert foretell(STEADY, Goal.FORWARD) == f"it would begin here: {Step.ORDER.value}"
    assert foretell(STEADY, Goal.BACK) == "nothing would be done"
    assert foretell(ORDERED, Goal.FORWARD).startswith("it has not offered a new key yet")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"used": ""}, "its agent does not say by which key it comes in"),
        ({"order": KeyOrder("0")} | {"registered": frozenset({"9"})}, "was it enrolled again?"),
    ],
)
def test_what_a_device_must_do_first_is_said(change: dict[str, object], why: str) -> None:
    step = decide(msgspec.structs.replace(STEADY, **change), Goal.FORWARD, begin=True)
    assert isinstance(step, Wait)
    assert why in step.why


def test_nothing_is_begun_twice() -> None:
    assert decide(STEADY, Goal.FORWARD, begin=False) == Done()


def test_one_row_tells_of_all_devices() -> None:
    trusting = {"operator": frozenset[str](), "device pi-1 (…)": frozenset[str](), "device pi-2 (…)": frozenset[str]()}
    quiet = InUse({}, {}, {}, trusting=trusting)
    assert (device_keys(quiet, {}, NOW).state, device_keys(quiet, {}, NOW).used_by) == (
        "current",
        "2 devices, the identity provider",
    )
    assert device_keys(msgspec.structs.replace(quiet, renewing=("pi-2",)), {}, NOW).state == "rotating: pi-2"
    assert device_keys(InUse({}, {}, {}, ("NATS: no answer",)), {}, NOW).state == "unknown: NATS: no answer"


def test_a_devices_key_is_due_after_a_year_and_told_to_who_can_rotate_it(capsys: pytest.CaptureFixture[str]) -> None:
    quiet, year = InUse({}, {}, {}), timedelta(days=365)
    since = {"pi-1": NOW - year, "pi-2": NOW - year + timedelta(seconds=1), "pi-3": None, "pi-0": NOW - 2 * year}
    row = device_keys(quiet, since, NOW)
    assert (row.due, row.state, row.is_for_now(NOW)) == (NOW - year, "due: pi-0; pi-1", False)
    young = device_keys(quiet, {"pi-2": since["pi-2"]}, NOW)
    assert (young.due, young.state) == (NOW + timedelta(seconds=1), "current")
    assert device_keys(quiet, {"pi-3": None}, NOW).due is None
    assert device_keys(msgspec.structs.replace(quiet, renewing=("pi-1",)), since, NOW).state == "rotating: pi-1"
    assert due_now([row], NOW) == []
    told = capsys.readouterr().err
    assert "machine keys are due: pi-0; pi-1;" in told
    assert "`fleet secrets rotate device_key DEVICE...`" in told
    assert due_now([young], NOW) == []
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("enrolled", "renewed", "since"),
    [
        ("2026-01-02T03:04:05Z", 0, "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05Z", NOON, "2027-01-15T08:00:00+00:00"),
        ("2028-01-02T03:04:05Z", NOON, "2028-01-02T03:04:05+00:00"),
        ("", NOON, "2027-01-15T08:00:00+00:00"),
        ("by hand", 0, None),
        ("2026-01-02T03:04:05", 0, None),
        ("2028-01-02T03:04:05", NOON, "2027-01-15T08:00:00+00:00"),
        ("2026-01-02T03:04:05Z", 2**53 - 1, "2026-01-02T03:04:05+00:00"),
    ],
    ids=[
        *("enrolled", "renewed later", "enrolled again later", "only renewed", "not told"),
        *("without a zone", "without a zone, renewed", "in no year"),
    ],
)
def test_the_age_of_a_devices_key_is_known_from_its_object(enrolled: str, renewed: int, since: str | None) -> None:
    device = {"metadata": {"annotations": {ENROLLED_AT: enrolled}}, "spec": {"tokensAfter": renewed}}
    found = key_since(device)
    assert (found and found.isoformat()) == since
    first = datetime(2026, 1, 1, tzinfo=UTC)
    row = device_keys(InUse({}, {}, {}), {"pi-1": found, "pi-2": first, "pi-3": None}, NOW)
    assert (row.made, row.devices["pi-1"], row.devices["pi-3"]) == (first, found, None)


@pytest.mark.parametrize("spec", [{}, {"spec": None}, {"spec": "a word"}, {"spec": {"tokensAfter": "7"}}], ids=str)
def test_an_object_without_a_spec_has_no_key_of_a_known_age(spec: dict[str, object]) -> None:
    """Only another definition than ours takes one."""
    device: Any = {"metadata": {"name": "pi-1"}, **spec}
    assert key_since(device) is None
    server: Any = SimpleNamespace(_devices=lambda: [device], left_behind=frozenset())
    assert Installed.devices(server) == [device], "it may be one that is let in"
    assert Installed.awaited_and_left(server) == (["pi-1"], [])


@pytest.mark.parametrize("goal", [Goal.FORWARD, Goal.BACK])
@pytest.mark.parametrize("at", [STEADY, ORDERED, msgspec.structs.replace(ORDERED, used="2", offered="offer")])
def test_a_device_that_is_revoked_in_the_middle_goes_no_further_and_holds_up_nobody(at: Seen, goal: Goal) -> None:
    fleet = Fleet("pi-1", "pi-2")
    fleet.seen["pi-1"] = msgspec.structs.replace(at, revoked=True)
    first, second = play(fleet, goal)
    assert "it was revoked meanwhile" in first.why
    assert not first.awaits_device, "no device can do anything about it"
    assert not second.why
    assert not [step for name, step in fleet.steps if name == "pi-1"]
