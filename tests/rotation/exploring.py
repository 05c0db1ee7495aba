"""Every state of a small world, breadth first, and from each of them one that is settled."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, TypeVar

W = TypeVar("W", bound=Hashable)


class Violation(Exception):  # noqa: N818 - reads as what it is
    """Something that must never be."""


class Found(NamedTuple):
    """How far an exploration came, and the trace to where something did not hold."""

    states: int
    violation: str = ""
    trace: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """How it came to what did not hold."""
        return "\n".join([*self.trace, f"=> {self.violation}"])


def explored(
    first: W, moves: Callable[[W], Iterable[tuple[str, W]]], check: Callable[[W], None], settled: Callable[[W], bool]
) -> Found:
    """Every state that can be reached, breadth first; and from each of them, a settled one.

    Args:
        first: The state to begin in.
        moves: What can happen next, each with a name and the state after it; raises `Violation`.
        check: Raises `Violation` where a state must never be.
        settled: Whether nothing is under way any more.
    """
    parents: dict[W, tuple[W, str] | None] = {first: None}
    before: dict[W, list[W]] = {}
    queue = deque([first])
    while queue:
        world = queue.popleft()
        try:
            check(world)
            for label, after in moves(world):
                before.setdefault(after, []).append(world)
                if after not in parents:
                    parents[after] = world, label
                    queue.append(after)
        except Violation as violation:
            return Found(len(parents), str(violation), _trace(parents, world))
    good = {world for world in parents if settled(world)}
    ends = deque(good)
    while ends:
        for source in before.get(ends.popleft(), ()):
            if source not in good:
                good.add(source)
                ends.append(source)
    stuck = next((world for world in parents if world not in good), None)
    if stuck:
        return Found(len(parents), "stuck: from here nothing settles", _trace(parents, stuck))
    return Found(len(parents))


def _trace(parents: dict[W, tuple[W, str] | None], world: W) -> tuple[str, ...]:
    labels: list[str] = []
    while (step := parents[world]) is not None:
        world, label = step
        labels.append(label)
    return tuple(reversed(labels))
