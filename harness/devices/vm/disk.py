"""A disk with a volatile cache, as real ones have: what the guest has not flushed is lost when its power is cut.

QEMU writes to an NBD server (nbdkit, whose filter `cache` passes writes on at a flush only), and a power cut kills that
server first. Killing QEMU alone would lose nothing that it has written, for this machine's own cache keeps it; and QEMU
flushes when it is asked to end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from harness.errors import DeviceUnreachable, HarnessError, TargetUnavailable
from harness.processes.spawn import let_go, signal_group, socket_answers, spawn, tail, terminate
from harness.wait import WaitFailed, WaitTimeout, wait_until

_PROGRAMS = ("nbdkit", "qemu-img")
_ROOM = 8 * 2**30
"""Bytes that the sparse file may take: its server tells the size once, and QEMU lets the disk grow in it."""
_LIMIT = 10.0
_LASTING = '"$@" & wait'
"""A parent that stays: nbdkit ends with its parent, as it asks the kernel to (PR_SET_PDEATHSIG, seen with 1.32)."""


class VolatileDisk:
    """An overlay on another disk, which stays as it is; served to QEMU at `socket` from `start` to `cut` or `close`."""

    def __init__(self, base: Path, folder: Path, name: str, *, world: Path | None = None) -> None:
        """Make the overlay in a folder. With a `world`, its server can outlive us, as a process of that world.

        Raises:
            TargetUnavailable: a program is missing.
            HarnessError: the overlay cannot be made.
        """
        if missing := [program for program in _PROGRAMS if shutil.which(program) is None]:
            raise TargetUnavailable(
                f"no disk for a virtual machine: {', '.join(missing)}",
                next_step="./scripts/e2e-machines.sh as root installs what is missing",
            )
        self.file, self.socket, self._log = folder / f"{name}.qcow2", folder / f"{name}.nbd", folder / f"{name}-nbd.log"
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(self.file)]
        result = subprocess.run(argv, capture_output=True, text=True, check=False)
        if result.returncode:
            raise HarnessError(f"the disk {self.file} was not made: {result.stderr.strip()}", next_step="df -h")
        os.truncate(self.file, _ROOM)
        self._server: subprocess.Popen[bytes] | None = None
        self._world = world

    def start(self) -> None:
        """Serve it; nothing if it is served.

        Raises:
            DeviceUnreachable: the server does not come up; the message holds its last words.
        """
        if self._server is not None and self._server.poll() is None:
            return
        self.socket.unlink(missing_ok=True)
        argv = ["nbdkit", "--foreground", "--unix", str(self.socket), "--filter=cache", "file", str(self.file)]
        argv.append("cache=writeback")
        env = None
        if self._world is not None:
            argv = ["sh", "-c", _LASTING, "nbdkit", *argv]
            env = {**os.environ, "FLEET_WORLD": str(self._world)}
        server = self._server = spawn(argv, log=self._log, env=env, lasting=env is not None)
        try:
            wait_until(
                lambda: socket_answers(self.socket),
                "the disk is served",
                timeout=_LIMIT,
                error=lambda _: None if server.poll() is None else tail(self._log),
            )
        except (WaitFailed, WaitTimeout) as error:
            raise DeviceUnreachable(str(error), next_step=f"see {self._log}") from error

    def cut(self) -> None:
        """Lose what was not flushed; nothing if it is not served."""
        if self._server is not None:
            signal_group(self._server.pid, 9)
            self._server.wait()
            self._server = None

    def leave(self) -> None:
        """Let the server outlive us; nothing if it is not served."""
        if self._server is not None:
            let_go(self._server)
            self._server = None

    def close(self) -> None:
        """End the server in order."""
        if self._server is not None:
            with contextlib.suppress(ProcessLookupError):
                terminate(self._server)
            self._server = None
