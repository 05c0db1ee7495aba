"""Local processes that cannot outlive us: spawn, inspect, end.

A child gets PR_SET_PDEATHSIG, so the kernel kills it when the *thread* that forked it ends: a thread that lasts as
long as the process forks for all threads but the main one. A child also leads a session of its own: a Ctrl-C at the
terminal reaches only the owner, who ends its children in order, and one signal to the group reaches a child's own
children.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from harness.errors import BinaryMissing, ComponentDied, ComponentNotReady
from harness.processes.health import UNCHECKED
from harness.wait import WaitFailed, WaitTimeout, wait_until

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)
"""Loaded here: between fork and exec nothing may be loaded any more."""

_lasting = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")
"""Its thread begins with the first use, and ends with the process."""

GRACE = 5.0
"""Seconds that an ended process has before it is killed."""


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent, whose pid was `parent`, ends. Linux only; else nothing."""
    if sys.platform == "linux":
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def spawn(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    lasting: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `argv` with both outputs appended to `log`, as leader of a session that dies with this process.

    One that is `lasting` does not; give it FLEET_WORLD, by which a sweep finds what a killed run left.

    Raises:
        BinaryMissing: the program does not exist or cannot be executed.
    """
    parent = os.getpid()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        fork = partial(
            subprocess.Popen[bytes],
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=None if lasting else lambda: die_with(parent),
        )
        try:
            if threading.current_thread() is threading.main_thread():
                return fork()
            return _lasting.submit(fork).result()
        except OSError as error:
            raise BinaryMissing(
                f"cannot run {argv[0]}: {error.strerror}", next_step="is it installed, and executable?"
            ) from error


def signal_group(pid: int, number: int) -> None:
    """Send a signal to a process we spawned and to its own children; nothing if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def terminate(process: subprocess.Popen[bytes], grace: float = GRACE) -> int:
    """End a process we spawned and its group: SIGTERM, and SIGKILL after `grace` seconds. Returns its exit code.

    Of a process whose end was seen before, the kernel may have given the number to another one. It does not as long as
    anything of the group lives, so then nothing is left to end.
    """
    if process.returncode is not None and Path(f"/proc/{process.pid}").exists():
        return process.returncode
    signal_group(process.pid, signal.SIGTERM)
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also when it ended by itself: its children may not have.
        signal_group(process.pid, signal.SIGKILL)
    return process.wait()


def let_go(process: subprocess.Popen[bytes]) -> None:
    """Forget a process that is to outlive us, and close our end of its standard input."""
    if process.stdin is not None:
        process.stdin.close()
    process.returncode = 0  # else Python warns of it when this handle goes


@contextlib.contextmanager
def running(
    argv: Sequence[str],
    *,
    name: str,
    log: Path,
    ready: Callable[[], object],
    timeout: float = 10,
    env: Mapping[str, str] | None = None,
    grace: float = GRACE,
) -> Generator[subprocess.Popen[bytes]]:
    """A server for the length of a `with`: yields once `ready` returns something true, ends it after, as `terminate`.

    Raises:
        BinaryMissing: the program does not exist.
        ComponentDied: it ended before it was ready; the message holds the end of its log.
        ComponentNotReady: it was not ready within `timeout` seconds.
    """
    process = spawn(argv, log=log, env=env)
    try:
        await_ready(process, name, log, ready, timeout)
        yield process
    finally:
        terminate(process, grace)


def await_ready(
    process: subprocess.Popen[bytes], name: str, log: Path, ready: Callable[[], object], timeout: float
) -> None:
    """Wait until a server is ready; as `running` for arguments and errors."""

    def ended(_: object) -> str | None:
        return None if process.poll() is None else f"ended with code {process.returncode}"

    try:
        wait_until(ready, f"{name} is ready", timeout=timeout, error=ended)
    except WaitFailed as error:
        raise ComponentDied(f"{name} {error.why}\n{tail(log)}", next_step=f"see {log}") from error
    except WaitTimeout as error:
        raise ComponentNotReady(
            f"{name} was not ready within {timeout:g} s\n{tail(log)}", next_step=f"see {log}"
        ) from error


def http_answers(url: str, *, ca: Path | None = None, timeout: float = 2) -> bool:
    """Whether a GET of `url` answers 2xx. Without `ca`, an https certificate is not checked."""
    context = ssl.create_default_context(cafile=str(ca)) if ca else UNCHECKED
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(url, timeout=timeout) as response:
            return 200 <= response.status < 300
    except (OSError, urllib.error.URLError):
        return False


def port_answers(port: int, host: str = "127.0.0.1", timeout: float = 2) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout):
            return True
    except OSError:
        return False


def socket_answers(path: Path) -> bool:
    """Whether something accepts connections at the unix socket. The file alone says little: it is there before that."""
    with socket.socket(socket.AF_UNIX) as talk:
        try:
            talk.connect(str(path))
        except OSError:
            return False
    return True


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, indented for a message; says so when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 64 * 1024))
            last = file.read().decode(errors="replace").splitlines()[-lines:]
    except FileNotFoundError:
        last = []
    return "\n".join(f"    {line}" for line in last) or "    (its log is empty)"


def python_script(*words: str) -> str:
    """The text of a shell script that runs this Python with `words` and with the script's own arguments.

    A shebang line cannot hold a path with spaces or of more than 255 bytes (execve(2)); a shell can.
    """
    return f'#!/bin/sh\nexec {shlex.join([sys.executable, *words])} "$@"\n'
