"""Names by rank, where the first few are asked for again and again."""

from __future__ import annotations

import heapq
from typing import Generic, Protocol, TypeVar


class Ordered(Protocol):
    """What can be compared."""

    def __lt__(self, other: object, /) -> bool:
        """Whether it comes before the other."""
        ...


R = TypeVar("R", bound=tuple[object, ...])

_SPARE = 64


class Ranking(Generic[R]):
    """A heap from which names may be taken out: what does not hold any more is skipped when it comes up."""

    def __init__(self) -> None:
        self._ranks: dict[str, R] = {}
        self._heap: list[tuple[R, str]] = []

    def put(self, name: str, rank: R | None) -> None:
        """Give a name another rank, or none."""
        if self._ranks.get(name) == rank:
            return
        if rank is None:
            del self._ranks[name]
        else:
            self._ranks[name] = rank
            heapq.heappush(self._heap, (rank, name))
        if len(self._heap) > 2 * len(self._ranks) + _SPARE:
            self._heap = [(rank, name) for name, rank in self._ranks.items()]
            heapq.heapify(self._heap)

    def first(self, count: int) -> list[str]:
        """The names that come first; of the same rank, in the order of names."""
        found: dict[str, R] = {}
        while self._heap and len(found) < count:
            rank, name = heapq.heappop(self._heap)
            if self._ranks.get(name) == rank:
                found[name] = rank
        for name, rank in found.items():
            heapq.heappush(self._heap, (rank, name))
        return list(found)

    def __len__(self) -> int:
        return len(self._ranks)
