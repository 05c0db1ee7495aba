"""Where what the page shows comes from, and how fresh each source is."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import structlog

from fleet.contract.printable import one_line

log = structlog.get_logger()

LOOK = 10.0
"""Seconds between two looks whether a source answers that has not said anything by itself."""
KUBERNETES, NATS, PROVIDER, OPERATOR = "Kubernetes", "NATS", "identity provider", "operator"
"""The sources, as the page names them."""


class Source(msgspec.Struct, frozen=True):
    """One source: why it does not answer (empty when it does), and when it last did (or we began), in Unix seconds."""

    name: str
    why: str
    since: float


class Sources:
    """All of them; `changed` is called when one begins or ends to answer."""

    def __init__(self, now: Callable[[], float], changed: Callable[[], None] = lambda: None) -> None:
        """Kubernetes and NATS are awaited; the others count as there until they fail. `now` is in Unix seconds."""
        self._now = now
        self.changed = changed
        self.known = {
            KUBERNETES: Source(KUBERNETES, "nothing was read yet", now()),
            NATS: Source(NATS, "not connected yet", now()),
            PROVIDER: Source(PROVIDER, "", now()),
            OPERATOR: Source(OPERATOR, "", now()),
        }

    def away(self, name: str, why: str) -> None:
        """A source does not answer."""
        before = self.known[name]
        if before.why != one_line(why):
            self.known[name] = Source(name, one_line(why), before.since)
            log.warning("a source is away", source=name, why=why)
            self.changed()

    def back(self, name: str) -> None:
        """A source has answered."""
        before = self.known[name]
        self.known[name] = Source(name, "", self._now())
        if before.why:
            log.info("a source is back", source=name)
            self.changed()

    @property
    def missing(self) -> tuple[Source, ...]:
        """Those that do not answer now."""
        return tuple(one for one in self.known.values() if one.why)
