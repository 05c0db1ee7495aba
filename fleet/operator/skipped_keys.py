"""Foreign or unreadable keys and values: logged once, counted, skipped."""

from __future__ import annotations

import time
from collections.abc import Iterable

import structlog

from fleet.operator.metrics import Metrics
from fleet.process.log_budget import Sampler

log = structlog.get_logger()

_SHOWN = 200
"""Characters of a foreign key or reason that a log line shows."""


class SkippedKeys:
    """The keys that are skipped at the moment, by place (a bucket, or a kind of Kubernetes object)."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._known: dict[str, dict[str, str]] = {}
        self._sampler = Sampler()

    def note(self, place: str, key: str, why: str) -> None:
        """Count a key that is skipped for the first time, or for another reason, and log it within the log budget."""
        known = self._known.setdefault(place, {})
        if known.get(key) == why:
            return
        known[key] = why
        self._metrics.skipped.labels(place).inc()
        self._metrics.skipped_now.labels(place).set(len(known))
        untold = self._sampler.take(place, time.monotonic())
        if untold is not None:
            more = {"untold": untold} if untold else {}
            log.warning("skipped what does not belong here", place=place, key=key[:_SHOWN], why=why[:_SHOWN], **more)

    def knows(self, place: str, key: str, why: str) -> bool:
        """Whether it was noted, and for the same reason."""
        return self._known.get(place, {}).get(key) == why

    def forget(self, place: str, key: str) -> None:
        """The key is deleted, or valid again."""
        known = self._known.get(place)
        if known and known.pop(key, None) is not None:
            self._metrics.skipped_now.labels(place).set(len(known))

    def keep(self, place: str, keys: Iterable[str]) -> None:
        """After a complete read of a place: forget its skipped keys that are not among `keys`."""
        for key in self._known.get(place, {}).keys() - set(keys):
            self.forget(place, key)
