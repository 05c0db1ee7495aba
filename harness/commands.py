"""Run one command as a person at a terminal would: no shell, nothing to read from, both outputs line by line."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.wire import decode
from harness.errors import BinaryMissing
from harness.process import die_with, terminate

T = TypeVar("T", bound=msgspec.Struct)

OnLine = Callable[[str], None]
"""Called with each line of either output, without its end, while the command runs."""

_DRAIN = 2.0
"""Seconds that the outputs may stay open (in a child's hands) after the command has ended."""


@dataclass(frozen=True)
class Result:
    """What a command did. `code` is None when it had not ended at its deadline; `seconds` is how long it ran."""

    line: str
    code: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        """Both outputs."""
        return self.stdout + self.stderr

    def json(self, kind: type[T]) -> T:
        """Its standard output as a typed value.

        Raises:
            AssertionError: it is not JSON, or not of this kind.
        """
        try:
            return decode(self.stdout.encode(), kind)
        except InvalidInput as error:
            raise AssertionError(f"{self.line}\n  did not print a {kind.__name__}: {error.what}\n{self}") from error

    def __str__(self) -> str:
        ended = "did not end" if self.code is None else f"exit code {self.code}"
        shown = f"$ {self.line}\n"
        shown += "".join(f"{text.rstrip()}\n" for text in (self.stdout, self.stderr) if text.strip())
        return f"{shown}({ended}, {self.seconds:.2f} s)"


def run(
    argv: Sequence[str], line: str, *, env: Mapping[str, str], folder: Path, deadline: float, on_line: OnLine
) -> Result:
    """Run `argv` in `folder` until it ends, or until `deadline` seconds have passed; then it is killed.

    Args:
        argv: The program, looked up on the `PATH` of `env`, and its arguments.
        line: The same for a person to read.
        env: Its whole environment.
        folder: Its working directory.
        deadline: Seconds it may take.
        on_line: Sees its outputs as they come; called from one thread for each output.

    Raises:
        BinaryMissing: there is no such program.
    """
    started = time.monotonic()
    process = _start(argv, env, folder)
    outputs: tuple[list[str], list[str]] = ([], [])
    readers = [
        threading.Thread(target=_read, args=(stream, lines, on_line), daemon=True)
        for stream, lines in zip((process.stdout, process.stderr), outputs, strict=True)
        if stream is not None
    ]
    for reader in readers:
        reader.start()
    late = threading.Event()

    def end() -> None:
        late.set()
        terminate(process, grace=1)

    # Not by `wait(deadline)`, which looks 20 times a second: the end of a command would be seen late.
    watchdog = threading.Timer(deadline, end)
    watchdog.start()
    try:
        code = process.wait()
    finally:
        watchdog.cancel()
        terminate(process, grace=1)
        watchdog.join()
    for reader in readers:
        reader.join(_DRAIN)
    return Result(
        line, None if late.is_set() else code, "".join(outputs[0]), "".join(outputs[1]), time.monotonic() - started
    )


def _start(argv: Sequence[str], env: Mapping[str, str], folder: Path) -> subprocess.Popen[bytes]:
    parent = os.getpid()
    try:
        return subprocess.Popen(
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=folder,
            start_new_session=True,
            preexec_fn=lambda: die_with(parent),  # noqa: PLW1509 - it only makes two system calls
        )
    except FileNotFoundError as error:
        raise BinaryMissing(
            f"there is no program {argv[0]!r} on the PATH {env.get('PATH', '')}", next_step="run ./scripts/test.sh once"
        ) from error


def _read(stream: IO[bytes], lines: list[str], on_line: OnLine) -> None:
    with stream:
        for raw in stream:
            line = raw.decode(errors="replace")
            lines.append(line)
            on_line(line.rstrip("\n"))
