"""Run one command as a person at a terminal would: no shell, nothing to read from, both outputs line by line."""

from __future__ import annotations

import os
import signal
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
from harness.processes.spawn import die_with, terminate

T = TypeVar("T", bound=msgspec.Struct)

OnLine = Callable[[str], None]
"""Called with each line of either output, without its end, while the command runs."""

_CTRL_C = 10.0
"""Seconds that a command has to end after Ctrl-C."""
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
        outputs = (("stdout", self.stdout), ("stderr", self.stderr))
        shown += "".join(f"{name}:\n{text.rstrip()}\n" for name, text in outputs if text.strip())
        return f"{shown}({ended}, {self.seconds:.2f} s)"


def run(
    argv: Sequence[str],
    line: str,
    *,
    env: Mapping[str, str],
    folder: Path,
    deadline: float,
    on_line: OnLine,
    killed_at: str = "",
) -> Result:
    """Run `argv` in `folder` until it ends, or until `deadline` seconds have passed; then it is killed.

    Args:
        argv: The program, looked up on the `PATH` of `env`, and its arguments.
        line: The same for a person to read.
        env: Its whole environment.
        folder: Its working directory.
        deadline: Seconds it may take.
        on_line: Sees its outputs as they come; called from one thread for each output.
        killed_at: It is killed (SIGKILL) as soon as a line of an output has this text; never if it is empty.

    Raises:
        BinaryMissing: there is no such program.
    """
    started = time.monotonic()
    process = _start(argv, env, folder)

    def follow(text: str) -> None:
        if killed_at and killed_at in text:
            process.kill()  # at once: the command goes on meanwhile
        on_line(text)

    outputs, readers = _followed(process, follow)
    late = threading.Event()

    def end() -> None:
        late.set()
        terminate(process, grace=1)

    # Not by `wait(deadline)`, which looks 20 times a second: the end of a command would be seen late.
    watchdog = threading.Timer(deadline, end)
    watchdog.start()
    try:
        code = process.wait()
        if code < 0:  # a signal, which a shell tells so
            code = 128 - code
    finally:
        watchdog.cancel()
        terminate(process, grace=1)
        watchdog.join()
    for reader in readers:
        reader.join(_DRAIN)
    return Result(
        line, None if late.is_set() else code, "".join(outputs[0]), "".join(outputs[1]), time.monotonic() - started
    )


class Staying:
    """A command that goes on until Ctrl-C, while others are typed elsewhere."""

    def __init__(
        self, argv: Sequence[str], line: str, *, env: Mapping[str, str], folder: Path, on_line: OnLine
    ) -> None:
        """Start it; see `run`."""
        self._line = line
        self._started = time.monotonic()
        self._changed = threading.Condition()
        self._process = _start(argv, env, folder)

        def append(text: str) -> None:
            on_line(text)
            with self._changed:
                self._changed.notify_all()

        self._outputs, self._readers = _followed(self._process, append)

    def await_text(self, text: str, deadline: float) -> Result:
        """What it had printed once it printed `text`, with the code 0; or as `run`, where it ended before."""
        until = self._started + deadline
        with self._changed:
            while text not in (result := self._result(0)).output:
                if not any(reader.is_alive() for reader in self._readers):
                    return self._result(self._process.wait())
                if time.monotonic() >= until:
                    return self._result(None)
                # The end of an output tells nobody, so it is looked for.
                self._changed.wait(0.1)
        return result

    def end(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_CTRL_C)
        except subprocess.TimeoutExpired:
            pass
        finally:
            terminate(self._process, grace=1)
        for reader in self._readers:
            reader.join(_DRAIN)

    def _result(self, code: int | None) -> Result:
        out, err = ("".join(lines) for lines in self._outputs)
        return Result(self._line, code, out, err, time.monotonic() - self._started)


def _followed(
    process: subprocess.Popen[bytes], on_line: OnLine
) -> tuple[tuple[list[str], list[str]], list[threading.Thread]]:
    """The lines of both outputs, and the threads that read them as they come."""
    outputs: tuple[list[str], list[str]] = ([], [])
    readers = [
        threading.Thread(target=_read, args=(stream, lines, on_line), daemon=True)
        for stream, lines in zip((process.stdout, process.stderr), outputs, strict=True)
        if stream is not None
    ]
    for reader in readers:
        reader.start()
    return outputs, readers


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
