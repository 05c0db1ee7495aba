"""Whether a folder is in memory, so that what is written there is on no disk."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")
_IN_MEMORY = frozenset({"tmpfs", "ramfs"})
_ESCAPED = re.compile(r"\\([0-7]{3})")


def disk_below(folder: Path, mounts: str) -> str:
    """The type of the file system that a folder is on; empty if it is one in memory.

    Args:
        folder: An absolute path, which need not exist.
        mounts: The mounts as `/proc/self/mountinfo` tells them (proc_pid_mountinfo(5)).
    """
    nearest, kind = Path("/"), ""
    for line in mounts.splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(_ESCAPED.sub(lambda match: chr(int(match[1], 8)), mount.split(" ")[4]))
        if folder.is_relative_to(point) and point.is_relative_to(nearest):
            nearest, kind = point, source.split(" ")[0]  # of two at one place the later covers the earlier
    return "" if kind in _IN_MEMORY else kind
