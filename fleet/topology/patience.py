"""Asking again while a server is away or behind, with growing pauses; the person at the terminal is told once.

The library behind it is imported by the first question that has to be asked again: most never are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import stamina
    from stamina.instrumentation import RetryDetails

_say: list[Callable[[str], None]] = []


def announce_waits(say: Callable[[str], None]) -> None:
    """Tell `say` why nothing happens, once for each wait; the library would say it among the answers."""
    _say[:] = [say]


def patient(*, timeout: float, longest_pause: float) -> stamina.RetryingCaller:
    """Calls something until it no longer raises what it is told to expect, for `timeout` seconds."""
    import stamina  # noqa: PLC0415 - see above
    from stamina import instrumentation  # noqa: PLC0415

    if _say:
        instrumentation.set_on_retry_hooks([_tell])
    return stamina.RetryingCaller(
        attempts=None, timeout=timeout, wait_initial=0.1, wait_max=longest_pause, wait_jitter=0.1
    )


def _tell(details: RetryDetails) -> None:
    if details.retry_num == 1:
        for say in _say:
            say(f"waiting: {details.caused_by}")
