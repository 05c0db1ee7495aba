"""A virtual machine that libvirt runs: commands over SSH, power by the hypervisor.

The machine exists already (`virsh define`); any domain type serves, `qemu` included, where there is no KVM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from harness.commands import Result
from harness.devices.ssh import Address, SshDevice
from harness.devices.virsh import Virsh
from harness.errors import DeviceUnreachable
from harness.wait import WaitTimeout, wait_until

_BOOT = 300.0
"""Seconds for a boot to end with an SSH login: an emulated CPU takes minutes where KVM takes seconds."""
_OFF = 10.0


class Machine(msgspec.Struct, frozen=True):
    """A defined domain, the libvirt it is defined in, and how to log in."""

    domain: str
    address: Address
    uri: str = "qemu:///system"


class Domain(Protocol):
    """What can be done to a machine from outside."""

    def start(self) -> None: ...  # noqa: D102 - boot
    def destroy(self) -> None: ...  # noqa: D102 - cut the power
    def suspend(self) -> None: ...  # noqa: D102 - freeze the CPUs
    def resume(self) -> None: ...  # noqa: D102
    def is_on(self) -> bool: ...  # noqa: D102


class LibvirtDevice:
    """Satisfies `Device`, `Borrowed`, `HasEngine`, `Killable`, `Pausable` and `HasLogs`.

    Freezing stops the whole machine, clock included.
    """

    kind = "libvirt"
    env: Mapping[str, str] = {}

    def __init__(self, name: str, machine: Machine, *, domain: Domain | None = None) -> None:
        """Nothing is asked of libvirt before the first call; `domain` stands in for it."""
        self.id = name
        self._ssh = SshDevice(name, machine.address)
        self._domain = domain or Virsh(machine.uri, machine.domain)

    @property
    def where(self) -> tuple[str, ...]:
        """As `Device.where`."""
        return self._ssh.where

    def run(self, argv: Sequence[str], *, timeout: float = 60) -> Result:
        """As `Device.run`."""
        return self._ssh.run(argv, timeout=timeout)

    def read(self, path: str) -> bytes:
        """As `Device.read`."""
        return self._ssh.read(path)

    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None:
        """As `Device.write`."""
        self._ssh.write(path, data, mode=mode)

    @property
    def engine_socket(self) -> str:
        """As `HasEngine.engine_socket`."""
        return self._ssh.engine_socket

    @property
    def returned(self) -> bool:
        """As `Borrowed.returned`."""
        return self._ssh.returned

    def lend(self) -> None:
        """As `Borrowed.lend`; a machine that is off is switched on."""
        self.power_on()
        self._ssh.lend()

    def give_back(self) -> None:
        """As `Borrowed.give_back`."""
        self.power_on()
        self._ssh.give_back()

    def logs(self) -> Mapping[str, str]:
        """As `HasLogs.logs`."""
        return self._ssh.logs()

    def kill_agent(self) -> None:
        """As `Killable.kill_agent`."""
        self.run(["sudo", "systemctl", "kill", "--signal=SIGKILL", "fleet-agent"])

    def power_off(self) -> None:
        """As `Killable.power_off`: pulls the plug, nothing is shut down."""
        self._ssh.close()
        if self._domain.is_on():
            self._domain.destroy()
        self._await(lambda: not self._domain.is_on(), f"{self.id} is off", _OFF)

    def power_on(self) -> None:
        """As `Killable.power_on`; returns once it can be logged in to.

        Raises:
            DeviceUnreachable: that did not come.
        """
        if not self._domain.is_on():
            self._domain.start()
        self._await(self._answers, f"{self.id} has booted", _BOOT)

    def reboot(self) -> None:
        """As `Killable.reboot`: hard."""
        self.power_off()
        self.power_on()

    def pause(self) -> None:
        """As `Pausable.pause`."""
        self._domain.suspend()

    def resume(self) -> None:
        """As `Pausable.resume`."""
        self._domain.resume()

    def _answers(self) -> bool:
        try:
            return self._ssh.run(["true"], timeout=10).code == 0
        except DeviceUnreachable:
            return False

    def _await(self, probe: Callable[[], bool], condition: str, timeout: float) -> None:
        try:
            wait_until(probe, condition, timeout=timeout, interval=0.5)
        except WaitTimeout as error:
            raise DeviceUnreachable(str(error), next_step="see its console: virsh console") from error
