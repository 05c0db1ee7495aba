"""Which of the versions side by side this process is, if it is one."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.agent.paths import AgentPaths
from fleet.agent.upgrade.device.disk import DeviceDisk
from fleet.agent.upgrade.device.runner import Installed
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.protocol.journal import Release
from fleet.version import VERSION


def installed(paths: AgentPaths) -> Installed | None:
    """None for an agent that was installed in another way, such as from a package: it cannot be upgraded."""
    store = VersionStore(paths.root)
    if Path(sys.argv[0]).resolve() != store.artifact(VERSION).resolve():
        return None
    marker = store.marker(VERSION)
    return Installed(Release(VERSION, marker.digest), DeviceDisk(paths)) if marker else None
