"""The tally of a deployment, kept while one device after the other changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from fleet.operator.plan.ranking import Ranking
from fleet.operator.reconcile.tally import NAMED, DeviceSummary, Image, Outcome, Share, Tally, named


class _List:
    """The devices of one kind: how many, and the first of them by name."""

    def __init__(self, belongs: Callable[[Outcome], bool]) -> None:
        self._belongs = belongs
        self._names: Ranking[tuple[()]] = Ranking()

    def put(self, device: str, outcome: Outcome | None) -> None:
        self._names.put(device, () if outcome is not None and self._belongs(outcome) else None)

    def named(self, outcomes: dict[str, Outcome]) -> DeviceSummary:
        first = [(name, outcomes[name].reason, outcomes[name].message) for name in self._names.first(NAMED)]
        return named(len(self._names), first)


class Counting:
    """The same tally as `reconcile.tally.tallied` makes of all outcomes."""

    def __init__(self) -> None:
        self._outcomes: dict[str, Outcome] = {}
        self._counts: Counter[str] = Counter()
        self._images: Counter[Image] = Counter()
        self._failing = _List(lambda device: device.share is Share.FAILING)
        self._waiting = _List(lambda device: device.share is Share.WAITING)
        self._troubled = _List(lambda device: device.troubled)

    def put(self, device: str, outcome: Outcome | None) -> None:
        """How a device stands now; None for one that is not counted any more."""
        before = self._outcomes.pop(device, None)
        if before is not None:
            self._count(before, -1)
        if outcome is not None:
            self._outcomes[device] = outcome
            self._count(outcome, 1)
        for each in (self._failing, self._waiting, self._troubled):
            each.put(device, outcome)

    def tally(self) -> Tally:
        """All of them."""
        return Tally(
            matched=len(self._outcomes),
            updated=self._counts["updated"],
            ready=self._counts["ready"],
            failing=self._failing.named(self._outcomes),
            waiting=self._waiting.named(self._outcomes),
            troubled=self._troubled.named(self._outcomes),
            away=self._counts["away"],
            images=self._images,
        )

    def _count(self, outcome: Outcome, step: int) -> None:
        self._counts["updated"] += step * outcome.updated
        self._counts["ready"] += step * (outcome.share is Share.READY)
        self._counts["away"] += step * outcome.away
        if outcome.image:
            self._images[outcome.image] += step
            if not self._images[outcome.image]:
                del self._images[outcome.image]
