"""A machine that a test left as it is, for a person: frozen, at a port of its own, until its world is ended."""

from __future__ import annotations

import shlex
from collections.abc import Callable

from harness.devices.libvirt import Machine
from harness.devices.vm.disk import VolatileDisk
from harness.devices.vm.pristine import VolatileDomain
from harness.processes.spec import write_atomic

_FORWARD = "tcp:127.0.0.1:{port}"


class RunningMachine:
    """One machine of a world, with its disk.

    Attributes:
        domain: What has power over it.
        kept: Whether it was put aside.
    """

    def __init__(
        self, name: str, domain: VolatileDomain, disk: VolatileDisk, machine: Machine, known_as: Callable[[int], bytes]
    ) -> None:
        """It is reached as `machine` says, until it is kept; `known_as` makes a line of `known_hosts` for a port."""
        self.domain = domain
        self.kept = False
        self._name = name
        self._disk = disk
        self._machine = machine
        self._known_as = known_as

    def keep(self, device: str, port: int) -> str:
        """Freeze it, or leave it without power as it is, at another port; returns how to enter it.

        Raises:
            HarnessError: libvirt refuses.
        """
        self.kept = True
        address = self._machine.address
        off = not self.domain.is_on()
        if off:
            self.domain.start()
        self.domain.suspend()
        self.domain.monitor(f"hostfwd_remove lan {_FORWARD.format(port=address.port)}")
        self.domain.monitor(f"hostfwd_add lan {_FORWARD.format(port=port)}-:22")
        known_hosts = address.known_hosts.with_name(f"known_hosts-{self._name}")
        write_atomic(known_hosts, self._known_as(port))
        ssh = ["ssh", "-i", str(address.key), "-o", f"UserKnownHostsFile={known_hosts}", "-p", str(port)]
        was = "it had no power, and is at the beginning of a boot" if off else "frozen as its test left it"
        return (
            f"the machine of {device} is kept, {was}\n"
            f"  go on: virsh -c {shlex.quote(self._machine.uri)} resume {self._name}\n"
            f"  enter: {shlex.join([*ssh, f'{address.user}@{address.host}'])}"
        )

    def end(self) -> None:
        """End it and its disk, unless it is kept."""
        if self.kept:
            self._disk.leave()
            return
        self.domain.destroy()
        self._disk.close()
