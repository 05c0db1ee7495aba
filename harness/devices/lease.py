"""The lease of a board: one run, and one worker of it, at a time. It lives on the board and ends with its holder.

A program on the board holds a lock (flock(2)) for as long as its standard input lives and is not silent: the lock ends
with the connection, with the holder's process, and with a holder that is cut off. `/run` is empty after a restart, so a
board that restarts has no holder, and the run that restarted it takes the lease anew.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shlex
import socket
import threading
from collections.abc import Callable
from datetime import UTC, datetime

import paramiko

from harness.errors import DeviceUnreachable, TargetUnavailable
from harness.wait import WaitTimeout, stretch, wait_until

_FILE = "/run/fleet-test-run.lock"
_WAIT = 300.0
"""Seconds to wait for another run's end: a chapter takes a minute or two."""
_SILENCE, _SIGN = 60.0, 15.0
"""Seconds of silence after which the board ends a lease, and between two signs of life."""
_ANSWER = 20.0
_HOLD = """\
import fcntl, os, select, sys
path, mark, holder, silence = sys.argv[1:]
file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    print(mark + os.read(file, 500).decode(errors="replace"), flush=True)
    sys.exit()
os.ftruncate(file, 0)
os.write(file, holder.encode())
print(mark, flush=True)
while select.select([0], [], [], float(silence))[0] and os.read(0, 100):
    pass
os.ftruncate(file, 0)
"""


class Lease:
    """Held from `take` to `end`."""

    def __init__(self, name: str, session: Callable[[], paramiko.Channel], file: str = _FILE) -> None:
        """`session` opens one on the board that `name` tells a person of."""
        self._name, self._session, self._file = name, session, file
        self._channel: paramiko.Channel | None = None
        self._stop = threading.Event()

    def take(self) -> None:
        """Take it, and go on giving signs of life; waits for another holder's end.

        Raises:
            TargetUnavailable: another holder has it, and does not end in time; the message names it.
            DeviceUnreachable: the board does not answer.
        """
        try:
            wait_until(
                self._holder, f"{self._name} is free", timeout=_WAIT, until=lambda holder: not holder, interval=1
            )
        except WaitTimeout as error:
            raise TargetUnavailable(
                f"{self._name} is in use by {error.last} after {error.timeout:g} s of waiting",
                next_step="end that run, or describe another board in `lab`",
            ) from error
        self._stop = threading.Event()
        threading.Thread(target=self._live, args=(self._channel, self._stop), name="board lease", daemon=True).start()

    @property
    def lost(self) -> bool:
        """Whether it ended on its own, so that another may have the board."""
        return self._channel is not None and (self._channel.closed or self._channel.exit_status_ready())

    def end(self) -> None:
        """Let the next have the board at once."""
        self._stop.set()
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def _holder(self) -> str:
        """The holder; empty once this run has the lease."""
        channel, mark = self._session(), f"fleet-{secrets.token_hex(8)}:"
        since = f"{datetime.now(UTC):%H:%M:%S} UTC"
        holder = f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}, since {since}"
        argv = ["sudo", "-n", "python3", "-c", _HOLD, self._file, mark, holder, f"{_SILENCE:g}"]
        channel.exec_command(shlex.join(argv))
        line = self._first_line(channel, mark)
        if line:
            channel.close()
        else:
            self._channel = channel
        return line

    def _first_line(self, channel: paramiko.Channel, mark: str) -> str:
        channel.settimeout(_ANSWER * stretch())
        read = b""
        try:
            while mark.encode() not in read or not read.rpartition(mark.encode())[2].endswith(b"\n"):
                more = channel.recv(4096)
                if not more:
                    raise self._refused(read + channel.recv_stderr(4096))
                read += more
        except TimeoutError as error:
            raise self._refused(read) from error
        return read.rpartition(mark.encode())[2].decode(errors="replace").strip()

    def _refused(self, output: bytes) -> DeviceUnreachable:
        return DeviceUnreachable(
            f"{self._name} gives no lease: {output.decode(errors='replace').strip() or 'it says nothing'}",
            next_step="log in by hand: `sudo -n python3 --version` must work there",
        )

    @staticmethod
    def _live(channel: paramiko.Channel, stop: threading.Event) -> None:
        # paramiko raises one or the other when the connection ends.
        with contextlib.suppress(OSError, EOFError):
            while not stop.wait(_SIGN):
                channel.sendall(b".")
