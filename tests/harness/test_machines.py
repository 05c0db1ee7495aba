"""Devices that this machine has not: how they behave when they are missing, and how power is switched."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.devices import Device, Disconnectable, Killable, Pausable, domain
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

    def await_off(self, seconds: float) -> bool:
        return not self.on

    def link(self, *, up: bool) -> None:
        self._do(f"link {'up' if up else 'down'}", on=self.on)

    def console(self) -> str:
        return "it boots"

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
    assert not isinstance(board, Killable), "a board has no power switch that we could reach"


def test_a_virtual_machine_is_switched_by_its_hypervisor(address: Address) -> None:
    """Power is cut, not shut down; cutting it twice is fine."""
    power = FakeDomain()
    device = LibvirtDevice("vm-1", Machine("vm", address), domain=power)
    device.power_off()
    device.power_off()
    assert power.done == ["destroy"]
    device.pause()
    device.resume()
    assert power.done == ["destroy", "suspend", "resume"]
    device.disconnect()
    assert power.done[-1] == "link down"
    for capability in (Killable, Pausable, Disconnectable):
        assert isinstance(device, capability)


def test_without_the_binding_the_error_says_what_to_install(address: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    domain.binding.cache_clear()
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(
        TargetUnavailable, match=r"(?s)binding of libvirt cannot be loaded.*apt-get install libvirt-dev"
    ):
        LibvirtDevice("vm-1", Machine("vm", address)).power_on()
    domain.binding.cache_clear()


class Refusal(Exception):  # noqa: N818 - what the binding calls libvirtError
    def __init__(self, code: int) -> None:
        super().__init__("in libvirt's words")
        self.code = code

    def get_error_code(self) -> int:
        return self.code


class FakeBinding(types.ModuleType):
    """The parts of the binding that are used, for one machine that is off."""

    VIR_ERR_NO_DOMAIN, VIR_ERR_OPERATION_INVALID, VIR_DOMAIN_EVENT_ID_LIFECYCLE = 42, 55, 0
    VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_CRASHED = 2, 5, 8
    libvirtError = Refusal  # noqa: N815

    def __init__(self) -> None:
        super().__init__("libvirt")
        self.on, self.refuses, self.description = False, 0, "<domain/>"
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name in {"registerErrorHandler", "virEventRegisterDefaultImpl", "setKeepAlive", "domainEventRegisterAny"}:
            self.heard.append(name)
            return self._hear
        if name in {"open", "lookupByName"}:
            return self._found
        raise AttributeError(name)

    def _hear(self, *_: object) -> None:
        return None

    def virEventRunDefaultImpl(self) -> None:  # noqa: N802
        threading.Event().wait()

    def _found(self, name: str) -> FakeBinding:
        if name == "nobody":
            raise Refusal(self.VIR_ERR_NO_DOMAIN)
        if name.startswith("down"):
            raise Refusal(38)
        return self

    def listAllDomains(self) -> list[FakeBinding]:  # noqa: N802
        return [self]

    def name(self) -> str:
        return "vm"

    def isActive(self) -> int:  # noqa: N802
        return int(self.on)

    def create(self) -> None:
        self._change(on=True)

    def destroy(self) -> None:
        self._change(on=False)

    def XMLDesc(self) -> str:  # noqa: N802
        return self.description

    def _change(self, *, on: bool) -> None:
        if self.refuses:
            raise Refusal(self.refuses)
        if self.on is on:
            raise Refusal(self.VIR_ERR_OPERATION_INVALID)
        self.on = on


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBinding]:
    """Function: a binding of the test's own."""
    made = FakeBinding()
    monkeypatch.setitem(sys.modules, "libvirt", made)
    for cache in (domain.binding, domain.hypervisor):
        cache.cache_clear()
    yield made
    for cache in (domain.binding, domain.hypervisor):
        cache.cache_clear()


def test_what_is_so_already_is_no_error(fake: FakeBinding) -> None:
    machine = domain.LibvirtDomain("here", "vm")
    other = domain.LibvirtDomain("here", "vm")
    assert not other.is_on()
    assert fake.heard.count("domainEventRegisterAny") == 1, "libvirt takes one callback for each machine"
    machine.destroy()
    machine.start()
    machine.start()
    assert fake.on
    machine.destroy()
    assert machine.await_off(0)


def test_what_libvirt_refuses_is_told_in_its_words(fake: FakeBinding) -> None:
    with pytest.raises(TargetUnavailable, match="no machine 'nobody'; it has: vm"):
        domain.LibvirtDomain("here", "nobody").start()
    with pytest.raises(TargetUnavailable, match=r"(?s)refuses a connection: in libvirt's words.*is libvirtd up"):
        domain.LibvirtDomain("down", "vm").start()
    fake.refuses = 1
    with pytest.raises(DeviceUnreachable, match="does not start vm: in libvirt's words"):
        domain.LibvirtDomain("here", "vm").start()


def test_a_console_is_read_where_its_description_names_a_file(fake: FakeBinding, tmp_path: Path) -> None:
    machine = domain.LibvirtDomain("here", "vm")
    with pytest.raises(TargetUnavailable, match=r"(?s)console of vm is not written down.*<serial type='file'>"):
        machine.console()
    fake.description = (
        f"<domain><devices><serial type='file'><source path='{tmp_path}/log'/></serial></devices></domain>"
    )
    (tmp_path / "log").write_text("it boots")
    assert machine.console() == "it boots"


CARDS = """\
virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci,macaddr=52:54:00:12:34:56
 \\ lan: index=0,type=user,net=10.0.2.0,restrict=off
net1: index=0,type=nic,model=e1000
"""


def test_the_plug_of_each_network_card_is_pulled(fake: FakeBinding, monkeypatch: pytest.MonkeyPatch) -> None:
    """By QEMU's monitor, which the binding reaches in a module of its own."""
    asked: list[str] = []

    def answer(_machine: object, command: str, _flags: int) -> str:
        asked.append(command)
        return CARDS if command == "info network" else ""

    module = types.ModuleType("libvirt_qemu")
    vars(module).update(qemuMonitorCommand=answer, VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP=1)
    monkeypatch.setitem(sys.modules, "libvirt_qemu", module)
    domain.LibvirtDomain("here", "vm").link(up=False)
    assert asked == ["info network", "set_link virtio-net-pci.0 off", "set_link net1 off"]
    assert not fake.on


def test_a_machine_that_goes_off_while_it_boots_is_not_waited_for(address: Address) -> None:
    machine = FakeDomain()
    machine.start = lambda: None  # type: ignore[method-assign]
    machine.on = False
    with pytest.raises(DeviceUnreachable, match="will not come: vm-1 has booted"):
        LibvirtDevice("vm-1", Machine("vm", address), domain=machine).power_on()
