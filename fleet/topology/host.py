"""Hosts that a device's agent is set up on: this machine, or one over SSH."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from fleet.contract.errors import FleetError, InvalidInput, NotPermitted, TimedOut, Unreachable
from fleet.topology.capabilities import Applied

_DEADLINE = 60.0
"""Seconds for one command."""


class LocalHost:
    """This machine. `root` is `/`, or a folder that stands for it; commands know it as FLEET_ROOT."""

    def __init__(self, root: Path) -> None:
        """Work below `root`."""
        self._root = root

    def execute(self, argv: Sequence[str]) -> str:
        """As `RunsCommands.execute`.

        Raises:
            FleetError: the command failed; holds what it said.
            TimedOut: it did not end within a minute.
        """
        env = {**os.environ, "FLEET_ROOT": str(self._root)}
        try:
            ended = subprocess.run(list(argv), env=env, capture_output=True, text=True, timeout=_DEADLINE, check=False)
        except FileNotFoundError as error:
            raise FleetError(
                f"there is no {argv[0]} on this host", next_step="set devices up on a host with systemd"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise _hung(argv) from error
        return _checked(argv, ended.returncode, ended.stdout, ended.stderr)

    def put(self, path: str, content: bytes, mode: int) -> Applied:
        """As `RunsCommands.put`.

        Raises:
            NotPermitted: the file cannot be written.
        """
        target = self._root / path.lstrip("/")
        try:
            if target.is_file() and target.read_bytes() == content and stat.S_IMODE(target.stat().st_mode) == mode:
                return Applied(path, changed=False)
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(target, content, mode)
        except OSError as error:
            raise NotPermitted(
                f"cannot write {target}: {error.strerror}", next_step="run as root, or free space"
            ) from error
        return Applied(path, changed=True)


class SshHost:
    """A machine over SSH, `user@host[:port]`: known by its host key, reached with an SSH agent or a key file."""

    def __init__(self, destination: str) -> None:
        """Connect.

        Raises:
            InvalidInput: not of the form.
            NotPermitted: the host key is unknown, or the login is refused.
            Unreachable: nobody answers.
        """
        import paramiko  # noqa: PLC0415 - only those who use SSH pay for it

        user, at, host = destination.rpartition("@")
        name, _, port = host.partition(":")
        if not at or not user or not name or (port and not port.isdecimal()):
            raise InvalidInput(
                f"{destination!r} is no SSH destination", next_step="give it as USER@HOST or USER@HOST:PORT"
            )
        self._name = destination
        self._client = paramiko.SSHClient()
        self._client.load_system_host_keys()
        try:
            self._client.connect(name, port=int(port or 22), username=user, timeout=10)
        except paramiko.BadHostKeyException as error:
            raise NotPermitted(
                f"{name} shows another host key: {error}", next_step="find out why, before anything"
            ) from error
        except paramiko.SSHException as error:
            raise NotPermitted(
                f"{destination} does not let us in: {error}",
                next_step=f"try `ssh {destination}`: its host key must be known, and a key of yours be accepted",
            ) from error
        except OSError as error:
            raise Unreachable(
                f"{destination} does not answer: {error}", next_step="is it on, and is this its name?"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def execute(self, argv: Sequence[str]) -> str:
        """As `RunsCommands.execute`; errors as on `LocalHost`."""
        return self._run(argv, b"").decode(errors="replace")

    def put(self, path: str, content: bytes, mode: int) -> Applied:
        """As `RunsCommands.put`. The content travels on standard input, so that no secret stands in an argument."""
        quoted, folder = shlex.quote(path), shlex.quote(str(PurePosixPath(path).parent))
        same = f"sudo cmp -s - {quoted} && [ $(sudo stat -c %a {quoted}) = {mode:o} ] && echo same || true"
        if self._run(["sh", "-c", same], content).strip() == b"same":
            return Applied(path, changed=False)
        write = (
            f"set -e; sudo mkdir -p {folder}; new=$(sudo mktemp {quoted}.XXXXXX); "
            f'sudo tee "$new" >/dev/null; sudo chmod {mode:o} "$new"; sync; sudo mv "$new" {quoted}'
        )
        self._run(["sh", "-c", write], content)
        return Applied(path, changed=True)

    def _run(self, argv: Sequence[str], stdin: bytes) -> bytes:
        words = ["sudo", *argv] if argv[0] != "sh" else argv
        session = self._client.get_transport()
        if session is None:
            raise Unreachable(f"{self._name}: the connection is gone", next_step="run this again")
        channel = session.open_session(timeout=10)
        channel.exec_command(shlex.join(words))
        channel.sendall(stdin)
        channel.shutdown_write()
        out, err = b"", b""
        deadline = time.monotonic() + _DEADLINE
        channel.settimeout(0.1)
        # Both streams under one deadline: draining one after the other can block for ever (paramiko 448, 1778).
        while not (channel.exit_status_ready() and not channel.recv_ready() and not channel.recv_stderr_ready()):
            if time.monotonic() > deadline:
                channel.close()
                raise _hung(argv)
            if channel.recv_stderr_ready():
                err += channel.recv_stderr(65536)
            try:
                out += channel.recv(65536)
            except TimeoutError:
                continue
        _checked(argv, channel.recv_exit_status(), out.decode(errors="replace"), err.decode(errors="replace"))
        return out


def write_atomic(target: Path, content: bytes, mode: int) -> None:
    """Replace a file as a whole: at any moment it is the old one or the new one, also after a power cut."""
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checked(argv: Sequence[str], code: int, out: str, err: str) -> str:
    if code != 0:
        said = (err or out).strip() or "it said nothing"
        raise FleetError(
            f"`{shlex.join(argv)}` ended with code {code}: {said}", next_step="mend that, and run this again"
        )
    return out


def _hung(argv: Sequence[str]) -> TimedOut:
    return TimedOut(f"`{shlex.join(argv)}` did not end within {_DEADLINE:g} s", next_step="see what it waits for")
