"""What runs virtual machines here, proven by what it boots, and how long that takes.

A nested KVM may be there and hang without a word. The time of the proof tells how slow this machine is before the first
guest has booted, so that the limit of a boot is no guess.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from pathlib import Path
from typing import Literal

import msgspec

from harness.errors import TargetUnavailable
from harness.wait import stretch

_log = logging.getLogger("fleet.machines")

Accelerator = Literal["kvm", "qemu"]
"""libvirt's words for a domain's type: the processor of this machine, or an emulated one."""
DEVICE = Path("/dev/kvm")
_LIMITS: dict[Accelerator, float] = {"kvm": 20.0, "qemu": 120.0}
"""Seconds that a kernel may take to its end: 2 with KVM that works, 3 by emulation."""
_OPTIONS: dict[Accelerator, list[str]] = {"kvm": ["-accel", "kvm", "-cpu", "host"], "qemu": ["-accel", "tcg"]}
_WORDS: dict[Accelerator, str] = {"kvm": "KVM", "qemu": "QEMU's emulation"}
_BOOT = "console=ttyS0 panic=-1 rdinit=/none root=/none"
"""A kernel that finds nothing to start restarts at once, which ends QEMU (`-no-reboot`)."""


class Processor(msgspec.Struct, frozen=True):
    """What runs machines here; `seconds` is how long a kernel took from QEMU's start to the kernel's end."""

    by: Accelerator
    seconds: float

    @property
    def words(self) -> str:
        """For a report."""
        return _WORDS[self.by]


def processor(kernel: Path, program: str = "qemu-system-x86_64", device: Path = DEVICE) -> Processor:
    """KVM where a kernel has come up by it, else emulation.

    Raises:
        TargetUnavailable: no kernel comes up by emulation either; the message holds QEMU's last words.
    """
    tried: list[Accelerator] = ["kvm", "qemu"] if os.access(device, os.R_OK | os.W_OK) else ["qemu"]
    words = ""
    for by in tried:
        started = time.monotonic()
        ended, words = _boot(kernel, program, by)
        accelerated = Processor(by, time.monotonic() - started)
        if ended:
            _log.info("virtual machines run by %s; a kernel took %.1f s", accelerated.words, accelerated.seconds)
            return accelerated
    raise TargetUnavailable(
        f"no virtual machine boots here: {words}", next_step=f"{program} -accel tcg -nographic -kernel {kernel}"
    )


def _boot(kernel: Path, program: str, by: Accelerator) -> tuple[bool, str]:
    """Whether a kernel came up and ended by itself, and what QEMU said last."""
    argv = [program, *_OPTIONS[by], "-m", "256", "-nographic", "-no-reboot", "-nodefaults"]
    argv += ["-serial", "stdio", "-kernel", str(kernel), "-append", _BOOT]
    limit = _LIMITS[by] * stretch()
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return False, f"it did not end within {limit:g} s"
    except OSError as error:
        return False, str(error)
    words = (done.stdout + done.stderr).decode(errors="replace")
    return done.returncode == 0 and "Linux version" in words, words[-500:]
