"""Which of the versions side by side this process is, if it is one."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.agent.place import Place
from fleet.agent.upgrade.disk import DeviceDisk
from fleet.agent.upgrade.journal import Release
from fleet.agent.upgrade.room import Room
from fleet.agent.upgrade.runner import Installed
from fleet.version import VERSION


def installed(place: Place) -> Installed | None:
    """None for an agent that was installed in another way, such as from a package: it cannot be upgraded."""
    room = Room(place.root)
    if Path(sys.argv[0]).resolve() != room.artifact(VERSION).resolve():
        return None
    marker = room.marker(VERSION)
    return Installed(Release(VERSION, marker.digest), DeviceDisk(place)) if marker else None
