"""Devices that this machine has not: how they behave when they are missing, and how power is switched."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.devices import Device, HasLogs, Killable, Pausable
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.ssh import Address, SshDevice
from harness.errors import DeviceUnreachable, TargetUnavailable


class FakeDomain:
    """A domain that remembers what was done to it."""

    def __init__(self) -> None:
        self.on = True
        self.done: list[str] = []

    def start(self) -> None:
        self._do("start", on=True)

    def destroy(self) -> None:
        self._do("destroy", on=False)

    def suspend(self) -> None:
        self._do("suspend", on=self.on)

    def resume(self) -> None:
        self._do("resume", on=self.on)

    def is_on(self) -> bool:
        return self.on

    def _do(self, what: str, *, on: bool) -> None:
        self.done.append(what)
        self.on = on


@pytest.fixture
def address(tmp_path: Path) -> Address:
    """Function: nobody listens there."""
    (tmp_path / "known_hosts").touch()
    return Address("127.0.0.1", "pi", tmp_path / "key", tmp_path / "known_hosts", port=1)


def test_a_board_that_does_not_answer_is_the_worlds_failure(address: Address) -> None:
    """With the command that shows why."""
    board = SshDevice("pi-1", address)
    with pytest.raises(DeviceUnreachable, match=r"(?s)pi-1 does not answer at pi@127.0.0.1:1: .*next: ssh -i .*/key"):
        board.run(["true"])
    as_device: Device = board
    assert as_device.where == ("--ssh", "pi@127.0.0.1:1")
    assert isinstance(board, HasLogs)
    assert not isinstance(board, Killable), "a board has no power switch that we could reach"


def test_a_virtual_machine_is_switched_by_its_hypervisor(address: Address) -> None:
    """Power is cut, not shut down; cutting it twice is fine."""
    domain = FakeDomain()
    device = LibvirtDevice("vm-1", Machine("vm", address), domain=domain)
    device.power_off()
    device.power_off()
    assert domain.done == ["destroy"]
    device.pause()
    device.resume()
    assert domain.done == ["destroy", "suspend", "resume"]
    for capability in (Killable, Pausable, HasLogs):
        assert isinstance(device, capability)


def test_without_virsh_the_error_says_what_to_install(
    address: Address, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetUnavailable, match="apt-get install libvirt-clients"):
        LibvirtDevice("vm-1", Machine("vm", address)).power_on()


def test_what_libvirt_refuses_is_told_in_its_words(
    address: Address, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "virsh").write_text("#!/bin/sh\necho \"error: failed to get domain 'vm'\" >&2\nexit 1\n")
    (tmp_path / "virsh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(
        TargetUnavailable, match=r"(?s)refuses `domstate vm`: error: failed to get domain 'vm'.*list --all"
    ):
        LibvirtDevice("vm-1", Machine("vm", address)).power_off()
