"""The devices that rollouts wait for, looked up once for all rollouts: a fleet may have many of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import msgspec

from fleet.contract.objects import WorkloadStatus
from fleet.contract.selector import Selector
from fleet.contract.wire import Phase
from fleet.web.objects import Deployment
from fleet.web.views.row import Summary

Workloads = Callable[[str], Sequence[WorkloadStatus]]
_Labels = tuple[str | None, ...]
"""The values of those labels that a selector looks at."""


class Blocker(msgspec.Struct, frozen=True):
    """A device that a rollout waits for."""

    device: str
    reason: str


class Blockers:
    """Who keeps deployments."""

    def __init__(self, troubled: Iterable[Summary], workloads: Workloads, selectors: Iterable[Selector]) -> None:
        """`troubled` are the devices with troubles, by name; `workloads` says by a name what that device said last.

        Devices whose labels do not differ in what the `selectors` look at are selected together.
        """
        self._keys = sorted({key for selector in selectors for key in _keys_of(selector)})
        self._labels: dict[_Labels, dict[str, str]] = {}
        self._away: dict[str, tuple[_Labels, Blocker]] = {}
        self._number_away: dict[_Labels, int] = {}
        self._failing: dict[str, dict[str, tuple[_Labels, Blocker]]] = {}
        self._running: dict[tuple[str, int], set[str]] = {}
        for summary in troubled:
            self._add(summary, workloads(summary.row.name))

    def _add(self, summary: Summary, said: Iterable[WorkloadStatus]) -> None:
        name = summary.row.name
        labels = tuple(summary.labels.get(key) for key in self._keys)
        if labels not in self._labels:
            self._labels[labels] = {key: summary.labels[key] for key in self._keys if key in summary.labels}
        for trouble in summary.troubles:
            if trouble.workload:
                self._failing.setdefault(trouble.workload, {})[name] = (labels, Blocker(name, trouble.reason))
            elif trouble.about == "connection":
                self._away[name] = (labels, Blocker(name, trouble.reason))
                self._number_away[labels] = self._number_away.get(labels, 0) + 1
        for state in said:
            if state.phase == Phase.RUNNING.value:
                self._running.setdefault((state.name, state.generation), set()).add(name)

    def offline(self, item: Deployment) -> int:
        """How many selected devices ran the present generation when they were last heard, and are not online."""
        selected = self._selected(item)
        running = self._running.get((item.metadata.name, item.metadata.generation), set[str]())
        return sum(1 for device in running if device in self._away and self._away[device][0] in selected)

    def _selected(self, item: Deployment) -> set[_Labels]:
        return {labels for labels, found in self._labels.items() if item.spec.selector.selects(found)}

    def of(self, item: Deployment, most: int) -> tuple[tuple[Blocker, ...], int]:
        """Selected devices that do not run the present generation: those on which it fails, then those that are away.

        At most so many, and how many there are beside them.
        """
        name = item.metadata.name
        selected = self._selected(item)
        running = self._running.get((name, item.metadata.generation), set[str]())
        failing = self._failing.get(name, {})
        own = [summary for device, (labels, summary) in failing.items() if labels in selected and device not in running]
        others = running | failing.keys()
        away = sum(self._number_away.get(labels, 0) for labels in selected)
        away -= sum(1 for device in others if device in self._away and self._away[device][0] in selected)
        named = own[:most]
        if away and len(named) < most:
            waiting = (
                summary
                for labels, summary in self._away.values()
                if labels in selected and summary.device not in others
            )
            named += islice(waiting, most - len(named))
        return tuple(named), len(own) + away - len(named)


def _keys_of(selector: Selector) -> Iterable[str]:
    return (*selector.match_labels, *(expression.key for expression in selector.match_expressions))
