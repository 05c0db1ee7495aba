"""An emulated board with an ARM processor, which tests know as nothing but an SSH host in the file of a lab.

`python -m harness.devices.vm.board COMMAND…` runs a command while the board is up. A `{lab}` among its words stands for
the file (docs/lab.md). The board has no switch for its power.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from fleet.artifacts.layer import Target
from fleet.process.console import tell
from harness.devices.ssh import Address, SshDevice
from harness.devices.vm.agent import ensure_agent
from harness.devices.vm.guest import PYTHON, USER, guest
from harness.devices.vm.speed import SLOW
from harness.errors import DeviceUnreachable, HarnessError
from harness.processes.ports import free_port
from harness.processes.spawn import running
from harness.processes.spec import write_atomic

_ARCHITECTURE = "aarch64"
_QEMU = (
    *("qemu-system-aarch64", "-machine", "virt", "-cpu", "cortex-a57", "-smp", "2", "-m", "1024"),
    *("-accel", "tcg,thread=multi", "-display", "none", "-monitor", "none", "-nodefaults", "-device", "virtio-rng-pci"),
)
_KERNEL = "root=/dev/vda rw console=ttyAMA0 net.ifnames=0 systemd.show_status=0"
_BOOT = 900.0
"""Seconds from QEMU's start to a login: 210 were seen on a busy machine."""


@contextlib.contextmanager
def emulated_board(folder: Path) -> Generator[Path]:
    """A board that runs, with this source's agent; yields the file of a lab that describes it.

    Its console is `board.log` in the folder. What it writes to its disk is lost at the end.

    Raises:
        TargetUnavailable: something that it takes is missing here.
        HarnessError: its guest cannot be built, or it does not boot.
    """
    image, port = guest(_ARCHITECTURE), free_port()
    known_hosts, console = folder / "known_hosts", folder / "board.log"
    write_atomic(known_hosts, image.known_as(port))
    argv = [*_QEMU, "-kernel", str(image.kernel), "-initrd", str(image.initrd), "-append", _KERNEL]
    argv += [
        "-drive",
        f"file={image.disk},format=raw,if=none,id=root,snapshot=on",
        "-device",
        "virtio-blk-pci,drive=root",
    ]
    argv += ["-netdev", f"user,id=lan,hostfwd=tcp:127.0.0.1:{port}-:22", "-device", "virtio-net-pci,netdev=lan"]
    argv += ["-serial", "stdio"]
    address = Address("127.0.0.1", USER, image.key, known_hosts, port)
    with contextlib.closing(SshDevice("board", address)) as device:
        ready = partial(_answers, device)
        with running(argv, name="the board", log=console, ready=ready, timeout=_BOOT):
            ensure_agent(device, Target((_ARCHITECTURE,), (PYTHON,)), folder)
            board = {**msgspec.to_builtins(address, enc_hook=str), "architecture": _ARCHITECTURE}
            lab = folder / "lab.json"
            write_atomic(lab, msgspec.json.encode({"boards": {"emulated": board}}))
            yield lab


def _answers(device: SshDevice) -> bool:
    try:
        return device.run(["true"], timeout=SLOW).code == 0
    except DeviceUnreachable:
        return False


def main(command: Sequence[str]) -> int:
    """Run a command while the board is up; its exit code, or 2 where there is no board."""
    with tempfile.TemporaryDirectory(prefix="fleet-board-") as folder:
        try:
            tell("an emulated board boots (about two minutes; the first time its disk is made, some ten minutes)")
            with emulated_board(Path(folder)) as lab:
                tell(f"the board is up; {lab} describes it")
                return subprocess.run([word.replace("{lab}", str(lab)) for word in command], check=False).returncode
        except HarnessError as error:
            tell(f"{error}")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
