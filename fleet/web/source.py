"""Where what the page shows comes from, and how fresh each source is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import structlog

from fleet.contract.printable import one_line

log = structlog.get_logger()

CHECK_INTERVAL = 10.0
"""Seconds between two looks whether a source answers that has not said anything by itself."""
KUBERNETES, NATS, PROVIDER, OPERATOR = "Kubernetes", "NATS", "identity provider", "operator"
"""The sources, as the page names them."""
_OBSERVED = (KUBERNETES, NATS)
"""Sources whose changes are missed while they do not answer."""
_GAPS = 50
"""Gaps that are kept, the newest."""


class Source(msgspec.Struct, frozen=True):
    """One source: why it does not answer (empty when it does), and when it last did (or we began), in Unix seconds."""

    name: str
    why: str
    since: float


class Gap(msgspec.Struct, frozen=True):
    """A time in which a source did not answer, `count` times; `since` and `until` are Unix seconds."""

    source: str
    since: float
    until: float
    count: int = 1

    @property
    def text(self) -> str:
        """What it means for what is shown of that time; the source stands before it."""
        times = f" ({self.count} outages)" if self.count > 1 else ""
        return (
            f"did not answer from {_utc(self.since)} to {_utc(self.until)}{times}: "
            "of what changed meanwhile, only the last state is known"
        )


def _utc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Sources:
    """All of them; `changed` is called when one begins or ends to answer."""

    def __init__(
        self,
        now: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
        on_gap: Callable[[Gap], None] = lambda _: None,
    ) -> None:
        """Kubernetes and NATS are awaited; the others count as there until they fail. `now` is in Unix seconds.

        `on_gap` is called with each gap when it is over, before `changed`.
        """
        self._now = now
        self.changed = changed
        self._on_gap = on_gap
        self.gaps: deque[Gap] = deque(maxlen=_GAPS)
        """Of Kubernetes and NATS, the newest last."""
        self._observed: set[str] = set()
        self.known = {
            KUBERNETES: Source(KUBERNETES, "nothing was read yet", now()),
            NATS: Source(NATS, "not connected yet", now()),
            PROVIDER: Source(PROVIDER, "", now()),
            OPERATOR: Source(OPERATOR, "", now()),
        }

    def mark_unavailable(self, name: str, why: str) -> None:
        """A source does not answer."""
        before = self.known[name]
        if before.why != one_line(why):
            self.known[name] = Source(name, one_line(why), before.since)
            log.warning("a source is away", source=name, why=why)
            self.changed()

    def mark_available(self, name: str) -> None:
        """A source has answered."""
        before = self.known[name]
        self.known[name] = Source(name, "", self._now())
        if before.why:
            log.info("a source is back", source=name)
            if name in self._observed:
                gap = Gap(name, before.since, self._now())
                self.gaps.append(gap)
                self._on_gap(gap)
            self.changed()
        if name in _OBSERVED:
            self._observed.add(name)

    def record_activity(self, name: str) -> None:
        """A source has said something by itself; whether it answers is another question."""
        if not self.known[name].why:
            self.known[name] = Source(name, "", self._now())

    @property
    def unavailable(self) -> tuple[Source, ...]:
        """Those that do not answer now."""
        return tuple(one for one in self.known.values() if one.why)
