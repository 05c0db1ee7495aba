"""Why the operator is not ready, if it is not: one sentence for each thing that is wrong.

What is wrong with one object only does not make the operator unready: a device could end its readiness by it. It is
told beside it, as a remark.
"""

from __future__ import annotations

import structlog

log = structlog.get_logger()

_SHOWN = 10
"""Remarks that are listed by name."""


class Readiness:
    """Present problems, by subject. A problem is logged when it begins and when it ends."""

    def __init__(self, *awaited: str) -> None:
        """Begin waiting for every one of `awaited` to be settled."""
        self._wrong = dict.fromkeys(awaited, "not yet done")
        self._remarks: dict[str, str] = {}
        self._over = False

    def wrong(self, subject: str, why: str) -> None:
        """Something is wrong with `subject`."""
        if not self._over and self._wrong.get(subject) != why:
            self._wrong[subject] = why
            log.warning("not ready", subject=subject, why=why)

    def remark(self, subject: str, why: str) -> None:
        """Something is wrong with `subject` that concerns nothing else."""
        if self._remarks.get(subject) != why:
            self._remarks[subject] = why
            log.warning("one object's trouble", subject=subject, why=why)

    def settled(self, subject: str) -> None:
        """`subject` is in order."""
        if (self._wrong.pop(subject, None) or self._remarks.pop(subject, None)) is not None:
            log.info("in order", subject=subject)

    def end(self) -> None:
        """We stop: what ends from now on is meant to."""
        self._over = True

    def reason(self) -> str:
        """Everything that is wrong, or empty when the operator is ready."""
        return "; ".join(f"{subject}: {why}" for subject, why in sorted(self._wrong.items()))

    def remarks(self) -> list[str]:
        """Problems of single objects: the first of them, and the number of the others."""
        shown = [f"{subject}: {why}" for subject, why in sorted(self._remarks.items())]
        more = len(shown) - _SHOWN
        return shown if more <= 0 else [*shown[:_SHOWN], f"and {more} more"]
