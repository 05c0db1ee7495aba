"""Breadth first over every state of a model: the shortest trace to a violation, or how much was seen."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from tests.upgrade.model.model import Model, Violation
from tests.upgrade.model.world import World


class Found(NamedTuple):
    """How far an exploration came, and the trace to the state in which an oracle did not hold, if there is one."""

    states: int
    transitions: int
    violation: str = ""
    trace: tuple[str, ...] = ()


class Explorer:
    """One exploration."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._numbers: dict[World, int] = {}
        self._worlds: list[World] = []
        self._parents = array("i")
        self._labels: list[str] = []
        self._from, self._to = array("i"), array("i")
        self._transitions = 0

    def run(self, starts: Iterable[World], limit: int = 10**9) -> Found:
        """Explore all that can be reached from `starts`."""
        for world in starts:
            self._number(world, -1, "start")
        at = 0
        while at < len(self._worlds) and at < limit:
            try:
                self._expand(at)
            except Violation as violation:
                return self._found(str(violation), at)
            at += 1
        return self._stuck()

    def _expand(self, at: int) -> None:
        for move in self._model.moves(self._worlds[at]):
            self._transitions += 1
            known = len(self._worlds)
            to = self._number(move.world, at, move.label)
            if to == known:
                try:
                    self._model.check(move.world)
                except Violation as violation:
                    raise Violation(f"{violation}\n  by: {move.label}") from violation
            if not move.fault:
                self._from.append(at)
                self._to.append(to)

    def _number(self, world: World, parent: int, label: str) -> int:
        found = self._numbers.get(world)
        if found is None:
            found = self._numbers[world] = len(self._worlds)
            self._worlds.append(world)
            self._parents.append(parent)
            self._labels.append(label)
        return found

    def _stuck(self) -> Found:
        """(e): from every state, without a further fault, an end with a reason can be reached."""
        before: list[list[int]] = [[] for _ in self._worlds]
        for source, target in zip(self._from, self._to, strict=True):
            before[target].append(source)
        ends = [number for number, world in enumerate(self._worlds) if self._model.settled(world)]
        good = bytearray(len(self._worlds))
        for number in ends:
            good[number] = 1
        while ends:
            for source in before[ends.pop()]:
                if not good[source]:
                    good[source] = 1
                    ends.append(source)
        first = good.find(0)
        if first < 0:
            return Found(len(self._worlds), self._transitions)
        return self._found("(e) from here no end is ever reached", first)

    def _found(self, violation: str, at: int) -> Found:
        trace: list[str] = []
        while at >= 0:
            trace.append(self._labels[at])
            at = self._parents[at]
        return Found(len(self._worlds), self._transitions, violation, tuple(reversed(trace)))
