"""The machines that a run may set up as devices: acquired one at a time, released without an agent."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import paramiko

from harness.devices import Acquirable, Device, Killable
from harness.devices.board import Board, BoardDevice, SwitchedBoard
from harness.devices.kinds import CAPABILITIES
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.ssh import SshDevice
from harness.errors import TargetUnavailable
from harness.processes.spec import write_atomic


class Lab(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machines that a run may set up as devices; it leaves them without an agent.

    Attributes:
        boards: Machines over SSH, by name.
        machines: Virtual machines of libvirt, by name.
        processes: Whether agents may also run as processes of this very machine, where no other is free.
    """

    boards: dict[str, Board] = {}
    machines: dict[str, Machine] = {}
    processes: bool = False

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of device that there are, in the words of the markers."""
        found = {"pi": self.boards, "libvirt": self.machines, "process": self.processes}
        return frozenset(kind for kind, has in found.items() if has)

    @property
    def capabilities(self) -> dict[str, tuple[type, ...]]:
        """What every device of a kind can do here: boards that all have a socket can be cut from their power."""
        switched = self.boards and all(board.socket for board in self.boards.values())
        return {**CAPABILITIES, "pi": (*CAPABILITIES["pi"], Killable)} if switched else dict(CAPABILITIES)


class Pool:
    """Gives each described machine to one device at a time; processes of this machine have no end."""

    def __init__(
        self,
        lab: Lab,
        process: Callable[[str], Device] | None,
        virtual: Callable[[str, Machine], Acquirable] = LibvirtDevice,
        ready: Callable[[SshDevice], None] = lambda _: None,
    ) -> None:
        """`process` makes a device of this very machine, where the lab allows it, and `virtual` one of a machine.

        `ready` is called with each board that was machines.
        """
        self._make: dict[str, Callable[[str], Acquirable]] = {
            **{f"board {name}": partial(_board, board, ready) for name, board in lab.boards.items()},
            **{f"machine {name}": partial(_called, virtual, machine) for name, machine in lab.machines.items()},
        }
        self._acquired: dict[str, Acquirable] = {}
        self._process = process

    def acquire(self, name: str) -> Device:
        """A machine that is free, for the device `name`; what an earlier run left on it is removed.

        Raises:
            TargetUnavailable: all are in use, or there are none.
            HarnessError: see `Acquirable.acquire`.
        """
        for place, make in self._make.items():
            if place in self._acquired and not self._acquired[place].returned:
                continue
            host = self._acquired[place] = make(name)
            host.acquire()
            return host
        if self._process is not None:
            return self._process(name)
        names = ", ".join(self._make) or "none"
        raise TargetUnavailable(
            f"no machine is free for the device {name!r}; there are: {names}", next_step="describe more in `lab`"
        )


def _board(board: Board, ready: Callable[[SshDevice], None], name: str) -> Acquirable:
    if board.socket is None:
        return BoardDevice(name, board, ready)
    return SwitchedBoard(name, board, board.socket, ready)


def _called(virtual: Callable[[str, Machine], Acquirable], machine: Machine, name: str) -> Acquirable:
    return virtual(name, machine)


def prepare_login(lab: Lab, home: Path) -> None:
    """Put the boards' keys where `fleet device setup --ssh` looks for them: in the home of the run's shell.

    Raises:
        TargetUnavailable: a key cannot be read, or two boards want different keys of one kind.
    """
    addresses = [*lab.boards.values(), *(machine.address for machine in lab.machines.values())]
    known = b"".join(path.read_bytes().rstrip() + b"\n" for path in {address.known_hosts for address in addresses})
    write_atomic(home / ".ssh" / "known_hosts", known)
    for key in {address.key for address in addresses}:
        try:
            kind = paramiko.PKey.from_path(key).get_name()
        except (OSError, paramiko.SSHException, ValueError) as error:
            raise TargetUnavailable(
                f"the key {key} cannot be used: {error}", next_step="ssh-keygen -y -f it"
            ) from error
        copy = home / ".ssh" / f"id_{kind.removeprefix('ssh-').partition('-')[0]}"
        if copy.exists():
            raise TargetUnavailable(f"two boards want different {kind} keys", next_step="let one key into both")
        write_atomic(copy, key.read_bytes())
