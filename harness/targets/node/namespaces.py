"""The kernel's part: process 1 of new namespaces, and mounts in them (namespaces(7), mount(2))."""

from __future__ import annotations

import ctypes
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.processes import cgroups

_NEW_PID = 0x20000000
_NEW_REST = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x40000000
"""Mount, cgroup, uts, ipc and net."""
_PR_SET_PDEATHSIG = 1
NOSUID, NODEV, NOEXEC, BIND, RECURSIVE, PRIVATE, SHARED = 2, 4, 8, 0x1000, 0x4000, 0x40000, 0x100000
_libc = ctypes.CDLL(None, use_errno=True)


def start_first_process(groups: Sequence[Path], run: Callable[[int], None]) -> tuple[int, int]:
    """Fork process 1 of new namespaces, which are rooted at the control groups `groups`; returns its pid here.

    `run` is called there with a file descriptor that reads end-of-file once this process has ended, and must not
    return. The second result is the other end: it keeps the new process alive.
    """
    alive, ours = os.pipe()
    _unshare(_NEW_PID)  # for children only: the next one is process 1
    pid = os.fork()
    if pid:
        os.close(alive)
        return pid, ours
    try:
        os.close(ours)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.setsid()
        cgroups.enter(groups)
        _unshare(_NEW_REST)  # after entering, so that the groups are the roots of the new namespace
        run(alive)
    except BaseException:  # nothing of ours may run on in the copy of the parent
        traceback.print_exc()
    finally:
        os._exit(1)


def mount(source: str, target: Path | str, kind: str = "", flags: int = 0, options: str = "") -> None:
    """As mount(2).

    Raises:
        OSError: the kernel refused.
    """
    texts = (source, str(target), kind or None)
    arguments = [None if text is None else text.encode() for text in texts]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode() or None):
        raise OSError(ctypes.get_errno(), f"mount {kind or source} {os.strerror(ctypes.get_errno())}", str(target))


def _unshare(flags: int) -> None:
    if _libc.unshare(flags):
        raise OSError(ctypes.get_errno(), f"unshare {flags:#x}: {os.strerror(ctypes.get_errno())}")
