"""Calls a server again while it is away or behind, with growing pauses; the terminal shows one message about it.

The library is imported by the first call that must be repeated; most commands need none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import stamina
    from stamina.instrumentation import RetryDetails

_say: list[Callable[[str], None]] = []


def announce_waits(say: Callable[[str], None]) -> None:
    """Call `say` once for each wait with its reason; the library would print it to standard output."""
    _say[:] = [say]


def retrying(*, timeout: float, longest_pause: float) -> stamina.RetryingCaller:
    """Calls a function until it no longer raises the given errors, for at most `timeout` seconds."""
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
