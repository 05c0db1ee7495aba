"""The longest pause between two heartbeats of a device, watched from outside while something happens to its server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

from fleet.contract.buckets import DEVICE_HEARTBEAT
from harness.errors import HarnessError
from harness.probes.nats import NatsLogin, NatsProbe

_INTERVAL = 0.05
"""Seconds between looks."""


class Pulse:
    """Watches one device from now on, with a connection of its own."""

    def __init__(self, login: Callable[[], NatsLogin], device: str) -> None:
        """`login` is asked at every new connection; it lasts until `end`."""
        self._login = login
        self._device = device
        self._beats: list[float] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"pulse-{device}", daemon=True)
        self._thread.start()

    @property
    def beats(self) -> int:
        """Heartbeats seen so far."""
        return len(self._beats)

    def end(self) -> None:
        """End the watch."""
        self._over.set()
        self._thread.join()

    def longest(self) -> float:
        """The longest pause so far in seconds, the one up to now included."""
        times = [*self._beats, time.monotonic()]
        return max((later - earlier for earlier, later in pairwise(times)), default=float("inf"))

    def _watch(self) -> None:
        probe, last = NatsProbe(self._login), None
        try:
            while not self._over.wait(_INTERVAL):
                try:
                    beat = probe.get(DEVICE_HEARTBEAT, self._device)
                except HarnessError:
                    continue  # NATS is away, and with it every heartbeat
                except Exception:
                    return  # the world has ended under a scenario that failed; the pause only grows
                seen = beat and (beat.instance_id, beat.sequence)
                if seen and seen != last:
                    self._beats.append(time.monotonic())
                    last = seen
        finally:
            probe.close()
