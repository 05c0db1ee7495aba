"""A board of the lab as a device: it is of the architecture that is described, and has the image that tests run."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

from harness.devices.ssh import Address, SshDevice
from harness.errors import DeviceUnreachable, HarnessError, TargetUnavailable
from harness.images import IMAGE, Busybox, busybox_archive, own_busybox
from harness.wait import WaitTimeout, stretch, wait_until

_BOOT = 300.0
"""Seconds from power to a login, on a board of usual speed."""
_SWITCH = 60.0
"""Seconds that a command of a socket may take."""
_LOAD = 120.0
_BUSYBOX = "/bin/busybox"
_HAS_IMAGE = f"for engine in podman docker; do command -v $engine && exec $engine image inspect {IMAGE}; done; exit 1"
_LOAD_IMAGE = 'for engine in podman docker; do command -v $engine && exec $engine load --input "$0"; done; exit 1'

Words = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Socket(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What switches a board's power: two commands of this machine, each a program and its arguments.

    A command has done it once it has ended with 0, also where it was so already.
    """

    switch_on: Words
    switch_off: Words


class Board(Address, frozen=True, forbid_unknown_fields=True):
    """A described board.

    Attributes:
        architecture: What `uname -m` says there; empty: it is not looked at.
        socket: What switches its power; without one its power cannot be cut.
    """

    architecture: Literal["", "x86_64", "aarch64"] = ""
    socket: Socket | None = None


class BoardDevice(SshDevice):
    """A board for one device at a time. `ready` is called with it once it is acquired."""

    def __init__(self, name: str, board: Board, ready: Callable[[SshDevice], None] = lambda _: None) -> None:
        """Nothing is contacted before the first command."""
        super().__init__(name, board)
        self._board, self._ready = board, ready

    def acquire(self) -> None:
        """As `Acquirable.acquire`.

        Raises:
            TargetUnavailable: as `SshDevice.acquire`, or it is of another architecture, or cannot have the test image.
        """
        super().acquire()
        try:
            self._check()
            self._ensure_image()
            self._ready(self)
        except HarnessError:
            self.release()
            raise

    def _check(self) -> None:
        machine, described = self.run(["uname", "-m"]).stdout.strip(), self._board.architecture
        if described and machine != described:
            raise TargetUnavailable(
                f"{self.id} is described as {described}, and it is {machine}",
                next_step="correct `architecture` in `lab`",
            )

    def _ensure_image(self) -> None:
        if self.run(["sudo", "-n", "sh", "-c", _HAS_IMAGE]).code == 0:
            return
        self.write("fleet-test-image.tar", busybox_archive(of=self._busybox()))
        loaded = self.run(["sudo", "-n", "sh", "-c", _LOAD_IMAGE, "fleet-test-image.tar"], timeout=_LOAD * stretch())
        self.run(["rm", "-f", "fleet-test-image.tar"])
        if loaded.code != 0:
            raise TargetUnavailable(f"{self.id} does not take the image {IMAGE}: {loaded}", next_step="docs/lab.md")

    def _busybox(self) -> Busybox:
        """A busybox that runs there: its own, or this machine's where both are of one kind."""
        machine = self.run(["uname", "-m"]).stdout.strip()
        try:
            program = self.read(_BUSYBOX)
        except OSError:
            program = b""
        if program and b"ld-linux" not in program[:4096]:
            return Busybox(program, tuple(self.run([_BUSYBOX, "--list"]).stdout.split()), machine)
        if machine == os.uname().machine:
            return own_busybox()
        raise TargetUnavailable(
            f"{self.id} has no static busybox to make the image {IMAGE} of",
            next_step=f"ssh {self.where[1]} sudo apt-get install busybox-static",
        )


class SwitchedBoard(BoardDevice):
    """A board whose power a command switches: satisfies `Killable`, too."""

    def __init__(
        self, name: str, board: Board, socket: Socket, ready: Callable[[SshDevice], None] = lambda _: None
    ) -> None:
        """Nothing is contacted before the first command."""
        super().__init__(name, board, ready)
        self._socket = socket

    def acquire(self) -> None:
        """As `Acquirable.acquire`; a board that is off is switched on."""
        self.power_on()
        super().acquire()

    def release(self) -> None:
        """As `Acquirable.release`."""
        self.power_on()
        super().release()

    def kill_agent(self) -> None:
        """As `Killable.kill_agent`."""
        self.run(["sudo", "systemctl", "kill", "--signal=SIGKILL", "fleet-agent*"])

    def power_off(self) -> None:
        """As `Killable.power_off`: pulls the plug, nothing is shut down.

        Raises:
            DeviceUnreachable: the socket's command failed.
        """
        self.close()
        self._switch(self._socket.switch_off)

    def power_on(self) -> None:
        """As `Killable.power_on`; returns once it can be logged in to.

        Raises:
            DeviceUnreachable: that did not come, or the socket's command failed.
        """
        self._switch(self._socket.switch_on)
        try:
            wait_until(self._answers, f"{self.id} has booted", timeout=_BOOT, interval=1)
        except WaitTimeout as error:
            raise DeviceUnreachable(str(error), next_step="look at the board's power and network") from error

    def reboot(self) -> None:
        """As `Killable.reboot`: hard."""
        self.power_off()
        self.power_on()

    def _answers(self) -> bool:
        try:
            return self.run(["true"], timeout=10).code == 0
        except HarnessError:
            return False

    def _switch(self, argv: Words) -> None:
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_SWITCH * stretch(), check=False)
            problem = "" if done.returncode == 0 else f"exit code {done.returncode}: {done.stderr.strip()[-300:]}"
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            raise DeviceUnreachable(
                f"the power of {self.id} was not switched: {argv[0]}: {problem}", next_step=f"by hand: {' '.join(argv)}"
            )
