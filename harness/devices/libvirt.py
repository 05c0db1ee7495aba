"""A virtual machine that libvirt runs: commands over SSH, power by the hypervisor.

The machine exists already (`virsh define`); any domain type serves, `qemu` included, where there is no KVM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from harness.devices.domain import LibvirtDomain
from harness.devices.ssh import Address, SshDevice
from harness.errors import DeviceUnreachable
from harness.scenario.command import Result
from harness.wait import WaitFailed, WaitTimeout, stretch, wait_until

_BOOT = 300.0
"""Seconds for a boot to end with an SSH login, on a machine of usual speed: an emulated one takes 13."""
_OFF = 10.0


class Machine(msgspec.Struct, frozen=True):
    """A defined domain, the libvirt it is defined in, and how to log in; `by` tells a report what runs it."""

    domain: str
    address: Address
    uri: str = "qemu:///system"
    by: str = ""


class Domain(Protocol):
    """What can be done to a machine from outside."""

    def start(self) -> None: ...  # noqa: D102 - boot
    def destroy(self) -> None: ...  # noqa: D102 - cut the power
    def suspend(self) -> None: ...  # noqa: D102 - freeze the CPUs
    def resume(self) -> None: ...  # noqa: D102
    def is_on(self) -> bool: ...  # noqa: D102
    def await_off(self, seconds: float) -> bool: ...  # noqa: D102 - whether it is, then
    def link(self, *, up: bool) -> None: ...  # noqa: D102 - of every network card
    def console(self) -> str: ...  # noqa: D102


class LibvirtDevice:
    """Satisfies `Device`, `Acquirable` and every capability of a device.

    Freezing stops the whole machine, clock included.
    """

    kind = "libvirt"
    env: Mapping[str, str] = {}

    def __init__(self, name: str, machine: Machine, *, domain: Domain | None = None) -> None:
        """Nothing is asked of libvirt before the first call; `domain` stands in for it."""
        self.id = name
        self.returned = False
        self._ssh = SshDevice(name, machine.address)
        self._domain = domain or LibvirtDomain(machine.uri, machine.domain)

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

    def acquire(self) -> None:
        """As `Acquirable.acquire`; a machine that is off is switched on."""
        self.power_on()
        self._ssh.acquire()

    def release(self) -> None:
        """As `Acquirable.release`."""
        try:
            self.power_on()
            self._ssh.release()
        finally:
            self.returned = True

    def close(self) -> None:
        """End the connections."""
        self._ssh.close()

    def boot_id(self) -> str:
        """As `Device.boot_id`."""
        return self._ssh.boot_id()

    def logs(self) -> Mapping[str, str]:
        """As `Device.logs`."""
        return self._ssh.logs()

    def kill_agent(self) -> None:
        """As `Killable.kill_agent`."""
        self.run(["sudo", "systemctl", "kill", "--signal=SIGKILL", "fleet-agent"])

    def power_off(self) -> None:
        """As `Killable.power_off`: pulls the plug, nothing is shut down."""
        self._ssh.close()
        if self._domain.is_on():
            self._domain.destroy()
        limit = _OFF * stretch()
        if not self._domain.await_off(limit):
            raise DeviceUnreachable(f"{self.id} has power {limit:g} s after it was cut", next_step="is its QEMU hung?")

    def power_on(self) -> None:
        """As `Killable.power_on`; returns once it can be logged in to.

        Raises:
            DeviceUnreachable: that did not come.
        """
        if not self._domain.is_on():
            self._domain.start()
        try:
            wait_until(
                self._answers, f"{self.id} has booted", timeout=_BOOT, interval=0.5, error=lambda _: self._gone_off()
            )
        except (WaitTimeout, WaitFailed) as error:
            raise DeviceUnreachable(str(error), next_step="see its console, in the world's logs") from error

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

    def set_clock(self, at: float) -> None:
        """As `HasClock.set_clock`."""
        self._ssh.set_clock(at)

    def disconnect(self) -> None:
        """As `Disconnectable.disconnect`."""
        self._domain.link(up=False)

    def reconnect(self) -> None:
        """As `Disconnectable.reconnect`.

        Raises:
            DeviceUnreachable: it cannot be logged in to afterwards.
        """
        self._domain.link(up=True)
        self._ssh.close()
        self.power_on()

    def console(self) -> str:
        """As `HasConsole.console`."""
        return self._domain.console()

    def _answers(self) -> bool:
        try:
            return self._ssh.run(["true"], timeout=10).code == 0
        except DeviceUnreachable:
            return False

    def _gone_off(self) -> str | None:
        return None if self._domain.is_on() else "it is off again: its kernel ended, or its description is wrong"
