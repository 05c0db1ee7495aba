"""Devices whose clock is wrong: a heartbeat has the device's time, and NATS the time of arrival."""

from __future__ import annotations

TOLERATED = 60.0
"""Seconds by which clocks may differ, and which every bound on times here leaves room for."""
_BACK = 50.0
"""A difference below this number of seconds counts as fixed: one that varies around the bound is reported once."""
_MOVED = 10.0
"""Seconds by which a difference changes before it is reported again."""


class Clocks:
    """The differences to report, in seconds by which a device's clock is ahead of NATS'."""

    def __init__(self) -> None:
        self.ahead: dict[str, float] = {}

    def put(self, device: str, ahead: float) -> bool:
        """Take a device's clock from its heartbeat; returns whether the report changes."""
        known = self.ahead.get(device)
        if abs(ahead) <= (TOLERATED if known is None else _BACK):
            return self.ahead.pop(device, None) is not None
        if known is not None and abs(ahead - known) <= _MOVED:
            return False
        self.ahead[device] = ahead
        return True
