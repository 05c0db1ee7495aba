"""Whether a version would fit on the disk, asked before a byte of it is written."""

from __future__ import annotations

import os
from pathlib import Path

from fleet.artifacts.refusal import Refusal
from fleet.contract.upgrade import UpgradeReason

_SPARE = 4 * 1024 * 1024
"""Bytes that an upgrade leaves free for the journal and for everybody else."""
_SPARE_FILES = 64


def check_space(folder: Path, size: int, files: int) -> None:
    """Refuse what would not fit, could not be written, or could not be run from there.

    Args:
        folder: Where it would be written; it exists.
        size: In bytes.
        files: How many files and folders.

    Raises:
        Refusal: the file system is read-only or noexec, or lacks bytes or inodes.
    """
    state = os.statvfs(folder)
    if state.f_flag & os.ST_RDONLY:
        raise Refusal(
            UpgradeReason.READ_ONLY, f"{folder} is on a read-only file system", next_step="mount it for writing"
        )
    if state.f_flag & os.ST_NOEXEC:
        raise Refusal(
            UpgradeReason.NOT_EXECUTABLE,
            f"{folder} is on a file system mounted noexec, and an agent holds compiled modules",
            next_step="mount it without noexec",
        )
    free, left = state.f_bavail * state.f_frsize, state.f_favail
    if free < size + _SPARE:
        raise Refusal(
            UpgradeReason.NO_SPACE,
            f"{folder} has {free} bytes free, and {size + _SPARE} are needed",
            next_step="free space on the device, or let it keep fewer versions",
        )
    # A file system without inodes of a fixed number says that it has none.
    if state.f_files and left < files + _SPARE_FILES:
        raise Refusal(
            UpgradeReason.NO_SPACE,
            f"{folder} has {left} inodes free, and {files + _SPARE_FILES} are needed",
            next_step="remove files on the device, or let it keep fewer versions",
        )
