"""This machine as a host to set up, all of it or a folder that plays one."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from fleet.contract.errors import FleetError, InvalidInput, NotFound, NotPermitted, TimedOut
from fleet.process.durable import replace_file
from fleet.process.umask import make_folders
from fleet.topology.capabilities import Applied

DEADLINE = 300.0
"""Seconds that a command on a host may take. The smallest boards need a minute to verify and unpack an agent, and more
while they boot; what hangs does so for ever."""
_SHOWN = 800
"""Characters of a failed command's output that its error shows."""


class LocalHost:
    """Satisfies `RunsCommands`. Paths are below `root`; commands run on this machine, with FLEET_ROOT set to it."""

    def __init__(self, root: Path) -> None:
        """Touch nothing yet.

        Raises:
            InvalidInput: `root` is no folder.
        """
        if not root.is_dir():
            raise InvalidInput(f"{root} is no folder", next_step="give the folder that is the device's root")
        self._root = root.absolute()

    def __str__(self) -> str:
        return "this machine" if self._root == Path("/") else str(self._root)

    def execute(self, argv: Sequence[str]) -> str:
        """As `RunsCommands.execute`."""
        env = {**os.environ, "FLEET_ROOT": str(self._root)}
        try:
            done = subprocess.run(
                list(argv), stdin=subprocess.DEVNULL, capture_output=True, env=env, timeout=DEADLINE, check=False
            )
        except FileNotFoundError as error:
            raise no_program(argv, str(self)) from error
        except PermissionError as error:
            raise NotPermitted(f"may not run {argv[0]} on {self}", next_step="run this as root") from error
        except subprocess.TimeoutExpired as error:
            raise too_slow(argv, str(self)) from error
        if done.returncode != 0:
            raise failed(argv, str(self), done.returncode, done.stdout + done.stderr)
        return done.stdout.decode(errors="replace")

    def read(self, path: str) -> bytes | None:
        """As `RunsCommands.read`."""
        target = self._root / path.lstrip("/")
        try:
            return target.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise NotPermitted(f"cannot read {target}: {error.strerror}", next_step="run this as root") from error

    def put(self, path: str, content: bytes, mode: int) -> Applied:
        """As `RunsCommands.put`. Missing folders are made."""
        target = self._root / path.lstrip("/")
        try:
            if _holds(target, content, mode):
                return Applied(path, changed=False)
            make_folders(target.parent)
            replace_file(target, content, mode, shared=True)
        except PermissionError as error:
            raise NotPermitted(f"may not write {target}", next_step="run this as root") from error
        except OSError as error:
            raise FleetError(f"cannot write {target}: {error.strerror}", next_step="free or mend the disk") from error
        return Applied(path, changed=True)


def _holds(target: Path, content: bytes, mode: int) -> bool:
    try:
        return target.read_bytes() == content and stat.S_IMODE(target.stat().st_mode) == mode
    except FileNotFoundError:
        return False


def no_program(argv: Sequence[str], host: str) -> NotFound:
    """What to say when a host has no such program."""
    return NotFound(f"{host} has no program {argv[0]}", next_step=f"install {argv[0]} there, or check its PATH")


def too_slow(argv: Sequence[str], host: str) -> TimedOut:
    """What to say of a command that did not end."""
    return TimedOut(
        f"`{' '.join(argv)}` on {host} did not end within {DEADLINE:g} s",
        next_step="see what it waits for, on the host",
    )


def failed(argv: Sequence[str], host: str, code: int, output: bytes) -> FleetError:
    """What to say of a command that ended with another code than 0; shows the end of its output."""
    text = output.decode(errors="replace").strip()
    shown = text if len(text) <= _SHOWN else f"...{text[-_SHOWN:]}"
    return FleetError(
        f"`{' '.join(argv)}` on {host} failed with code {code}: {shown or '(it said nothing)'}",
        next_step="mend what it names on the host, then run this again",
    )
