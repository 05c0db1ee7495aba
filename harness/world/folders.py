"""A world's folder: short, private, locked while anything of the world lives, and removed when nothing does.

The lock is a `flock` on `<root>/lock`, held by the owner and inherited by the supervisor: free means that both are
dead, whatever became of their pids. A sweep at the next start removes such folders, and first kills what they left
running, found by the variable FLEET_WORLD in its environment; a live world, or a kept one, is never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from harness.errors import DiskFull, HarnessError, of_os_error
from harness.processes import cgroups

CGROUP = "cgroup"
"""A file in a world's folder: the name of the control groups that it made, if it made any."""
_LOGS = "logs"
"""The folder beside the worlds for logs that a message named to a person."""
_LOGS_KEPT = 7 * 86400.0
"""Seconds for which they are kept."""
_LEAST_FREE = 64 * 2**20
"""Bytes: what etcd, JetStream and the logs of one world take, with room to spare."""
_LONGEST_BELOW = len("/devices//run/docker.sock") + 63
_SOCKET_PATH_LIMIT = 107
"""Bytes of a unix socket's path (unix(7)); a device id has up to 63 of them."""


def parent() -> Path:
    """Where worlds live: a folder that only this user may enter. Its name is short enough for any user's number."""
    folder = Path(tempfile.gettempdir()) / f"f{os.getuid():x}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise of_os_error(error, "making the folder of worlds", folder) from error
    if folder.stat().st_uid != os.getuid():
        raise HarnessError(f"{folder} belongs to somebody else", next_step="set TMPDIR to a folder of your own")
    return folder


def create() -> tuple[Path, IO[bytes]]:
    """A new world's folder and its held lock.

    Raises:
        HarnessError: the temporary folder is full, or its path too long for a device's socket.
    """
    base = parent()
    try:
        root = _fresh(base)
        _check(base, root)
        lock = (root / "new-lock").open("wb")
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Under its name only once held: a sweep that saw it free would remove the folder.
        (root / "new-lock").rename(root / "lock")
    except OSError as error:
        raise of_os_error(error, "making a world's folder", base) from error
    return root, lock


def _check(base: Path, root: Path) -> None:
    """Whether a world fits there; else the folder is removed again."""
    free = shutil.disk_usage(root).free
    if free < _LEAST_FREE:
        remove(root)
        raise DiskFull(
            f"only {free / 2**20:.0f} MiB are free at {base}; a world needs {_LEAST_FREE // 2**20}",
            next_step=f"free space (df {base}), or set TMPDIR",
        )
    if len(os.fsencode(root)) + _LONGEST_BELOW > _SOCKET_PATH_LIMIT:
        remove(root)
        raise HarnessError(
            f"{root} is too long: a device's socket below it would exceed {_SOCKET_PATH_LIMIT} bytes",
            next_step="set TMPDIR to a shorter folder, such as /tmp",
        )


def _fresh(base: Path) -> Path:
    """A new folder with a shorter name than `tempfile` makes: every byte counts for the sockets below it."""
    while True:
        root = base / secrets.token_hex(2)
        with contextlib.suppress(FileExistsError):
            root.mkdir(mode=0o700)
            return root


def sweep(also: Callable[[Path], None] = lambda _: None) -> list[Path]:
    """Remove the folders of dead runs, and what they left running; returns them.

    `also` is called with each before it is removed, for what else it left behind.
    """
    removed: list[Path] = []
    _forget_old_logs(parent())
    for root in parent().iterdir():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), (root / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            kill_members(root)
            also(root)
            with contextlib.suppress(OSError):
                if cgroups.await_removed((root / CGROUP).read_text()):
                    continue  # its name is in there, for the next sweep
            remove(root)
            removed.append(root)
    return removed


def members(root: Path) -> list[int]:
    """The processes that carry FLEET_WORLD=`root` in their environment; ours alone are readable, or all for root."""
    mark = f"FLEET_WORLD={root}".encode()
    pids: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                pids.append(int(folder.name))
    return pids


def kill_members(root: Path) -> None:
    """Kill what a world left running."""
    for pid in members(root):
        if pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def remove(root: Path) -> None:
    """Remove a world's folder; what others remove at the same time is fine. Logs that were named to a person stay."""
    place = root.parent / _LOGS / root.name
    if place.is_symlink():
        with contextlib.suppress(OSError):
            place.unlink()
            shutil.copytree(root / "logs", place, ignore_dangling_symlinks=True)
    shutil.rmtree(root, ignore_errors=True)


def logs_to_read(root: Path) -> Path:
    """The folder that a message names for a world's logs. It holds them also once the world is removed."""
    place = root.parent / _LOGS / root.name
    place.parent.mkdir(mode=0o700, exist_ok=True)
    if not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)  # of an earlier world that had the same name
        with contextlib.suppress(FileExistsError):
            place.symlink_to(root / "logs")
    return place


def _forget_old_logs(base: Path) -> None:
    for place in (base / _LOGS).glob("*"):
        with contextlib.suppress(OSError):
            if place.lstat().st_mtime < time.time() - _LOGS_KEPT:
                place.unlink() if place.is_symlink() else shutil.rmtree(place)
