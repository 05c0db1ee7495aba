"""A virtual machine for devices: an overlay on the guest's disk, its console in a file, SSH on loopback, an agent."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Generator
from pathlib import Path

from fleet.artifacts.build import build
from fleet.artifacts.layer import Target
from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion
from fleet.version import VERSION
from harness.devices.libvirt import LibvirtDevice, Machine
from harness.devices.ssh import Address
from harness.devices.virsh import virsh
from harness.errors import BuildFailed
from harness.images import busybox_archive
from harness.machines.guest import USER, Guest, guest
from harness.machines.hypervisor import libvirtd
from harness.parts import write_atomic

NAME = "pi"
_SLOW = 300.0
"""Seconds for a command on a machine whose processor is emulated."""
DOMAIN = """\
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
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
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='unsafe'/>
      <source file='{overlay}'/>
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
def machine(root: Path, port: int) -> Generator[Machine]:
    """A machine that runs, with this source's agent and the test image; its console is `logs/machine-pi.log`.

    Raises:
        TargetUnavailable: something that it takes is missing here.
        HarnessError: the guest cannot be built, or libvirt refuses.
    """
    made, folder = guest(), root / "libvirt"
    folder.mkdir(mode=0o700)
    known_hosts = folder / "known_hosts"
    kind, key, *_ = made.host_key.split()
    write_atomic(known_hosts, f"[127.0.0.1]:{port} {kind} {key}\n".encode())
    with libvirtd(folder) as uri:
        virsh(uri, "define", str(_describe(made, root, folder, port)))
        described = Machine(NAME, Address("127.0.0.1", USER, made.key, known_hosts, port), uri)
        _equip(LibvirtDevice(NAME, described), folder)
        yield described


def _equip(device: LibvirtDevice, folder: Path) -> None:
    """Boot it, and put on it what a device of the fleet has before it is set up, and the image that tests run."""
    device.power_on()
    try:
        artifact = build(AgentVersion(VERSION), folder, Target(("x86_64",), ("3.11",)))
    except FleetError as error:
        raise BuildFailed(f"the agent was not built: {error.what}", next_step=error.next_step) from error
    device.write("/tmp/fleet-agent", artifact.read_bytes())  # noqa: S108 - on a machine that nobody else enters
    device.write("/tmp/image.tar", busybox_archive())  # noqa: S108
    for argv in (
        ["sudo", "install", "-m", "755", "/tmp/fleet-agent", "/usr/local/bin/fleet-agent"],  # noqa: S108
        ["sudo", "podman", "load", "--input", "/tmp/image.tar"],  # noqa: S108
    ):
        result = device.run(argv, timeout=_SLOW)
        if result.code != 0:
            raise BuildFailed(f"the machine was not equipped: {result}", next_step="see its console and journal")


def _describe(made: Guest, root: Path, folder: Path, port: int) -> Path:
    overlay, console = folder / "overlay.qcow2", root / "logs" / f"machine-{NAME}.log"
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(made.disk), "-F", "raw", str(overlay)]
    subprocess.run(argv, check=True)
    described = folder / "domain.xml"
    text = DOMAIN.format(name=NAME, guest=made, overlay=overlay, console=console, port=port)
    write_atomic(described, text.encode())
    return described
