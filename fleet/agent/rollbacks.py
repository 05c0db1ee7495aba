"""The orders that a device rolled back: it does not try such an order again until another one arrives."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleet.agent.desired_state import Deployment
from fleet.agent.problems import Problem
from fleet.agent.record import read_record, write_record
from fleet.contract.containers import spec_hash
from fleet.contract.wire import Reason


class _Order(msgspec.Struct):
    generation: int
    spec: str
    why: str


class _Orders(msgspec.Struct):
    orders: dict[str, _Order] = {}


class Rollbacks:
    """Records them in one file. If the file cannot be written, a restarted agent tries the order once more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = read_record(path, _Orders)

    def add(self, deployment: str, desired: Deployment, why: str) -> None:
        """This desired deployment was not healthy in time, and the previous one runs again."""
        if desired.workload is not None:
            self._kept.orders[deployment] = _Order(desired.generation, spec_hash(desired.workload), why)
            write_record(self._path, self._kept)

    def problem(self, deployment: str, desired: Deployment | None) -> Problem | None:
        """Why the device rolled this deployment back; None if it did not. A record of another order is forgotten."""
        order = self._kept.orders.get(deployment)
        if order is None:
            return None
        if desired is not None and desired.workload is not None:
            if (desired.generation, spec_hash(desired.workload)) == (order.generation, order.spec):
                return Problem(Reason.WENT_BACK, order.why)
        elif desired is not None:
            return None  # nobody could read it; what runs goes on
        del self._kept.orders[deployment]
        write_record(self._path, self._kept)
        return None
