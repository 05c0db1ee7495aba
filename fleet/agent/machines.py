"""For which machines a program may be made that this device runs; machines are named as by Go (GOARCH)."""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import NamedTuple

BINFMT = Path("/proc/sys/fs/binfmt_misc")
"""What the kernel runs by an emulator (Linux, "Kernel Support for miscellaneous Binary Formats")."""
UNKNOWN = f"; it does not tell whether it emulates that, so what runs is not replaced: mount {BINFMT} there"
FILESYSTEMS = Path("/proc/filesystems")
"""What the kernel can mount (proc(5))."""
_OF_KERNEL = {"x86_64": "amd64", "i686": "386", "aarch64": "arm64", "armv7l": "arm", "armv6l": "arm"}
_RUNS_TOO = {"amd64": "386", "arm64": "arm"}
"""What many processors of a machine run besides."""
_ELF = {3: "386", 21: "ppc64le", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 243: "riscv64"}
"""By the number in a program's header (elf(5), `e_machine`)."""
_MAGIC = re.compile(r"^enabled\n(?:.*\n)*magic 7f454c46..(..)(?:..){12}(....)", re.MULTILINE)


class Machines(NamedTuple):
    """The machine that an image is made for, and this one, as the engine tells; empty if it does not."""

    made: str
    here: str

    @property
    def differ(self) -> str:
        """That they differ, in words; empty if they do not, or if that is not known.

        Engines start such an image all the same, and it ends at once unless the machine is emulated.
        """
        if not self.made or not self.here or self.made == self.here:
            return ""
        return f"its image is made for {self.made}, and this device is {self.here}"


def unfit(machines: Machines, *, replaces: bool) -> str:
    """Why an image is not run here; empty if it is.

    Of one that may not run, only trying can tell. It is not tried in the place of something that runs.
    """
    can = runs(*machines)
    if can or (can is None and not replaces):
        return ""
    return machines.differ + ("" if can is False else UNKNOWN)


def runs(image_machine: str, here: str) -> bool | None:
    """Whether an image may run.

    Args:
        made: The machine that it is made for, as the engine says.
        here: This one, as the engine says; its kernel may be for another.

    Returns:
        False if nothing here can run it, as far as the kernel tells; None if the kernel does not tell.
    """
    own = {here, _OF_KERNEL.get(os.uname().machine, "")} - {""}
    if not image_machine or not own or image_machine in own | {_RUNS_TOO.get(machine) for machine in own}:
        return True
    try:
        status = (BINFMT / "status").read_text().strip()
    except OSError:
        return None if _may_emulate() else False
    return image_machine not in _ELF.values() or (status == "enabled" and image_machine in _emulated())


def _may_emulate() -> bool:
    """Whether this kernel can have emulators at all; they stay when the list of them is unmounted."""
    try:
        return "binfmt_misc" in FILESYSTEMS.read_text().split()
    except OSError:
        return True


def _emulated() -> set[str]:
    machines: set[str] = set()
    for handler in BINFMT.iterdir():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if magic := _MAGIC.match(handler.read_text()):
                order = "big" if magic[1] == "02" else "little"
                machines.add(_ELF.get(int.from_bytes(bytes.fromhex(magic[2]), order), ""))
    return machines
