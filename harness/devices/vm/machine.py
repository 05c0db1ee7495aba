"""A virtual machine for devices: an overlay on the guest's disk, its console in a file, SSH on loopback, an agent."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

from fleet.artifacts.layer import Target
from harness.devices.domain import hypervisor
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.ssh import Address
from harness.devices.vm.accelerator import Processor, processor
from harness.devices.vm.agent import ensure_agent, sure
from harness.devices.vm.disk import VolatileDisk
from harness.devices.vm.guest import PYTHON, USER, Guest, guest
from harness.devices.vm.hypervisor import libvirtd
from harness.devices.vm.pristine import PooledDevice, VolatileDomain
from harness.devices.vm.speed import SLOW, booting, here, measured
from harness.images import busybox_archive
from harness.processes.spec import write_atomic

NAME = "pi"
MakeDevice = Callable[[str, Machine], PooledDevice]
"""Makes a device of that name on the machine."""
DOMAIN = """\
<domain type='{accelerator}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>768</memory>
  <vcpu>2</vcpu>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{guest.kernel}</kernel>
    <initrd>{guest.initrd}</initrd>
    <cmdline>root=/dev/vda rw console=ttyS0 net.ifnames=0 systemd.show_status=0</cmdline>
  </os>
  <features><acpi/></features>
  {processor}
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='disk'>
      <driver name='qemu' type='qcow2' cache='writeback' error_policy='stop' rerror_policy='stop'/>
      <source protocol='nbd' name=''><host transport='unix' socket='{disk}'/></source>
      <target dev='vda' bus='virtio'/>
    </disk>
    <serial type='file'><source path='{console}' append='on'/></serial>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
    <memballoon model='none'/>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-netdev'/><qemu:arg value='user,id=lan,hostfwd=tcp:127.0.0.1:{port}-:22'/>
    <qemu:arg value='-device'/><qemu:arg value='virtio-net-pci,netdev=lan,bus=pcie.0,addr=0x10'/>
  </qemu:commandline>
</domain>
"""


@contextlib.contextmanager
def machine(root: Path, port: int, slow: Callable[[float], None]) -> Generator[tuple[Machine, MakeDevice]]:
    """A machine that runs, with this source's agent and the test image; its console is `logs/machine-pi.log`.

    Yields how to reach it, and what makes a device on it: reverted to this state, for one device at a time. `slow`
    sets the factor of every limit: from this machine's own speed, before the guest boots from a kernel's boot, and from
    the guest's speed each time that it is acquired.

    Raises:
        TargetUnavailable: something that it takes is missing here.
        HarnessError: the guest cannot be built, or libvirt refuses.
    """
    made, folder = guest(), root / "libvirt"
    folder.mkdir(mode=0o700)
    known_hosts = folder / "known_hosts"
    slow(here())
    kind, key, *_ = made.host_key.split()
    write_atomic(known_hosts, f"[127.0.0.1]:{port} {kind} {key}\n".encode())

    def ready(device: LibvirtDevice) -> None:
        slow(measured(partial(device.run, timeout=SLOW)))

    disk = VolatileDisk(made.disk, folder, NAME)
    with libvirtd(folder) as uri, contextlib.closing(disk):
        found = processor(made.kernel)
        slow(booting(found.seconds))
        console = root / "logs" / f"machine-{NAME}.log"
        hypervisor(uri).define(_description(made, disk.socket, console, port, found))
        described = Machine(NAME, Address("127.0.0.1", USER, made.key, known_hosts, port), uri, found.words)
        domain = VolatileDomain(uri, NAME, disk)
        with contextlib.closing(LibvirtDevice(NAME, described, domain=domain)) as device:
            device.power_on()
            ready(device)
            ensure_agent(device, Target(("x86_64",), (PYTHON,)), folder)
            _load_image(device)
        domain.snapshot()
        seen: set[str] = set()
        yield described, lambda name, where: PooledDevice(name, where, domain=domain, seen=seen, ready=ready)


def _load_image(device: LibvirtDevice) -> None:
    device.write("/tmp/image.tar", busybox_archive())  # noqa: S108 - on a machine that nobody else enters
    sure(device, "sudo", "podman", "load", "--input", "/tmp/image.tar")  # noqa: S108


def _description(made: Guest, disk: Path, console: Path, port: int, found: Processor) -> str:
    return DOMAIN.format(
        name=NAME,
        accelerator=found.by,
        processor="<cpu mode='host-passthrough'/>" if found.by == "kvm" else "",
        guest=made,
        disk=disk,
        console=console,
        port=port,
    )
