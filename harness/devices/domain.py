"""libvirt by its own Python binding, the extra `libvirt`: typed errors, and events where a poll would be late.

The binding comes without types and only where libvirt is, so it is loaded when the first machine is asked for.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness.errors import DeviceUnreachable, HarnessError, TargetUnavailable

_PRISTINE = "pristine"
_CARD = re.compile(r"\S+: .*\btype=nic\b")
"""A line of QEMU's `info network`."""
_SNAPSHOT = "<domainsnapshot><name>{name}</name></domainsnapshot>"
_ALIVE_EVERY, _ALIVE_TIMES = 5, 12
"""Seconds between two signs of life of libvirtd, and how many may be missing: then every call ends with an error."""


@functools.cache
def binding() -> Any:  # noqa: ANN401 - it has no types
    """The module `libvirt`, with its events followed by a thread.

    Raises:
        TargetUnavailable: it is not installed.
    """
    try:
        import libvirt  # noqa: PLC0415  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise TargetUnavailable(
            f"the Python binding of libvirt cannot be loaded: {error}",
            next_step="sudo ./scripts/e2e-machines.sh installs it; by hand: apt-get install libvirt-dev pkg-config gcc "
            "python3-dev, then pip install 'libvirt-python'",
        ) from error
    module: Any = libvirt
    module.registerErrorHandler(_silent, None)  # else it also prints what it raises
    module.virEventRegisterDefaultImpl()
    threading.Thread(target=_follow, args=(module,), name="libvirt events", daemon=True).start()
    return module


def _silent(*_: object) -> None:
    return None


def _follow(module: Any) -> None:  # noqa: ANN401
    while True:
        module.virEventRunDefaultImpl()


class Hypervisor:
    """One connection to a libvirt, made at the first call."""

    def __init__(self, uri: str) -> None:
        """Contact nothing yet."""
        self.uri = uri
        self._off: defaultdict[str, threading.Event] = defaultdict(threading.Event)

    @functools.cached_property
    def _connection(self) -> Any:  # noqa: ANN401
        module = binding()
        try:
            connection = module.open(self.uri)
            connection.setKeepAlive(_ALIVE_EVERY, _ALIVE_TIMES)
            # Once for all machines: it takes no second callback for one.
            connection.domainEventRegisterAny(None, module.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._changed, None)
        except module.libvirtError as error:
            raise self._refused("a connection", error) from error
        return connection

    def answers(self) -> bool:
        """Whether it is there with its drivers.

        Raises:
            TargetUnavailable: the binding is not installed.
        """
        binding()
        try:
            self._connection.listAllDomains()
        except (HarnessError, binding().libvirtError):
            self.__dict__.pop("_connection", None)
            return False
        return True

    def define(self, description: str) -> None:
        """Define a machine by its XML.

        Raises:
            TargetUnavailable: libvirt refuses; the message holds its words.
        """
        try:
            self._connection.defineXML(description)
        except binding().libvirtError as error:
            raise self._refused("the description of a machine", error) from error

    def find(self, domain: str) -> Any:  # noqa: ANN401
        """A defined machine.

        Raises:
            TargetUnavailable: there is none of that name, or libvirt does not answer.
        """
        module = binding()
        try:
            return self._connection.lookupByName(domain)
        except module.libvirtError as error:
            if error.get_error_code() != module.VIR_ERR_NO_DOMAIN:
                raise self._refused(f"the machine {domain}", error) from error
            names = ", ".join(sorted(one.name() for one in self._connection.listAllDomains())) or "none"
            raise TargetUnavailable(
                f"libvirt at {self.uri} has no machine {domain!r}; it has: {names}",
                next_step="define it (virsh define), or name another one in `lab`",
            ) from error

    def off(self, domain: str) -> threading.Event:
        """Set by the event that a machine went off, and cleared by its start."""
        return self._off[domain]

    def _changed(self, _connection: object, machine: Any, event: int, _detail: int, _opaque: object) -> None:  # noqa: ANN401
        module = binding()
        if event in {module.VIR_DOMAIN_EVENT_STOPPED, module.VIR_DOMAIN_EVENT_CRASHED}:
            self._off[machine.name()].set()
        elif event == module.VIR_DOMAIN_EVENT_STARTED:
            self._off[machine.name()].clear()

    def _refused(self, what: str, error: Exception) -> TargetUnavailable:
        return TargetUnavailable(
            f"libvirt at {self.uri} refuses {what}: {error}",
            next_step=f"virsh -c '{self.uri}' list --all; is libvirtd up?",
        )


@functools.cache
def hypervisor(uri: str) -> Hypervisor:
    """The connection of this process to a libvirt."""
    return Hypervisor(uri)


class LibvirtDomain:
    """Satisfies `harness.devices.libvirt.Domain`."""

    def __init__(self, uri: str, name: str) -> None:
        """Contact nothing yet."""
        self._hypervisor = hypervisor(uri)
        self._name = name

    @functools.cached_property
    def _machine(self) -> Any:  # noqa: ANN401
        return self._hypervisor.find(self._name)

    def start(self) -> None:
        """Boot it; nothing if it is on."""
        self._do("start", self._machine.create, fine_if_on=True)

    def destroy(self) -> None:
        """Cut its power; nothing if it is off."""
        self._do("cut the power of", self._machine.destroy, fine_if_on=False)

    def snapshot(self) -> None:
        """Remember its state, memory included; it must be on, and its disk able to."""
        self._do("take a snapshot of", lambda: self._machine.snapshotCreateXML(_SNAPSHOT.format(name=_PRISTINE)))

    def revert(self) -> None:
        """Go back to that state, whatever it is now; it runs afterwards."""
        self._do("revert", self._revert)

    def _revert(self) -> None:
        flags = binding().VIR_DOMAIN_SNAPSHOT_REVERT_FORCE
        self._machine.revertToSnapshot(self._machine.snapshotLookupByName(_PRISTINE), flags)

    def suspend(self) -> None:
        """Freeze its CPUs."""
        self._do("freeze", self._machine.suspend)

    def resume(self) -> None:
        """Let it go on."""
        self._do("resume", self._machine.resume)

    def link(self, *, up: bool) -> None:
        """Put the plug of each network card in, or pull it."""
        cards = [line.partition(":")[0] for line in self.monitor("info network").splitlines() if _CARD.match(line)]
        for card in cards:
            self.monitor(f"set_link {card} {'on' if up else 'off'}")

    def monitor(self, command: str) -> str:
        """What QEMU answers to a command of its monitor."""
        answers: list[str] = []
        self._do(f"take `{command}` for", lambda: answers.append(self._asked(command)))
        return "".join(answers)

    def _asked(self, command: str) -> str:
        import libvirt_qemu  # noqa: PLC0415 - a part of the binding  # pyright: ignore[reportMissingImports]

        module: Any = libvirt_qemu
        return module.qemuMonitorCommand(self._machine, command, module.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)

    def console(self) -> str:
        """What its serial console said, where its description names a file for it.

        Raises:
            TargetUnavailable: it names none, or the file cannot be read here.
        """
        described: list[str] = []
        self._do("describe", lambda: described.append(self._machine.XMLDesc()))
        serial = ElementTree.fromstring(described[0]).find("devices/serial/source[@path]")  # noqa: S314 - libvirt's own
        path = Path("" if serial is None else serial.get("path", ""))
        try:
            return path.read_text(errors="replace")
        except OSError as error:
            raise TargetUnavailable(
                f"the console of {self._name} is not written down: {error}",
                next_step="describe it with <serial type='file'><source path='...'/></serial>",
            ) from error

    def is_on(self) -> bool:
        """Whether it has power, frozen or not."""
        module = binding()
        try:
            return bool(self._machine.isActive())
        except module.libvirtError as error:
            raise self._lost("tell whether there is power for", error) from error

    def await_off(self, seconds: float) -> bool:
        """Wait for the event that it is off; whether it is."""
        if not self.is_on():
            return True
        self._hypervisor.off(self._name).wait(seconds)
        return not self.is_on()

    def _do(self, what: str, act: Any, *, fine_if_on: bool | None = None) -> None:  # noqa: ANN401
        module = binding()
        try:
            act()
        except module.libvirtError as error:
            if error.get_error_code() == module.VIR_ERR_OPERATION_INVALID and fine_if_on is self.is_on():
                return
            raise self._lost(what, error) from error

    def _lost(self, what: str, error: Exception) -> DeviceUnreachable:
        return DeviceUnreachable(
            f"libvirt does not {what} {self._name}: {error}",
            next_step=f"virsh -c '{self._hypervisor.uri}' dominfo {self._name}",
        )
