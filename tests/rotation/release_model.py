"""A release key followed by another one as a small world: a command may be killed, and the server may be ill-meant.

The decisions, the lists and their signatures are the product's own. Two commands may be at work, for one may have slept
past the end of its lease. A server replays lists of before, or offers one that it made. One device may be away or may
have an agent that takes no lists yet; that agent is upgraded only while agents are signed by a key that the device
trusts.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from msgspec.structs import replace

from fleet.artifacts.keys import ReleaseKey
from fleet.artifacts.trusted import newest, number_of, render, sign_keys
from fleet.contract.release_keys import HeldKeys, SignedKeys
from fleet.contract.upgrade import TrustedKeys
from fleet.contract.versions import digest_of
from fleet.contract.wire import decode
from fleet.rotation.decide import Goal
from fleet.rotation.release.decide import Refused, Seen, Step, Wait, decide, following, signed_by, surplus
from tests.rotation.exploring import Found, Violation, explored

OLD, NEW, FOREIGN = (ReleaseKey(bytes([number]) * 32) for number in (1, 2, 3))
FIRST = TrustedKeys((OLD.public,))
NOW = 1_800_000_000.0
_MANY = 8
"""More lists than any of the worlds needs."""
Lists = tuple[SignedKeys, ...]


class Switches(NamedTuple):
    """Guards that do not lie in the decision."""

    proves: bool = True
    counts: bool = True
    takes_in_order: bool = True
    compares_before_it_writes: bool = True
    keeps_what_a_device_lacks: bool = True
    writes_its_own_list_first: bool = True
    compares_its_own_list: bool = True


class Device(NamedTuple):
    """`lists` says whether its agent takes lists; `said` is what it reported last; `behind`: nobody waits for it."""

    disk: TrustedKeys = FIRST
    lists: bool = True
    said: HeldKeys | None = HeldKeys(0, digest_of(render(FIRST)))
    behind: bool = False


class Command(NamedTuple):
    goal: Goal
    seen: Seen | None = None
    lists: Lists = ()
    step: Step | None = None
    offers: SignedKeys | None = None


class World(NamedTuple):
    devices: tuple[Device, ...] = (Device(), Device())
    file: TrustedKeys = FIRST
    """The owner's list."""
    lists: Lists = ()
    commands: tuple[Command, ...] = ()
    begins: int = 2
    at_once: int = 1
    """How many commands may be at work."""
    kills: int = 1
    replays: int = 0
    forgeries: int = 0
    goals: tuple[Goal, ...] = (Goal.FORWARD, Goal.BACK)


class Move(NamedTuple):
    label: str
    world: World


@cache
def signed(trusted: TrustedKeys, key: ReleaseKey) -> SignedKeys:
    return sign_keys(trusted, key)


@cache
def reached(present: TrustedKeys, lists: Lists) -> TrustedKeys:
    found, _ = newest(present, lists, NOW)
    return decode(found.payload.encode(), TrustedKeys) if found else present


@cache
def read(offered: SignedKeys) -> TrustedKeys:
    return decode(offered.payload.encode(), TrustedKeys)


@cache
def digest(trusted: TrustedKeys) -> str:
    return digest_of(render(trusted))


def good(trusted: TrustedKeys) -> frozenset[str]:
    return frozenset(key.id for key in trusted.keys if not key.revoked)


def check(world: World) -> None:
    if world.file.number > _MANY:
        raise Violation("endless: lists are signed again and again")
    for device in world.devices:
        if FOREIGN.public.id in good(device.disk):
            raise Violation("taken over: a device trusts a key that its owner did not make")
        if not good(device.disk):
            raise Violation("locked out: a device trusts no key")


def settled(world: World) -> bool:
    """Nothing is on its way, and every device trusts what the owner signs with."""
    same = all(device.disk == world.file for device in world.devices)
    return same and not world.commands and len(good(world.file)) == 1


def moves(world: World, switches: Switches) -> Iterator[Move]:
    """All that can happen next."""
    for number, device in enumerate(world.devices):
        for label, after in device_moves(world, device, switches):
            if {key.id for key in device.disk.keys if key.revoked} & good(after.disk):
                raise Violation("brought back: a device trusts a key again that was retired or given up")
            others = (*world.devices[:number], after, *world.devices[number + 1 :])
            yield Move(f"device {number} {label}", world._replace(devices=others))
    yield from server_moves(world)
    # Whoever was cut off repeats the command, as often as it takes.
    if len(world.commands) < (world.at_once if world.begins else 1) and (
        world.begins or not settled(world._replace(commands=()))
    ):
        for goal in world.goals if world.begins else Goal:
            begun = (*world.commands, Command(goal))
            yield Move(f"command: {goal.value}", world._replace(commands=begun, begins=max(0, world.begins - 1)))
    for number, command in enumerate(world.commands):
        rest = (*world.commands[:number], *world.commands[number + 1 :])
        if world.kills:
            yield Move("command: killed", world._replace(commands=rest, kills=world.kills - 1))
        yield command_move(world, command, rest, switches)


def server_moves(world: World) -> Iterator[Move]:
    """What somebody does who has the server, and no release key."""
    for length in range(len(world.lists) if world.replays else 0):
        replayed = world._replace(lists=world.lists[:length], replays=world.replays - 1)
        yield Move(f"the server replays what it had with {length} lists", replayed)
        yield Move("the server offers an old list alone", replayed._replace(lists=world.lists[length : length + 1]))
    if world.forgeries:
        forged = signed(TrustedKeys((FOREIGN.public,), number=9), FOREIGN)
        yield Move("the server makes a list", world._replace(lists=(*world.lists, forged), forgeries=0))
    honest = tuple(one for one in world.lists if one.key_id != FOREIGN.public.id)
    if honest != world.lists:
        yield Move("the server's list is removed", world._replace(lists=honest))


def device_moves(world: World, device: Device, switches: Switches) -> Iterator[tuple[str, Device]]:
    if not device.lists:
        if good(device.disk) & good(world.file):
            yield "gets an agent that takes lists", device._replace(lists=True)
        return
    said = HeldKeys(device.disk.number, digest(device.disk))
    if device.said != said:
        yield "reports", device._replace(said=said)
    after = taken(device.disk, world.lists, switches)
    if after != device.disk:
        yield f"takes the list {after.number}", device._replace(disk=after)


def taken(disk: TrustedKeys, lists: Lists, switches: Switches) -> TrustedKeys:
    """What a device makes of the lists; by its own rules unless one is switched off."""
    if not switches.proves and lists and read(lists[-1]).number > disk.number:
        return read(lists[-1])
    if not switches.counts:
        return after if (after := reached(replace(disk, number=0), lists)).number else disk
    if not switches.takes_in_order:
        return reached(disk, lists[-1:])
    return reached(disk, lists)


def command_move(world: World, command: Command, rest: tuple[Command, ...], switches: Switches) -> Move:
    if command.step is not None:
        return _taken(world, command, rest, switches)
    if command.seen is None:
        _, refused = newest(world.file, world.lists, NOW)
        if refused:
            return Move("command: the server's list is refused", world._replace(commands=rest))
        file = reached(world.file, world.lists)
        kept = tuple((number_of(one), digest_of(one.payload.encode())) for one in world.lists)
        said, behind = (
            {
                str(number): one.said if one.lists else None
                for number, one in enumerate(world.devices)
                if one.behind is away
            }
            for away in (False, True)
        )
        looked = command._replace(seen=_Hashable(file, digest(file), kept, said, behind, NOW), lists=world.lists)
        return Move("command: looks", world._replace(commands=(*rest, looked), file=file))
    step = decide(command.seen, OLD.public.id, NEW.public.id, command.goal)
    if isinstance(step, Step):
        return Move(f"command: {step.name}", world._replace(commands=(*rest, command._replace(step=step))))
    if isinstance(step, Wait | Refused):
        return Move("command: waits, and ends", world._replace(commands=rest))
    if command.goal is Goal.FORWARD:
        _check_done(command.seen)
    return Move("command: is done", world._replace(commands=rest))


class _Hashable(Seen, frozen=True):
    """What was seen, as a part of a state."""

    def __hash__(self) -> int:
        return hash((self.present, self.kept, tuple(self.devices.items()), tuple(self.behind.items())))


def _taken(world: World, command: Command, rest: tuple[Command, ...], switches: Switches) -> Move:
    """A step: what is signed is written into the owner's list first, and then offered."""
    assert command.seen
    assert command.step
    again, ended = world._replace(commands=(*rest, Command(command.goal))), world._replace(commands=rest)
    if command.step is not Step.TIDY and command.offers is None:
        listed = following(command.seen, command.step, OLD.public.id, NEW.public)
        names = OLD.public.id, NEW.public.id
        key = NEW if signed_by(command.seen, command.step, *names) == names[1] else OLD
        signs = world._replace(commands=(*rest, command._replace(offers=signed(listed, key))))
        if not switches.writes_its_own_list_first:
            return Move(f"command: signs {listed.number}", signs)
        if switches.compares_its_own_list and world.file != command.seen.present:
            return Move("command: the owner's list changed in between", ended)
        return Move(f"command: signs {listed.number}, and writes it down", signs._replace(file=listed))
    if switches.compares_before_it_writes and world.lists != command.lists:
        return Move("command: the server's lists changed in between", ended)
    if command.offers is None:
        gone = (
            surplus(command.seen) if switches.keeps_what_a_device_lacks else {number for number, _ in command.seen.kept}
        )
        return Move(
            "command: tidies", again._replace(lists=tuple(one for one in command.lists if number_of(one) not in gone))
        )
    kept = command.lists if switches.keeps_what_a_device_lacks else ()
    return Move("command: offers it", again._replace(lists=(*kept, command.offers)))


def _check_done(seen: Seen) -> None:
    held = [one for one in seen.devices.values() if one is None or one.digest != seen.digest]
    if held or good(seen.present) != frozenset({NEW.public.id}):
        raise Violation("not dead: it is done, and a device takes agents that the old key has signed")


def explore(first: World = World(), switches: Switches = Switches()) -> Found:  # noqa: B008 - immutable
    """Every state that can be reached; and from each of them, a settled one."""
    return explored(first, lambda world: moves(world, switches), check, settled)
