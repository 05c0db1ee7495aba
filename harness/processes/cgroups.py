"""Control groups of our own: a folder of one name in every hierarchy (version 1), or in the one of version 2."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from harness.processes.files import folders_below

_BASE = Path("/sys/fs/cgroup")
_NEEDED = ("cpuset.cpus", "cpuset.mems")
"""Version 1: empty in a new group, and while they are, no process may enter (cpusets(7))."""


def unified() -> bool:
    """Whether this machine has version 2 alone."""
    return (_BASE / "cgroup.controllers").exists()


def make(name: str) -> list[Path]:
    """The folders of that name, made where they are missing; below the root of each hierarchy."""
    tops = [_BASE] if unified() else _hierarchies()
    return [_make(top, top / name) for top in tops]


def enter(groups: Sequence[Path]) -> None:
    """Move this process into each."""
    for group in groups:
        (group / "cgroup.procs").write_text("0")


def remove(name: str) -> list[Path]:
    """Remove them, as far as no process is in them; returns those that are left."""
    tops = [_BASE / name, *(_BASE.glob(f"*/{name}"))]
    for top in tops:
        for folder in sorted(folders_below(top), reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
    return [top for top in tops if top.is_dir()]


def await_removed(name: str, within: float = 5.0) -> list[Path]:
    """As `remove`, for `within` seconds: a process that was killed leaves its group a moment later."""
    end = time.monotonic() + within
    while (left := remove(name)) and time.monotonic() < end:
        time.sleep(0.02)
    return left


def _hierarchies() -> list[Path]:
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return sorted({Path(mount[1]) for mount in mounts if mount[2] == "cgroup" and mount[1].startswith(str(_BASE))})


def _make(top: Path, group: Path) -> Path:
    group.mkdir(exist_ok=True)
    for name in _NEEDED:
        parents, ours = top / name, group / name
        if ours.exists() and not ours.read_text().strip():
            ours.write_text(parents.read_text())
    return group
