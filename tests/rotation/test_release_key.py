"""A release key is followed by another one, whatever is cut off; and who holds it up is named."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from fleet.contract.errors import NotPermitted
from fleet.contract.release_keys import MAX_LISTS, HeldKeys
from fleet.contract.upgrade import TrustedKeys
from fleet.rotation.decide import Goal
from fleet.rotation.lease import LeaseLost
from fleet.rotation.listing import release_key
from fleet.rotation.look import InUse
from fleet.rotation.release.decide import Done, Refused, Seen, Step, Wait, decide, following, surplus
from fleet.rotation.release.drive import drive, foretell
from tests.rotation.release_model import FIRST, FOREIGN, NEW, NOW, OLD, digest

IDS = OLD.public.id, NEW.public.id
BOTH = TrustedKeys((OLD.public, NEW.public), number=1)
RETIRED = TrustedKeys((replace(OLD.public, revoked=True), NEW.public), number=2)
GIVEN_UP = TrustedKeys((OLD.public, replace(NEW.public, revoked=True)), number=2)


def held(trusted: TrustedKeys) -> HeldKeys:
    return HeldKeys(trusted.number, digest(trusted))


def seen(present: TrustedKeys, *kept: TrustedKeys, **devices: HeldKeys | None) -> Seen:
    return Seen(present, digest(present), tuple((one.number, digest(one)) for one in kept), devices, {}, NOW)


def ahead(one: Seen) -> object:
    return decide(one, *IDS, Goal.FORWARD)


def back(one: Seen) -> object:
    return decide(one, *IDS, Goal.BACK)


def why(step: object) -> str:
    assert isinstance(step, Refused)
    assert step.next_step
    return step.why


def blockers(step: object) -> str:
    assert isinstance(step, Wait)
    return "; ".join(step.blockers)


def test_added_then_retired_then_tidied() -> None:
    assert ahead(seen(FIRST, a=held(FIRST))) is Step.ADD
    assert "it has the list 0, and 1 is offered" in blockers(ahead(seen(BOTH, BOTH, a=held(FIRST))))
    assert ahead(seen(BOTH, BOTH, a=held(BOTH))) is Step.RETIRE
    assert isinstance(ahead(seen(RETIRED, BOTH, RETIRED, a=held(BOTH))), Wait)
    assert ahead(seen(RETIRED, BOTH, RETIRED, a=held(RETIRED))) is Step.TIDY
    assert ahead(seen(RETIRED, RETIRED, a=held(RETIRED))) == Done()


def test_the_lists_that_the_steps_sign() -> None:
    start = seen(FIRST)
    assert following(start, Step.ADD, OLD.public.id, NEW.public) == BOTH
    assert following(seen(BOTH), Step.RETIRE, OLD.public.id, NEW.public) == RETIRED
    assert following(seen(BOTH), Step.GIVE_UP, OLD.public.id, NEW.public) == GIVEN_UP
    assert following(seen(RETIRED), Step.AGAIN, OLD.public.id, NEW.public) == replace(RETIRED, number=3)


@pytest.mark.parametrize(("present", "device"), [(BOTH, FIRST), (RETIRED, BOTH)], ids=["that adds", "that retires"])
def test_a_list_that_the_server_has_lost_is_signed_anew(present: TrustedKeys, device: TrustedKeys) -> None:
    assert ahead(seen(present, a=held(device))) is Step.AGAIN
    assert isinstance(ahead(seen(present, present, a=held(device))), Wait)


def test_the_way_back_until_the_old_key_is_retired() -> None:
    assert back(seen(FIRST, a=held(FIRST))) == Done()
    assert back(seen(BOTH, BOTH, a=held(FIRST))) is Step.GIVE_UP
    assert isinstance(back(seen(GIVEN_UP, BOTH, GIVEN_UP, a=held(BOTH))), Wait)
    assert back(seen(GIVEN_UP, GIVEN_UP, a=held(GIVEN_UP))) == Done()
    assert back(seen(GIVEN_UP, a=held(BOTH))) is Step.AGAIN
    assert "there is no way back" in why(back(seen(RETIRED, RETIRED, a=held(BOTH))))
    assert "was given up" in why(ahead(seen(GIVEN_UP, GIVEN_UP, a=held(GIVEN_UP))))


def test_keys_that_cannot_be_followed() -> None:
    stranger = TrustedKeys((FOREIGN.public,))
    assert "is not in the list" in why(ahead(seen(stranger)))
    assert "is not in the list" in why(back(seen(stranger)))
    for gone in (replace(OLD.public, revoked=True), replace(OLD.public, not_after=NOW - 1)):
        assert "revoked or has expired" in why(ahead(seen(TrustedKeys((gone,)))))
    ended = TrustedKeys((OLD.public, replace(NEW.public, not_after=NOW - 1)))
    assert "has expired" in why(ahead(seen(ended)))


@pytest.mark.parametrize(
    ("device", "said"),
    [
        (None, "it does not say which list it has"),
        (HeldKeys(0, "sha256:a", "the list 1 names a key twice"), "it does not take it: the list 1 names a key twice"),
        (HeldKeys(7, "sha256:a"), "it has the list 7, later than the 1 of --trusted-keys"),
        (HeldKeys(1, "sha256:a"), "it has another list with the number 1"),
    ],
    ids=["of a former release", "refused", "later", "another"],
)
def test_who_holds_it_up_is_named(device: HeldKeys | None, said: str) -> None:
    one = replace(seen(BOTH, BOTH, a=held(BOTH), b=device), heard={"b": "its agent v0.0.9 reported last at noon"})
    assert f"device b: {said}" in blockers(ahead(one))
    assert "reported last at noon" in blockers(ahead(one))


def test_a_device_that_trusts_no_key_holds_nothing_up() -> None:
    assert ahead(seen(BOTH, BOTH, a=held(BOTH), b=HeldKeys())) is Step.RETIRE
    unreadable = HeldKeys(refused="trusted-keys.json: Input/output error")
    assert "Input/output error" in blockers(ahead(seen(BOTH, BOTH, a=held(BOTH), b=unreadable)))


def test_lists_stay_until_no_device_needs_them() -> None:
    late = replace(seen(RETIRED, BOTH, RETIRED, a=held(RETIRED)), behind={"b": held(FIRST)})
    assert surplus(late) == frozenset()
    assert ahead(late) == Done(), "a device that is left behind takes both lists when it comes back"
    assert surplus(replace(late, behind={"b": held(BOTH)})) == {1}
    assert surplus(replace(late, behind={"b": None})) == frozenset()
    assert surplus(replace(late, behind={"b": HeldKeys()})) == {1}


def test_a_server_that_is_full_of_lists() -> None:
    first = replace(FIRST, number=20)
    kept = tuple((number, f"sha256:{number}") for number in range(21 - MAX_LISTS, 21))
    late = replace(seen(first, a=held(first)), kept=kept, behind={"b": held(FIRST)})
    assert "such as b" in why(ahead(late))
    assert ahead(replace(late, behind={})) is Step.TIDY


class World:
    """Devices that take every list at once, but for `late`."""

    def __init__(self, late: HeldKeys | None = None) -> None:
        self.old, self.new = IDS
        self.present = FIRST
        self.kept: tuple[TrustedKeys, ...] = ()
        self.late = late
        self.steps: list[Step] = []

    def look(self) -> Seen:
        devices = {"a": held(self.present)} | ({"b": self.late} if self.late else {})
        return seen(self.present, *self.kept, **devices)

    def take(self, step: Step) -> None:
        self.steps.append(step)
        if step is Step.TIDY:
            self.kept = self.kept[-1:]
        else:
            self.present = following(self.look(), step, self.old, NEW.public)
            self.kept = (*self.kept, self.present)


def test_it_is_driven_to_its_end() -> None:
    world, said = World(), list[str]()
    assert foretell(world, Goal.FORWARD).startswith("it would go on here: a list that adds the new key")
    driven = drive(world, Goal.FORWARD, timeout=20, progress=said.append, check=lambda: None)
    assert (driven.acted, driven.left) == (True, "")
    assert world.steps == [Step.ADD, Step.RETIRE, Step.TIDY]
    assert not drive(world, Goal.FORWARD, timeout=20, progress=said.append, check=lambda: None).acted
    assert foretell(world, Goal.FORWARD) == "nothing would be done"
    with pytest.raises(NotPermitted, match="there is no way back"):
        drive(world, Goal.BACK, timeout=20, progress=said.append, check=lambda: None)


def test_a_device_that_is_away_is_named_once_the_time_is_up() -> None:
    world, said = World(late=held(FIRST)), list[str]()
    driven = drive(world, Goal.FORWARD, timeout=0, progress=said.append, check=lambda: None)
    assert world.steps == [Step.ADD]
    assert driven.left == "device b: it has the list 0, and 1 is offered"
    assert foretell(world, Goal.FORWARD) == f"it waits: {driven.left}"


def test_a_device_that_says_something_else_each_time_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each word of it moved the time at which the command gives up."""
    monkeypatch.setattr("fleet.rotation.release.drive._INTERVAL", 0.001)

    class Stolen(World):
        looks = 0

        def look(self) -> Seen:
            self.looks += 1
            assert self.looks < 5000, "it goes on for ever"
            self.late = replace(held(FIRST), refused=f"reason {self.looks}")
            return super().look()

    world = Stolen(late=held(FIRST))
    driven = drive(world, Goal.FORWARD, timeout=0.3, progress=list[str]().append, check=lambda: None)
    assert driven.left.startswith("device b: it does not take it: reason ")


def test_who_lost_its_lease_takes_no_step() -> None:
    def lost() -> None:
        raise LeaseLost("this rotation lost its lease", next_step="repeat it")

    world = World()
    with pytest.raises(LeaseLost):
        drive(world, Goal.FORWARD, timeout=0, progress=list[str]().append, check=lost)
    assert not world.steps


def test_what_is_listed() -> None:
    quiet = InUse({}, {}, {}, release_keys={"a": held(RETIRED), "b": HeldKeys(), "c": None}, offered=(2,))
    assert (release_key(quiet).state, release_key(quiet).id) == ("rotating: c", "list 2")
    all_have = replace(quiet, release_keys={"a": held(RETIRED)})
    assert release_key(all_have).state == "current"
    assert release_key(all_have).in_use == {"a": f"list 2, {digest(RETIRED)}"}
    assert release_key(replace(all_have, offered=(2, 3))).state == "rotating: a"
    stolen = replace(all_have, release_keys={"a": held(RETIRED), "z": HeldKeys(10**9, "of its own")})
    assert (release_key(stolen).state, release_key(stolen).id) == ("current", "list 2"), "it sets no other one behind"
    assert release_key(InUse({}, {}, {})).state == "current"
    assert release_key(InUse({}, {}, {}, ("NATS: no answer",))).state == "unknown: NATS: no answer"
