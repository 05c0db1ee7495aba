"""Rotations of one secret as a small world: two parts that honour it, two that use it, commands that may be killed.

The decisions are the product's own; what carries them out is modelled move by move: a look at the store, a look at the
parts, a write on what was seen, and an apply that reaches the parts one after the other in any order.

For the certificate authority there is a device as well. It takes what the first part that honours tells it, whenever it
happens to be there, and says so later; what a command sees of it is what it said last.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from fleet.contract.errors import Conflict
from fleet.rotation.decide import Apply, Done, Goal, Seen, Step, Versions, begun, decide
from fleet.secrets.store import Change, Kept, changed
from tests.rotation.exploring import Found, Violation, explored

HONOUR, USE = ("callout-0", "callout-1"), ("nats-0", "nats-1")
PARTS = (*HONOUR, *USE)
NEW = "BC"


class Switches(NamedTuple):
    """Guards that do not lie in the decision."""

    lease: bool = True
    compares: bool = True
    asks_devices: bool = True
    writes_before_it_reports: bool = True


class Store(NamedTuple):
    current: str
    next: str = ""
    previous: str = ""
    revision: int = 0


class Command(NamedTuple):
    """A running command: what it has seen, and what is left of its apply."""

    goal: Goal
    begin: bool | None = None
    store: Store | None = None
    step: Step | None = None
    plan: Store | None = None
    left: tuple[str, ...] = ()
    frozen: bool = False


class Device(NamedTuple):
    """What a device has on its disk, and what it said last that it trusts."""

    trusts: frozenset[str] = frozenset("A")
    said: frozenset[str] = frozenset("A")


class World(NamedTuple):
    store: Store
    honoured: tuple[frozenset[str], ...]
    used: tuple[str, ...]
    commands: tuple[Command | None, ...]
    lease: int = -1
    made: int = 0
    kills: int = 2
    silences: int = 1
    freezes: int = 1
    device: Device | None = None
    were_current: frozenset[str] = frozenset("A")


class Move(NamedTuple):
    label: str
    world: World


def start(commands: int, *, kills: int = 2, device: bool = False) -> World:
    """A steady secret."""
    world = World(Store("A"), (frozenset("A"),) * 2, ("A",) * 2, (None,) * commands, kills=kills)
    return world._replace(device=Device()) if device else world


def settled(world: World) -> bool:
    """One version, everywhere, and nobody at work."""
    one = frozenset({world.store.current})
    steady = not (world.store.next or world.store.previous)
    same = set(world.honoured) == {one} and frozenset(world.used) == one
    return steady and not any(world.commands) and same and world.device in {None, Device(one, one)}


def check(world: World) -> None:
    """What holds in every state."""
    for part, used in zip(USE, world.used, strict=True):
        for other, honoured in zip(HONOUR, world.honoured, strict=True):
            if used not in honoured:
                raise Violation(f"locked out: {part} uses {used}, and {other} honours {', '.join(sorted(honoured))}")
        if world.device and used not in world.device.trusts:
            raise Violation(
                f"locked out: {part} uses {used}, and the device has {', '.join(sorted(world.device.trusts))}"
            )
        if used not in _ids(world.store):
            raise Violation(f"lost: {part} uses {used}, which the store has no more")


def moves(world: World, switches: Switches) -> Iterator[Move]:
    """All that can happen next."""
    if world.device:
        yield from _device_moves(world, world.device, switches)
    for number, command in enumerate(world.commands):
        if command is None:
            if not switches.lease or world.lease < 0:
                for goal in Goal:
                    if world.made < len(NEW) or goal is Goal.BACK:
                        yield Move(f"{number}: {goal.value}", _with(world, number, Command(goal), lease=number))
            continue
        if world.kills and not command.frozen:
            after = _ended(world, number)._replace(kills=world.kills - 1)
            yield Move(f"{number}: killed", after)
        yield from _next(world, number, command, switches)


def _device_moves(world: World, device: Device, switches: Switches) -> Iterator[Move]:
    told = world.honoured[0]
    if device.trusts != told:
        yield Move("the device takes the bundle", world._replace(device=device._replace(trusts=told)))
    if device.said != device.trusts:
        yield Move("the device reports", world._replace(device=device._replace(said=device.trusts)))
    if not switches.writes_before_it_reports and device.said != told:
        yield Move("the device reports, and loses it", world._replace(device=device._replace(said=told)))


def _next(world: World, number: int, command: Command, switches: Switches) -> Iterator[Move]:
    if command.left:
        for part in command.left:
            yield Move(f"{number}: {part} takes up {command.plan}", _applied(world, number, command, part))
    elif command.store is None:
        yield Move(f"{number}: looks at the store", _with(world, number, command._replace(store=world.store)))
    elif command.step is None:
        device = world.device if switches.asks_devices else None
        yield _looked(world, number, command, device, "")
        if world.silences:
            for part in PARTS:
                yield _looked(world, number, command, device, part)
    elif isinstance(command.step, Change):
        if world.freezes and not command.frozen:
            frozen = _with(world, number, command._replace(frozen=True))
            yield Move(f"{number}: frozen past its lease", frozen._replace(lease=-1, freezes=0))
        yield _written(world, number, command, switches)
    elif isinstance(command.step, Apply):
        plan = command._replace(store=None, step=None, plan=world.store, left=PARTS)
        yield Move(f"{number}: applies", _with(world, number, plan))
    else:
        yield Move(f"{number}: done", _ended(world, number))


def _looked(world: World, number: int, command: Command, device: Device | None, silent: str) -> Move:
    store = command.store
    assert store
    seen = Seen(
        Versions(store.current, store.next, store.previous),
        {part: ids for part, ids in zip(HONOUR, world.honoured, strict=True) if part != silent}
        | ({"device": device.said} if device else {}),
        {part: one for part, one in zip(USE, world.used, strict=True) if part != silent},
        (f"{silent} does not answer",) if silent else (),
    )
    begin = command.begin if command.begin is not None else not begun(seen)
    step = decide(seen, command.goal, begin=begin)
    if isinstance(step, Done):
        _check_done(world)
    after = _with(world, number, command._replace(begin=begin, step=step))
    silenced = after._replace(silences=world.silences - bool(silent))
    return Move(f"{number}: looks at the parts{f', {silent} is silent' if silent else ''}: {_named(step)}", silenced)


def _check_done(world: World) -> None:
    # A device that has not yet said that it took a version may keep that for a while, if nobody ever used it.
    device = world.device.trusts & world.were_current if world.device else frozenset[str]()
    old = {one for ids in (*world.honoured, device) for one in ids} - _ids(world.store)
    if old and not any(other and other.left for other in world.commands):
        raise Violation(f"not dead: it is done, and {', '.join(sorted(old))} is still honoured")


def _written(world: World, number: int, command: Command, switches: Switches) -> Move:
    seen, change = command.store, command.step
    assert seen
    assert isinstance(change, Change)
    again = command._replace(store=None, step=None, begin=False)
    after = _ended(world, number) if command.frozen else _with(world, number, again)
    basis = world.store if not switches.compares else seen
    try:
        if switches.compares and seen != world.store:
            raise Conflict("changed", next_step="")
        value = NEW[world.made : world.made + 1].encode() if change is Change.STAGE else b""
        kept = changed(_kept(basis), change, value)
    except Conflict:
        return Move(f"{number}: {change.value} comes too late", after)
    words = [(one or b"").decode() for one in (kept.current, kept.next, kept.previous)]
    store = Store(*words, revision=world.store.revision + 1)
    made = world.made + (change is Change.STAGE)
    were = world.were_current | {store.current}
    return Move(f"{number}: writes {change.value}: {store}", after._replace(store=store, made=made, were_current=were))


def _kept(store: Store) -> Kept:
    return Kept(store.current.encode(), store.next.encode() or None, store.previous.encode() or None)


def _applied(world: World, number: int, command: Command, part: str) -> World:
    plan = command.plan
    assert plan
    honoured, used = list(world.honoured), list(world.used)
    if part in HONOUR:
        honoured[HONOUR.index(part)] = _ids(plan)
    else:
        used[USE.index(part)] = plan.current
    left = tuple(one for one in command.left if one != part)
    after = _with(world, number, command._replace(left=left, plan=plan if left else None))
    return after._replace(honoured=tuple(honoured), used=tuple(used))


def _with(world: World, number: int, command: Command | None, **changes: int) -> World:
    commands = tuple(command if at == number else one for at, one in enumerate(world.commands))
    return world._replace(commands=commands, **changes)


def _ended(world: World, number: int) -> World:
    return _with(world, number, None, lease=-1 if world.lease == number else world.lease)


def _ids(store: Store) -> frozenset[str]:
    return frozenset({store.current, store.next, store.previous} - {""})


def _named(step: Step) -> str:
    return step.value if isinstance(step, Change) else type(step).__name__.lower()


def explore(first: World, switches: Switches = Switches()) -> Found:  # noqa: B008 - immutable
    """Every state that can be reached; and from each of them, a settled one."""
    return explored(first, lambda world: moves(world, switches), check, settled)
