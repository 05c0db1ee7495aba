"""Fleet: containers on fleets of small Linux devices. These five names are the façade; all else may move."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleet.contract.config import FleetDeviceAuth
    from fleet.install.enroll import FleetDeviceEnrollScore
    from fleet.install.server import FleetServerScore
    from fleet.install.setup import FleetDeviceSetupScore
    from fleet.topology.admin import AdminAuth

# httpx also has a command line, for which it imports click and rich wherever they are installed: half of its start.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] - None: "there is no such module"

__all__ = ["AdminAuth", "FleetDeviceAuth", "FleetDeviceEnrollScore", "FleetDeviceSetupScore", "FleetServerScore"]

_HOMES = {
    "AdminAuth": "fleet.topology.admin",
    "FleetDeviceAuth": "fleet.contract.config",
    "FleetDeviceEnrollScore": "fleet.install.enroll",
    "FleetDeviceSetupScore": "fleet.install.setup",
    "FleetServerScore": "fleet.install.server",
}


def __getattr__(name: str) -> object:
    """Import on first use: an agent imports `fleet` too, and must not pay for the Scores."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
