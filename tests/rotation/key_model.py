"""The renewal of one device's machine key as a small world: a command may be killed, a device may lose power.

The decisions are the product's own. A device acts on what it has read before, which may have changed since; it proves,
writes and reports one after the other. Somebody else has a copy of its first key, gets tokens by it while the provider
has it, and comes in by the last one whenever that is let in.

Keys are named by the identity that they belong to (`a`, and `b` once the device was enrolled again) and a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from fleet.contract.machine_keys import KeyOrder
from fleet.rotation.decide import Goal
from fleet.rotation.devices.decide import Done, Refused, Seen, Step, Wait, decide
from tests.rotation.exploring import Found, Violation, explored


class Switches(NamedTuple):
    """Guards that do not lie in the decision."""

    proves: bool = True
    says_its_offer_at_its_start: bool = True
    removes_before_it_ends_sessions: bool = True
    refuses_what_was_had_after_it_removes: bool = True
    drops_its_order_last: bool = True
    gives_up_before_it_says_so: bool = True
    never_offers_what_it_uses: bool = True


class Device(NamedTuple):
    """`disk`, `number` and `made` outlive a power cut.

    `number` is the public half of the key on the disk, `made` that of one which may take its place; `heard` is the
    order that it acts on, `proven` a key that it tried.
    """

    disk: str = "a0"
    number: int = 0
    made: int = 0
    heard: KeyOrder | None = None
    proven: str = ""
    session: str = ""


class Command(NamedTuple):
    goal: Goal
    begin: bool | None = None
    seen: Seen | None = None
    left: tuple[str, ...] = ()


class World(NamedTuple):
    device: Device = Device()
    keys: frozenset[tuple[str, int]] = frozenset({("a0", 0)})
    """At the provider: a key's id, and the number of the public half that it was registered with."""
    order: KeyOrder | None = None
    said: tuple[str, int] = ("a0", 0)
    beat: str = ""
    thief: bool = True
    loot: int = 0
    """The latest token that was had by the copy: how often all tokens were to be refused before it was; -1 for none."""
    refusals: int = 0
    refused: int = 0
    """How often tokens were to be refused, as the `Device` says; and of which of those the registry knows."""
    command: Command | None = None
    identity: str = "a"
    kills: int = 2
    cuts: int = 1
    begins: int = 2
    enrolls: int = 1
    swaps: int = 0
    """How often the provider stores another public half than it was given (zitadel#7948)."""


class Move(NamedTuple):
    label: str
    world: World


def ids(world: World) -> frozenset[str]:
    return frozenset(key for key, _ in world.keys)


def check(world: World) -> None:
    """The device can always come in, unless it was enrolled again and not set up yet."""
    disk = world.device.disk
    if disk[0] == world.identity and not comes_in(world):
        raise Violation(f"locked out: it has {disk}, and the provider {', '.join(sorted(ids(world)))}")
    if not ids(world):
        raise Violation("locked out: the provider has no key of it")
    if world.identity == "b" and "b0" not in ids(world) and disk[0] == "a":
        raise Violation("locked out: the key that it is about to be set up with is gone")


def comes_in(world: World) -> bool:
    """Whether the provider gives a token for what the device has on its disk."""
    return (world.device.disk, world.device.number) in world.keys


def settled(world: World) -> bool:
    steady = world.order is None and world.command is None and not stolen(world) and not lets_in(world)
    return steady and ids(world) == frozenset({world.device.disk})


def stolen(world: World) -> bool:
    return world.thief and world.device.disk != "a0"


def lets_in(world: World) -> bool:
    """Whether the token that was had by the copy lets in, though the device has another key."""
    return world.loot >= world.refused and world.device.disk != "a0"


def moves(world: World, switches: Switches) -> Iterator[Move]:
    """All that can happen next."""
    yield from device_moves(world, world.device, switches)
    yield from thief_moves(world)
    if world.refused != world.refusals:
        yield Move("the operator writes the registry", world._replace(refused=world.refusals))
    if world.enrolls and world.device.disk[0] == "a":
        again = world._replace(identity="b", keys=frozenset({("b0", -1)}), thief=False, loot=-1, enrolls=0)
        yield Move("it is enrolled again", again)
    if world.identity == "b" and world.device.disk[0] == "a":
        yield Move("it is set up with b0", world._replace(device=Device("b0", -1, world.device.made)))
    command = world.command
    if command is None:
        if world.begins or world.order:
            for goal in Goal:
                begun = world._replace(command=Command(goal), begins=max(0, world.begins - 1))
                yield Move(f"command: {goal.value}", begun)
        return
    if world.kills:
        yield Move("command: killed", world._replace(command=None, kills=world.kills - 1))
    yield command_move(world, command, switches)
    swapped = any(number > 9 and world.order and key == world.order.registered for key, number in world.keys)
    if swapped and command.goal is Goal.FORWARD and not command.left:
        yield Move("command: its time is up", world._replace(command=None))
    if world.swaps and command.left and command.left[0].startswith("register"):
        act, *left = command.left
        other = command._replace(left=(f"{act}7", *left))
        yield Move("the provider stores another half", world._replace(command=other, swaps=0))


def thief_moves(world: World) -> Iterator[Move]:
    if "a0" in ids(world) and world.loot != world.refusals:
        yield Move("somebody has a token by a copy of a0", world._replace(loot=world.refusals))
    if not world.thief and world.loot >= world.refused:
        yield Move("somebody comes in by that token", world._replace(thief=True))


def device_moves(world: World, device: Device, switches: Switches) -> Iterator[Move]:
    if world.cuts:
        said = world.said if switches.says_its_offer_at_its_start else (device.disk, 0)
        cut = device._replace(heard=None, proven="", session="")
        yield Move("power cut", world._replace(device=cut, cuts=world.cuts - 1, said=said))
    if device.session != device.disk and comes_in(world):
        yield Move(f"it comes in by {device.disk}", world._replace(device=device._replace(session=device.disk)))
    if not device.session:
        return
    if world.beat != device.session:
        yield Move(f"it beats with {device.session}", world._replace(beat=device.session))
    if device.heard != world.order and not device.proven:
        yield Move("it reads its order", world._replace(device=device._replace(heard=world.order)))
    if world.said != (device.disk, device.made):
        yield Move("it reports", world._replace(said=(device.disk, device.made)))
    yield from _at_work(world, device, switches)


def _at_work(world: World, device: Device, switches: Switches) -> Iterator[Move]:
    """What it does about the order that it has read."""
    order = device.heard
    mine = order is not None and not order.withdrawn and order.replaces == device.disk
    if device.made and (not mine or (switches.never_offers_what_it_uses and device.made == device.number)):
        if switches.gives_up_before_it_says_so or not world.said[1]:
            yield Move("it gives up what it made", world._replace(device=device._replace(made=0)))
        else:
            yield Move("it says that it gives up", world._replace(said=(device.disk, 0)))
    elif order and mine and not device.made:
        made = _unused(_numbers(world))
        yield Move(f"it makes key {made}", world._replace(device=device._replace(made=made)))
    elif device.proven:
        written = device._replace(disk=device.proven, number=device.made, proven="")
        yield Move(f"it writes {device.proven}", world._replace(device=written))
    elif order and mine and order.registered and order.offer == str(device.made):
        good = (order.registered, device.made) in world.keys and order.registered[0] == device.disk[0]
        if good or not switches.proves:
            yield Move(f"it proves {order.registered}", world._replace(device=device._replace(proven=order.registered)))


def _numbers(world: World) -> set[int]:
    """The public halves that somebody still speaks of."""
    told = {int(order.offer or 0) for order in (world.order, world.device.heard) if order}
    seen = world.command.seen if world.command else None
    left = (
        {int(act.split()[1]) for act in world.command.left if act[0] in "rt" and act[2] != "m"}
        if world.command
        else set[int]()
    )
    return (
        told
        | left
        | {world.device.number}
        | {number for _, number in world.keys}
        | {world.said[1], int(seen.offered or 0) if seen else 0}
    )


def _names(world: World) -> frozenset[str]:
    """The ids of keys that somebody still speaks of."""
    device, seen = world.device, world.command.seen if world.command else None
    told = {name for order in (world.order, device.heard) if order for name in (order.replaces, order.registered)}
    known = {seen.used, seen.kept} | seen.registered if seen else set[str]()
    return ids(world) | told | known | {device.disk, device.proven, device.session, world.said[0], world.beat}


def _unused(numbers: set[int]) -> int:
    return next(number for number in range(1, len(numbers) + 2) if number not in numbers)


def command_move(world: World, command: Command, switches: Switches) -> Move:
    if command.left:
        done, *left = command.left
        return _done(world, command._replace(left=tuple(left), seen=None), done)
    if command.seen is None:
        offered = str(world.said[1]) if world.said[1] else ""
        seen = Seen(world.beat, world.said[0], offered, world.order, ids(world), refused_until=world.refused)
        begin = command.begin if command.begin is not None else seen.order is None
        return Move("command: looks", world._replace(command=command._replace(seen=seen, begin=begin)))
    step = decide(command.seen, command.goal, begin=bool(command.begin))
    if isinstance(step, Done | Refused):
        return Move("command: ends", world._replace(command=None))
    if isinstance(step, Wait):
        return Move("command: waits", world._replace(command=command._replace(seen=None)))
    acts = _acts(command.seen, step, switches)
    return Move(f"command: {step.name}", world._replace(command=command._replace(left=acts, begin=False)))


def _acts(seen: Seen, step: Step, switches: Switches) -> tuple[str, ...]:
    if step is Step.ORDER:
        return (f"order {seen.used}",)
    if step is Step.REGISTER:
        return (f"register {seen.offered}", f"tell {seen.offered}")
    if step is Step.WITHDRAW:
        return ("withdraw",)
    refuse = ("shut", "until")
    if step is Step.REFUSE:
        return refuse
    gone = tuple(f"remove {key}" for key in sorted(seen.registered) if key != seen.used)
    ends_last = switches.removes_before_it_ends_sessions
    end = ("end sessions",) if step is (Step.FINISH if ends_last else Step.REMOVE) else ()
    if step is Step.REMOVE:
        return (*end, *gone) if switches.refuses_what_was_had_after_it_removes else (*refuse, *gone)
    acts = (*gone, *end)
    return (*acts, "drop") if switches.drops_its_order_last else ("drop", *acts)


def _done(world: World, command: Command, act: str) -> Move:
    word, _, what = act.partition(" ")
    after = world._replace(command=command)
    order = world.order
    match word:
        case "order":
            after = after._replace(order=KeyOrder(what))
        case "register":
            used = {int(key[1:]) for key in _names(world) if key}
            after = after._replace(keys=world.keys | {(f"{world.identity}{_unused(used)}", int(what))})
        case "tell" if order and (
            key := next((k for k, n in sorted(world.keys) if n in {int(what), int(what + "7")}), "")
        ):
            after = after._replace(order=KeyOrder(order.replaces, key, what))
        case "withdraw" if order:
            after = after._replace(order=KeyOrder(order.replaces, order.registered, order.offer, withdrawn=True))
        case "remove":
            after = after._replace(keys=frozenset(one for one in world.keys if one[0] != what))
        case "end":
            after = after._replace(thief=False, device=world.device._replace(session=""))
        case "drop":
            after = after._replace(order=None)
            if not command.left:
                _check_done(after)
        case _:
            after = _refusing(after, act)
    return Move(f"command: {act}", after)


def _refusing(world: World, act: str) -> World:
    if act == "shut":
        return world._replace(refusals=world.refusals + 1)
    if act == "until" and world.order:
        return world._replace(order=msgspec.structs.replace(world.order, tokens_after=world.refusals))
    return world


def _check_done(world: World) -> None:
    device = world.device
    if device.disk[0] == world.identity and ids(world) != frozenset({device.disk}):
        raise Violation(f"not dead: it is done, and the provider still has {', '.join(sorted(ids(world)))}")
    if device.number == 0 and device.disk != "a0":
        raise Violation("not dead: the device has the old key under another name")
    if device.number == 0 and world.command and world.command.goal is Goal.FORWARD:
        raise Violation("not renewed: it is done, and the device has its old key")
    if stolen(world):
        raise Violation("not dead: it is done, and who has a copy of the old key is still in")
    if lets_in(world):
        raise Violation("not dead: it is done, and a token that was had by the old key still lets in")


def explore(first: World = World(), switches: Switches = Switches()) -> Found:  # noqa: B008 - immutable
    """Every state that can be reached; and from each of them, a settled one."""
    return explored(first, lambda world: moves(world, switches), check, settled)
