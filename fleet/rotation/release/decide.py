"""What to do next for the release key: a pure decision over what is seen, never over what was last attempted.

The new key is added to the list of every device before the old one is retired. The owner's list says which keys there
are, the server which lists it keeps for devices, and each device which list it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

from fleet.artifacts.verify import has_ended
from fleet.contract.release_keys import MAX_LISTS, HeldKeys
from fleet.contract.upgrade import TrustedKey, TrustedKeys
from fleet.rotation.decide import Goal


class Seen(msgspec.Struct, frozen=True):
    """What is in use now.

    Attributes:
        present: The owner's list, with what the server has of later lists that it proves.
        digest: Of its text.
        kept: The number and the digest of each list that the server keeps.
        devices: What each device has that is waited for; None where it does not say.
        behind: The same of the devices that the rotation goes on without.
        now: Unix seconds.
        heard: When each device reported last, in words.
    """

    present: TrustedKeys
    digest: str
    kept: tuple[tuple[int, str], ...]
    devices: Mapping[str, HeldKeys | None]
    behind: Mapping[str, HeldKeys | None]
    now: float
    heard: Mapping[str, str] = {}

    @property
    def offered(self) -> bool:
        """Whether the server keeps the owner's list for devices."""
        return any(digest == self.digest for _, digest in self.kept)


class Step(Enum):
    """What is to be done, each safe to repeat."""

    ADD = "a list that adds the new key is signed by the old one, and offered to the devices"
    RETIRE = "a list that retires the old key is signed by the new one, and offered to the devices"
    AGAIN = "the last list is signed anew, for the server does not keep it, and offered to the devices"
    GIVE_UP = "a list that gives up the new key is signed by the old one, and offered to the devices"
    TIDY = "lists that no device needs any more are removed from the server"


class Wait(msgspec.Struct, frozen=True):
    """Devices have to take the list first; `blockers` says in words which, and what is known of each."""

    blockers: tuple[str, ...]


class Refused(msgspec.Struct, frozen=True):
    """It goes no further that way; `why` says in words, and `next_step` what to do."""

    why: str
    next_step: str


class Done(msgspec.Struct, frozen=True):
    """Nothing is on its way, and every device has the owner's list."""


Guard = Callable[[Seen], list[str]]


def all_have_the_list(seen: Seen) -> list[str]:
    """Who has not taken the owner's list yet."""
    return [
        f"device {name}: {why}{f' ({heard})' if (heard := seen.heard.get(name)) else ''}"
        for name, held in sorted(seen.devices.items())
        if (why := _lacks(seen, held))
    ]


GUARDS: Mapping[Step | type[Done], tuple[Guard, ...]] = {
    Step.ADD: (),
    Step.RETIRE: (all_have_the_list,),
    Step.AGAIN: (),
    # The way back is open while the old key is good: devices that missed the list with both take the two in order.
    Step.GIVE_UP: (),
    Done: (all_have_the_list,),
}
"""What must hold before each step. `tests/rotation` removes each in turn and finds what goes wrong without it."""


def decide(seen: Seen, old: str, new: str, goal: Goal) -> Step | Wait | Refused | Done:
    """The next step in which the key with the id `new` follows the one with the id `old`."""
    wanted = _forward(seen, old, new) if goal is Goal.FORWARD else _back(seen, old, new)
    if isinstance(wanted, Refused):
        return wanted
    if lacking := [why for guard in GUARDS[wanted] for why in guard(seen)]:
        return Wait(tuple(lacking))
    if not isinstance(wanted, Step):
        return Step.TIDY if surplus(seen) else Done()
    if len(seen.kept) < MAX_LISTS - (wanted is Step.ADD):  # one that adds a key is followed by another one
        return wanted
    return Step.TIDY if surplus(seen) else _full(seen)


def signed_by(seen: Seen, step: Step, old: str, new: str) -> str:
    """The id of the key that signs the list of a step: the old one for as long as devices may know it alone."""
    return new if step is Step.RETIRE or not _good(seen, old) else old


def following(seen: Seen, step: Step, old: str, new: TrustedKey) -> TrustedKeys:
    """The list that a step signs."""
    gone = {Step.RETIRE: old, Step.GIVE_UP: new.id}.get(step, "")
    listed = seen.present.keys if _found(seen, new.id) else (*seen.present.keys, new)
    keys = tuple(msgspec.structs.replace(key, revoked=True) if key.id == gone else key for key in listed)
    return msgspec.structs.replace(seen.present, keys=keys, number=seen.present.number + 1)


def surplus(seen: Seen) -> frozenset[int]:
    """The numbers of kept lists that no device needs any more. The last list stays: it is what the server offers."""
    lowest = min(
        (_number(holder) for holder in _everybody(seen) if not _trusts_none(holder)), default=seen.present.number
    )
    return frozenset(number for number, _ in seen.kept if number <= lowest and number < seen.present.number)


def _forward(seen: Seen, old: str, new: str) -> Step | type[Done] | Refused:
    before, after = _found(seen, old), _found(seen, new)
    if before is None:
        return _stranger(old)
    if after is not None and (after.revoked or has_ended(after, seen.now)):
        why = "was given up or retired" if after.revoked else "has expired"
        return Refused(f"the new key {new} {why}", "name another file with --out")
    if after is not None:
        return _at_its_end(seen) if before.revoked else Step.AGAIN if _lost(seen) else Step.RETIRE
    if not _good(seen, old):
        why = f"the old key {old} is revoked or has expired, so no device takes a list that it signs"
        return Refused(why, "name with --key the key that signs agents now; without one, set the devices up again")
    return Step.ADD


def _back(seen: Seen, old: str, new: str) -> Step | type[Done] | Refused:
    before, after = _found(seen, old), _found(seen, new)
    if before is None:
        return _stranger(old)
    if before.revoked:
        return Refused(
            f"there is no way back: the old key {old} is retired",
            "repeat the command without --abort, or let another key follow the new one",
        )
    if after is None:
        return Done
    return _at_its_end(seen) if after.revoked else Step.GIVE_UP


def _at_its_end(seen: Seen) -> Step | type[Done]:
    return Step.AGAIN if _lost(seen) else Done


def _lost(seen: Seen) -> bool:
    """Whether a device lacks a list that the server does not keep: it was made by hand, or the server has lost it."""
    return bool(not seen.offered and all_have_the_list(seen))


def _lacks(seen: Seen, held: HeldKeys | None) -> str:
    """Why a device does not have the owner's list, in words; nothing where it has, or trusts no key."""
    if held is None:
        return "it does not say which list it has: it never reported, or its agent has to be upgraded"
    if held.digest == seen.digest or _trusts_none(held):
        return ""
    if held.refused:
        return f"it does not take it: {held.refused}"
    present = seen.present.number
    if held.number > present:
        return (
            f"it has the list {held.number}, later than the {present} of --trusted-keys: give the file as it was last"
        )
    if held.number == present and seen.offered:
        return f"it has another list with the number {present}: set it up with --trusted-keys"
    return f"it has the list {held.number}, and {present} is offered"


def _trusts_none(held: HeldKeys | None) -> bool:
    """Whether it is no device that takes agents; nobody but its owner makes it one."""
    return held is not None and not held.digest and not held.refused


def _number(held: HeldKeys | None) -> int:
    return held.number if held else 0


def _everybody(seen: Seen) -> tuple[HeldKeys | None, ...]:
    return (*seen.devices.values(), *seen.behind.values())


def _found(seen: Seen, key_id: str) -> TrustedKey | None:
    return next((key for key in seen.present.keys if key.id == key_id), None)


def _good(seen: Seen, key_id: str) -> bool:
    key = _found(seen, key_id)
    return key is not None and not key.revoked and not has_ended(key, seen.now)


def _stranger(old: str) -> Refused:
    return Refused(
        f"the old key {old} is not in the list of --trusted-keys",
        "name with --key the key that agents are signed with, and the list that devices were set up with",
    )


def _full(seen: Seen) -> Refused:
    held = [*seen.devices.items(), *seen.behind.items()]
    late, _ = min(
        ((name, _number(holder)) for name, holder in held if not _trusts_none(holder)), key=lambda item: item[1]
    )
    return Refused(
        f"the server keeps {len(seen.kept)} lists for devices that are behind, such as {late}, and no more fit",
        "set those devices up with --trusted-keys, or delete them",
    )
