"""Breadth first over every state of a model: the shortest trace to a violation, or how much was seen."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from fleet.contract.wire import AgentTarget
from tests.upgrade.model.base import Label
from tests.upgrade.model.model import Model
from tests.upgrade.model.world import Violation, World


class Found(NamedTuple):
    """How far an exploration came, and the trace to where an oracle did not hold, if it did not."""

    states: int
    transitions: int
    violation: str = ""
    trace: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.states} states, {self.transitions} transitions"]
        lines += [f"{number:3}. {line}" for number, line in enumerate(self.trace, 1)]
        return "\n".join([*lines, f"  => {self.violation}"] if self.violation else lines)


class Explorer:
    """One exploration."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._numbers: dict[World, int] = {}
        self._worlds: list[World] = []
        self._parents = array("i")
        self._from, self._to = array("i"), array("i")
        self._transitions = 0

    def run(self, starts: Iterable[World]) -> Found:
        """Explore all that can be reached from `starts`."""
        for world in starts:
            self._reached(world, -1)
        at = 0
        try:
            while at < len(self._worlds):
                self._expand(at)
                at += 1
        except Violation as violation:
            return self._found(str(violation), at)
        return self._ends()

    def _expand(self, at: int) -> None:
        numbers, worlds = self._numbers, self._worlds
        for label, world, fault in self._model.moves(worlds[at]):
            self._transitions += 1
            to = numbers.get(world)
            if to is None:
                to = self._first_seen(label, world, at)
            if not fault:
                self._from.append(at)
                self._to.append(to)

    def _first_seen(self, label: Label, restless: World, parent: int) -> int:
        try:
            world = self._model.calmed(restless)
            number = self._numbers.get(world)
            if number is None:
                number = self._reached(world, parent)
                self._model.check(world)
        except Violation as violation:
            raise Violation(f"{violation}\n     by: {_words(label)}") from violation
        return number

    def _reached(self, world: World, parent: int) -> int:
        number = self._numbers[world] = len(self._worlds)
        self._worlds.append(world)
        self._parents.append(parent)
        return number

    def _ends(self) -> Found:
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
        if first >= 0:
            return self._found("(e) from here no end is ever reached", first)
        return Found(len(self._worlds), self._transitions)

    def _found(self, violation: str, at: int) -> Found:
        path = [at]
        while self._parents[path[-1]] >= 0:
            path.append(self._parents[path[-1]])
        path.reverse()
        steps = pairwise(path)
        trace = tuple(self._label(source, target) for source, target in steps)
        return Found(len(self._worlds), self._transitions, violation, trace)

    def _label(self, source: int, target: int) -> str:
        world = self._worlds[target]
        moves = self._model.moves(self._worlds[source])
        return next(_words(move.label) for move in moves if self._model.calmed(move.world) == world)


def _words(label: Label) -> str:
    return " ".join(_order(word) if isinstance(word, AgentTarget) else str(word) for word in label)


def _order(target: AgentTarget) -> str:
    parts = [f"{target.version} of attempt {target.generation}"]
    parts += ["granted"] if target.granted else []
    parts += [f"stop {target.stop_instance}"] if target.stop_instance else []
    parts += [f"confirmed {target.confirmed}"] if target.confirmed else []
    parts += ["withdrawn"] if target.withdrawn else []
    return ", ".join(parts)
