"""Whether NATS, and devices through it, can be reached; and which missing heartbeats say nothing about a device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

from fleet.operator.reconcile.snapshot import ReceivedHeartbeat, deadline


class Connectivity:
    """An outage begins when any of them cannot be reached, and ends when all can."""

    def __init__(
        self, heard: Mapping[str, ReceivedHeartbeat], offline_after: float, changed: Callable[[str], None]
    ) -> None:
        """Begins without an outage. `changed` is called with each device whose online state may change."""
        self._heard = heard
        self._offline_after = offline_after
        self._changed = changed
        self._answered = 0.0
        self._silent: set[str] = set()
        self.excused: dict[str, float] = {}
        """See `Snapshot`."""
        self.silent_since = 0.0
        """See `Snapshot`."""

    def devices(self, heard: bool) -> None:
        """Whether devices can be reached. Online devices stay online in an outage, and have time to come back."""
        self._set("devices", heard, time.monotonic())

    def answered(self, answers: bool) -> None:
        """Whether NATS has just given a sign of life; without one nothing follows from the silence of a device."""
        self._set("NATS", answers, self._answered or time.monotonic())
        if answers:
            self._answered = time.monotonic()

    def _set(self, whom: str, hears: bool, until: float) -> None:
        """After `until`, on the monotonic clock, the state of NATS is unknown unless something arrives from it."""
        if not hears:
            if not self._silent:
                self._fall_silent(until)
            self._silent.add(whom)
        elif whom in self._silent:
            self._silent.discard(whom)
            if not self._silent:
                self.silent_since = 0.0
                self._restart_deadlines()

    def _fall_silent(self, until: float) -> None:
        last = max([self._answered, *(heard.at for heard in self._heard.values())]) or until
        self.silent_since = time.time() - (time.monotonic() - last)
        self.excused = {
            name: math.inf
            for name, heard in self._heard.items()
            if deadline(heard, self._offline_after, self.excused.get(name, 0.0)) > until
        }

    def _restart_deadlines(self) -> None:
        """Devices that were online when the outage began have their usual time to send a heartbeat."""
        for name, excused in self.excused.items():
            if excused == math.inf and name in self._heard:
                afresh = ReceivedHeartbeat(self._heard[name].heartbeat, time.monotonic())
                self.excused[name] = deadline(afresh, self._offline_after)
                self._changed(name)
