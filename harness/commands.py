"""Commands as an operator types them, each under a deadline."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.errors import BinaryMissing, CommandHung
from harness.process import signal_group


class Completed(msgspec.Struct, frozen=True):
    """A command that ended. `seconds` is its duration."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        """The command, its exit code and both outputs, for a failure's message."""
        shown = [f"$ {shlex.join(self.argv)}", f"exit code {self.code} after {self.seconds:.2f} s"]
        shown += [f"{name}:\n{text.rstrip()}" for name, text in (("stdout", self.out), ("stderr", self.err)) if text]
        return "\n".join(shown)


def run(
    argv: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, stdin: str = "", timeout: float = 60
) -> Completed:
    """Run a command to its end; its own children end with it.

    Raises:
        BinaryMissing: there is no such program on the PATH of `env`.
        CommandHung: it did not end within `timeout` seconds; the message holds what it said.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            _located(argv, env),
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise BinaryMissing(
            f"cannot run {argv[0]}: {error.strerror}", next_step=f"PATH is {env.get('PATH')}"
        ) from error
    try:
        out, err = process.communicate(stdin, timeout)
    except BaseException as error:
        signal_group(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        if not isinstance(error, subprocess.TimeoutExpired):
            raise
        raise CommandHung(
            f"`{shlex.join(argv)}` did not end within {timeout:g} s\nstdout: {out}\nstderr: {err}",
            next_step="see what it waits for: world.problems() and the parts' logs",
        ) from error
    return Completed(tuple(argv), process.returncode, out, err, time.monotonic() - started)


def _located(argv: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Resolve the program on the PATH of `env`, not on ours, which `execvpe` would take."""
    for folder in env.get("PATH", "").split(os.pathsep):
        path = Path(folder) / argv[0]
        if "/" not in argv[0] and os.access(path, os.X_OK):
            return [str(path), *argv[1:]]
    return list(argv)
