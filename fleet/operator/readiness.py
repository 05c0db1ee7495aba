"""Why the operator is not ready, if it is not: one sentence for each thing that is wrong."""

from __future__ import annotations

import structlog

log = structlog.get_logger()


class Readiness:
    """What is wrong now, by subject. A sentence is logged when it is new, and when the matter is settled."""

    def __init__(self, *awaited: str) -> None:
        """Begin waiting for every one of `awaited` to be settled."""
        self._wrong = dict.fromkeys(awaited, "not yet done")
        self._over = False

    def wrong(self, subject: str, why: str) -> None:
        """Something is wrong with `subject`."""
        if not self._over and self._wrong.get(subject) != why:
            self._wrong[subject] = why
            log.warning("not ready", subject=subject, why=why)

    def settled(self, subject: str) -> None:
        """`subject` is in order."""
        if self._wrong.pop(subject, None) is not None:
            log.info("in order", subject=subject)

    def end(self) -> None:
        """We stop: what ends from now on is meant to."""
        self._over = True

    def reason(self) -> str:
        """Everything that is wrong, or empty when the operator is ready."""
        return "; ".join(f"{subject}: {why}" for subject, why in sorted(self._wrong.items()))
