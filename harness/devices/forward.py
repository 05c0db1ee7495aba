"""The engine of a machine over SSH as a socket on this one: `ssh -L`, for as long as it is wanted."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from fleet.contract.config import ENGINE_SOCKET
from harness.errors import DeviceUnreachable
from harness.processes.spawn import socket_answers, spawn, tail, terminate
from harness.wait import WaitFailed, WaitTimeout, wait_until

_ENGINE = ENGINE_SOCKET
"""Where the agent looks for it too; podman's is a link there."""
_LIMIT = 60.0
"""Seconds; an emulated machine takes some for a login."""


class EngineForward:
    """A socket from its construction to `close`; the machine's user must be allowed to ask the engine."""

    def __init__(self, where: Sequence[str]) -> None:
        """`where` is what `ssh` needs to log in.

        Raises:
            DeviceUnreachable: the machine does not answer, or refuses.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="engine-")
        folder = Path(self._folder.name)
        self.socket, log = folder / "docker.sock", folder / "ssh.log"
        options = ("BatchMode=yes", "ExitOnForwardFailure=yes", "ServerAliveInterval=15")
        argv = ["ssh", "-F", "none", "-N", *(f"-o{option}" for option in options), "-L", f"{self.socket}:{_ENGINE}"]
        self._process = spawn([*argv, *where], log=log)
        try:
            wait_until(
                lambda: socket_answers(self.socket),
                "ssh leads to the engine",
                timeout=_LIMIT,
                error=lambda _: None if self.stands else tail(log),
            )
        except (WaitFailed, WaitTimeout) as error:
            self.close()
            raise DeviceUnreachable(str(error), next_step=f"ssh {' '.join(where)}") from error

    @property
    def stands(self) -> bool:
        """Whether it still leads there: not after the machine was switched off."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        terminate(self._process, grace=1)
        self._folder.cleanup()
