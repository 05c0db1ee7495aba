"""Keys and values that are not ours to understand: told once, counted, skipped."""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from fleet.operator.metrics import Metrics

log = structlog.get_logger()

_SHOWN = 200
"""Characters of a foreign key or reason that a log line shows."""


class Strays:
    """What is strange at the moment, by place (a bucket, or a kind of Kubernetes object) and key."""

    def __init__(self, metrics: Metrics) -> None:
        """Begin with none."""
        self._metrics = metrics
        self._known: dict[str, dict[str, str]] = {}

    def note(self, place: str, key: str, why: str) -> None:
        """A stray was seen. It is logged and counted when it is new, or strange in a new way."""
        known = self._known.setdefault(place, {})
        if known.get(key) == why:
            return
        known[key] = why
        self._metrics.strays.labels(place).inc()
        self._metrics.strays_now.labels(place).set(len(known))
        log.warning("skipped what does not belong here", place=place, key=key[:_SHOWN], why=why[:_SHOWN])

    def forget(self, place: str, key: str) -> None:
        """The key is gone, or in order again."""
        known = self._known.get(place)
        if known and known.pop(key, None) is not None:
            self._metrics.strays_now.labels(place).set(len(known))

    def keep(self, place: str, keys: Iterable[str]) -> None:
        """Forget every stray of a place that was not among `keys`, when all of it was just read."""
        for key in self._known.get(place, {}).keys() - set(keys):
            self.forget(place, key)
