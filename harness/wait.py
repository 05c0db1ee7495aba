"""The one wait: poll a probe under a deadline, and say what was last seen.

A probe returns an observation (anything with a readable `repr`); `until` judges it. So a new condition needs a new
predicate, never a new `wait_for_x`. Only changed observations are logged.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Generator
from typing import TypeVar

from harness.errors import Unanswered

T = TypeVar("T")

_factor = [1.0]
_log = logging.getLogger("fleet.wait")
_SHOWN = 2000
"""Characters of an observation that a message shows."""


class WaitTimeout(AssertionError):  # noqa: N818 - the product was not what it should be, in time
    """A condition did not become true in time. Carries `condition`, `timeout` in seconds, and `last` as text."""

    def __init__(self, condition: str, timeout: float, last: str) -> None:
        """Build the sentence."""
        super().__init__(f"not within {timeout:g} s: {condition}\n  last seen: {last}")
        self.condition = condition
        self.timeout = timeout
        self.last = last


class WaitFailed(AssertionError):  # noqa: N818
    """The `error` predicate saw that the condition can no longer become true."""

    def __init__(self, condition: str, why: str, last: str) -> None:
        """Build the sentence."""
        super().__init__(f"will not come: {condition}\n  because: {why}\n  last seen: {last}")
        self.condition = condition
        self.why = why
        self.last = last


@contextlib.contextmanager
def stretched(factor: float = 1.0) -> Generator[Callable[[float], None]]:
    """Let every wait, and every command of a scenario, last `factor` times as long: in a world that is slow by kind.

    Yields what sets another factor, once it was measured.
    """
    place = len(_factor)
    _factor.append(factor)
    try:
        yield lambda measured: _factor.__setitem__(place, measured)
    finally:
        _factor.pop()


def stretch() -> float:
    """How many times as long as usual things may take now: as the slowest part of the world needs."""
    return max(_factor)


def wait_until(
    probe: Callable[[], T],
    condition: str,
    *,
    timeout: float,
    until: Callable[[T], object] = bool,
    error: Callable[[T], str | None] | None = None,
    interval: float = 0.05,
    successes: int = 1,
) -> T:
    """Call `probe` until `until` holds `successes` times in a row; return the last observation.

    Args:
        probe: Looks once, and returns what it sees. Raising `Unanswered` counts as "not yet".
        condition: What is waited for, as a sentence for the failure message.
        timeout: Seconds until giving up, in a world of usual speed. The probe runs at least once, and once more then.
        until: Whether the observation is the wanted one; truth by default.
        error: Says why the condition can no longer come, to fail early; None while it still can.
        interval: Seconds between looks.
        successes: Looks in a row that must succeed.

    Raises:
        WaitTimeout: the deadline passed; the message carries condition, limit and last observation.
        WaitFailed: `error` gave a reason.
    """
    timeout *= stretch()
    started = time.monotonic()
    in_a_row, last = 0, ""
    while True:
        final = time.monotonic() - started >= timeout
        try:
            seen = probe()
        except Unanswered as unanswered:
            in_a_row = 0
            last = _noted(condition, str(unanswered.what), last)
        else:
            last = _noted(condition, repr(seen), last)
            in_a_row = in_a_row + 1 if until(seen) else 0
            if in_a_row >= successes:
                _log.info("%s: after %.2f s of %g s", condition, time.monotonic() - started, timeout)
                return seen
            why = error(seen) if error and not in_a_row else None
            if why:
                raise WaitFailed(condition, why, last)
        if final:
            raise WaitTimeout(condition, timeout, last)
        time.sleep(min(interval, max(0.0, started + timeout - time.monotonic())))


def _noted(condition: str, seen: str, last: str) -> str:
    shown = seen if len(seen) <= _SHOWN else f"{seen[:_SHOWN]}... ({len(seen)} characters)"
    if shown != last:
        _log.debug("waiting for %s: %s", condition, shown)
    return shown
