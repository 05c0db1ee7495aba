"""Files of workloads outlive a power cut: the name of their folder says for good that they are there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleet.agent.files import Files
from fleet.contract.mounts import File


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut left the folder with empty files, and nobody wrote them again."""
    real, synced = os.fsync, list[tuple[str, bytes]]()

    def fsync(handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        synced.append((str(path.relative_to(tmp_path)), path.read_bytes() if path.is_file() else b""))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    one = File("/etc/web.conf", "listen 80")
    Files(tmp_path).write("web", "spec", {0: (one, one.content.encode()), 1: (File("/etc/empty"), b"")})
    assert synced == [
        ("web/.new-spec/0", b"listen 80"),
        ("web/.new-spec/1", b""),
        ("web/.new-spec", b""),
        ("web", b""),
    ]
    assert (tmp_path / "web/spec/0").read_text() == "listen 80"
