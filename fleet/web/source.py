"""Where what the page shows comes from, and how fresh each source is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import structlog

from fleet.contract.printable import one_line
from fleet.web.messages import Standing

log = structlog.get_logger()

CHECK_INTERVAL = 10.0
"""Seconds between two looks whether a source answers that has not said anything by itself."""
KUBERNETES, NATS, PROVIDER, OPERATOR, CALLOUT = "Kubernetes", "NATS", "identity provider", "operator", "callout"
"""The sources, as the page names them."""
_OBSERVED = (KUBERNETES, NATS)
"""Sources whose changes are missed while they do not answer."""
_GAPS = 50
"""Gaps that are kept, the newest."""


class Source(msgspec.Struct, frozen=True):
    """One source, or another part of the server: why it is not as it should be, empty when it is.

    `since` is when it was last heard (or we began), or when it was last ready if it answers and is not; Unix seconds.
    """

    name: str
    why: str
    since: float
    standing: Standing = Standing.SILENT

    @property
    def outdated(self) -> bool:
        """Whether what is shown comes from there, and so is of that time."""
        return self.standing is Standing.SILENT and self.name in {*_OBSERVED, OPERATOR}


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
    """All of them; `changed` is called when one begins or ends to answer, or to be ready."""

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
            CALLOUT: Source(CALLOUT, "", now()),
        }
        self._heard: dict[str, float] = {}

    def mark_unavailable(self, name: str, why: str, standing: Standing = Standing.SILENT) -> None:
        """A source does not answer, or another part is as `standing` says."""
        before, why = self.known[name], one_line(why)
        if standing is Standing.UNREADY:
            self._heard[name] = self._now()
        if (before.why, before.standing) == (why, standing):
            return
        since = before.since
        if before.why and before.standing is not standing:
            # It has said itself that it is not ready, so it was heard later than it was ready; or it says so now.
            since = self._heard.get(name, since)
        self.known[name] = Source(name, why, since, standing)
        log.warning("a source is away", source=name, standing=standing.value, why=why)
        self.changed()

    def mark_available(self, name: str) -> None:
        """A source has answered, and nothing is wrong with it."""
        before = self.known[name]
        self.known[name] = Source(name, "", self._now())
        self._heard.pop(name, None)
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
        """Those that do not answer now, or are not ready."""
        return tuple(part for part in self.known.values() if part.why)
