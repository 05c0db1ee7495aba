"""Take a tar archive apart, on every Python that is supported: 3.11.4 was the first with extraction filters."""

from __future__ import annotations

import tarfile
from pathlib import Path, PurePosixPath


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Write all members below `folder`; a member that points outside is refused (PEP 706).

    Raises:
        tarfile.TarError: a member would be written outside of `folder`.
    """
    if hasattr(tarfile, "tar_filter"):
        archive.extractall(folder, filter="tar")
        return
    for member in archive.getmembers():
        parts = PurePosixPath(member.name).parts
        if ".." in parts:
            raise tarfile.TarError(f"{member.name!r} would be written outside of {folder}")
        member.name = str(PurePosixPath(*(part for part in parts if part != "/")))
    archive.extractall(folder)  # noqa: S202 - the members were checked
