"""A file system that only this process and its children see, and that ends with them (Linux, mount_namespaces(7))."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from harness.errors import TargetUnavailable

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
PLACE = Path("/mnt")
"""There on every Linux (FHS 3.0), and short enough for the sockets of devices below it."""


def tmpfs(options: str) -> Path:
    """A small memory file system, mounted with `options` (tmpfs(5)); call it before the first thread starts.

    Raises:
        TargetUnavailable: this machine allows neither root nor an unprivileged user to mount.
    """
    _unshare()
    for argv in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(PLACE)]):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise TargetUnavailable(f"{' '.join(argv)}: {done.stderr.strip()}", next_step="run as root")
    return PLACE


def _unshare() -> None:
    user, group = os.getuid(), os.getgid()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS if user == 0 else _CLONE_NEWNS | _CLONE_NEWUSER):
        raise TargetUnavailable(
            f"cannot have a mount namespace: {os.strerror(ctypes.get_errno())}",
            next_step="run as root, or allow unprivileged user namespaces",
        )
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
