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
from harness.devices.vm.kept import RunningMachine
from harness.devices.vm.pristine import PooledDevice, VolatileDomain
from harness.devices.vm.speed import SLOW, booting, here, measured
from harness.images import busybox_archive
from harness.processes.ports import Ports
from harness.processes.spec import write_atomic
from harness.world.keep import NEVER, Keep

NAME = "pi"
_MOST_KEPT = 3
"""Machines that are kept for a person: each takes 768 MiB of memory."""
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
def machine(
    root: Path, ports: Ports, slow: Callable[[float], None], keep: Keep = NEVER
) -> Generator[tuple[Machine, MakeDevice]]:
    """A machine that runs, with this source's agent and the test image; its console is `logs/machine-pi.log`.

    Yields how to reach it, and what makes a device on it: reverted to this state, for one device at a time. `slow`
    sets the factor of every limit: from this machine's own speed, before the guest boots from a kernel's boot, and from
    the guest's speed each time that it is acquired. A machine that was kept is replaced, and outlives the `with`.

    Raises:
        TargetUnavailable: something that it takes is missing here.
        HarnessError: the guest cannot be built, or libvirt refuses.
    """
    image, folder, port = guest(), root / "libvirt", ports.take()
    folder.mkdir(mode=0o700)
    known_hosts = folder / "known_hosts"
    slow(here())
    write_atomic(known_hosts, image.known_as(port))
    accelerator = processor(image.kernel)
    machines: list[RunningMachine] = []
    lasting = root if keep.may else None
    kept = (lambda: any(one.kept for one in machines)) if keep.may else None
    with libvirtd(folder, lasting, kept) as uri, contextlib.ExitStack() as cleanup:
        described = Machine(NAME, Address("127.0.0.1", USER, image.key, known_hosts, port), uri, accelerator.words)

        def ready(device: LibvirtDevice) -> None:
            slow(measured(partial(device.run, timeout=SLOW)))

        def boot() -> RunningMachine:
            """Another machine, at the same port."""
            slow(booting(accelerator.seconds))
            name = f"{NAME}-{len(machines) + 1}" if machines else NAME
            disk = VolatileDisk(image.disk, folder, name, world=lasting)
            running = RunningMachine(name, VolatileDomain(uri, name, disk), disk, described, image.known_as)
            cleanup.callback(running.end)
            machines.append(running)
            hypervisor(uri).define(
                _description(image, name, disk.socket, root / "logs" / f"machine-{name}.log", port, accelerator)
            )
            with contextlib.closing(LibvirtDevice(name, described, domain=running.domain)) as device:
                device.power_on()
                ready(device)
                ensure_agent(device, Target(("x86_64",), (PYTHON,)), folder)
                _load_image(device)
            running.domain.snapshot()
            return running

        def acquire(name: str, where: Machine) -> PooledDevice:
            running = boot() if machines[-1].kept else machines[-1]
            full = len(machines) > _MOST_KEPT
            put_aside = None if full else lambda: running.keep(name, ports.take())
            return PooledDevice(name, where, domain=running.domain, seen=seen, ready=ready, put_aside=put_aside)

        seen: set[str] = set()
        boot()
        yield described, acquire


def _load_image(device: LibvirtDevice) -> None:
    device.write("/tmp/image.tar", busybox_archive())  # noqa: S108 - on a machine that nobody else enters
    sure(device, "sudo", "podman", "load", "--input", "/tmp/image.tar")  # noqa: S108


def _description(image: Guest, name: str, disk: Path, console: Path, port: int, found: Processor) -> str:
    return DOMAIN.format(
        name=name,
        accelerator=found.by,
        processor="<cpu mode='host-passthrough'/>" if found.by == "kvm" else "",
        guest=image,
        disk=disk,
        console=console,
        port=port,
    )
