"""The one error of an artefact that is not taken; light, for a running agent imports it."""

from __future__ import annotations

from fleet.contract.errors import FleetError
from fleet.contract.upgrade import UpgradeReason


class Refusal(FleetError):  # noqa: N818 - reads as what it is
    """An artefact that is not taken, and why."""

    def __init__(self, reason: UpgradeReason, what: str, *, next_step: str) -> None:
        super().__init__(what, next_step=next_step)
        self.reason = reason
