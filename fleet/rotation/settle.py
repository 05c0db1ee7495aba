"""What is waited for after a step of a rotation, because the next one may end what lets devices in."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet.rotation.look import InUse

_WITHIN, _INTERVAL = 10.0, 0.1
"""Seconds for all of it, and between looks."""


def settle(look: Callable[[], InUse], devices: int) -> None:
    """Wait until so many devices are back, and until NATS has decided the logins that wait for it.

    A login that came while no callout was there keeps NATS waiting for 3 s. A NATS that is to end meanwhile takes no
    more connections and ends only after that: every device would be out for as long, and for its own pauses besides.
    Logins that come once the callouts answer are decided at once, and are not waited for.
    """
    deadline = time.monotonic() + _WITHIN
    waiting: frozenset[str] | None = None
    while True:
        seen = look()
        if waiting is None and not seen.silent:
            waiting = seen.undecided
        settled = waiting is not None and seen.devices >= devices and not waiting & seen.undecided
        if settled or time.monotonic() > deadline:
            return
        time.sleep(_INTERVAL)
