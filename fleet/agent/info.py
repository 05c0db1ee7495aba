"""What this device is: read from the kernel and the root's os-release."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path

from fleet.contract.wire import DeviceInfo
from fleet.version import VERSION

_BOOT_ID = "proc/sys/kernel/random/boot_id"
_OS_RELEASE = Path("/etc/os-release")


def device_info(root: Path) -> DeviceInfo:
    """The facts of this machine, with a fresh instance id; the engine tells its part later."""
    kernel = os.uname()
    return DeviceInfo(
        agent_version=VERSION,
        arch=kernel.machine,
        os=_os_name() or kernel.sysname,
        kernel=kernel.release,
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        disk=shutil.disk_usage(root).total,
        boot_id=_boot_id(root),
        instance_id=secrets.token_hex(8),
    )


def _boot_id(root: Path) -> str:
    """The kernel's (random(4)), which is new at every boot; of this machine where the root has no kernel of its own."""
    own = root / _BOOT_ID
    return (own if own.exists() else Path("/") / _BOOT_ID).read_text().strip()


def _os_name() -> str:
    """The distribution's name for people (os-release(5), PRETTY_NAME); empty if there is none."""
    try:
        lines = _OS_RELEASE.read_text(errors="replace").splitlines()
    except OSError:
        return ""
    fields = dict(line.split("=", 1) for line in lines if "=" in line)
    return fields.get("PRETTY_NAME", "").strip("\"'")
