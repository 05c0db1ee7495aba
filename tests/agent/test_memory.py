"""Secrets are written to memory alone: the agent looks at the file system of their folder."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fleet.agent import workload_files
from fleet.agent.memory import MOUNTS, disk_below
from fleet.agent.paths import AgentPaths
from fleet.agent.sealing import Sealing
from fleet.agent.workload_files import WorkloadFiles
from fleet.contract.mounts import File
from fleet.contract.sealed import FromSecret, Sealed
from fleet.contract.wire import Container

ROOT = "29 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw"
RUN = "30 29 0:26 / /run rw,nosuid shared:5 - tmpfs tmpfs rw"
FOLDER = Path("/run/fleet/secrets")


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ([ROOT], "ext4"),
        ([ROOT, RUN], ""),
        ([RUN, ROOT], ""),
        ([ROOT, RUN.replace("tmpfs", "ramfs")], ""),
        ([ROOT, RUN.replace("/run", "/runner")], "ext4"),
        ([ROOT, RUN, ROOT.replace("/ / ", "/ /run/fleet ")], "ext4"),
        ([ROOT, RUN, ROOT.replace("/ / ", "/ /run ")], "ext4"),
        ([ROOT, RUN.replace("/run", r"/run/fleet\040old")], "ext4"),
        ([ROOT, RUN.replace("shared:5 ", "")], ""),
    ],
)
def test_the_file_system_of_a_folder(mounts: list[str], kind: str) -> None:
    assert disk_below(FOLDER, "\n".join(mounts)) == kind


def test_this_machines_mounts_can_be_read() -> None:
    assert disk_below(Path("/proc/self"), MOUNTS.read_text()) == "proc"


def test_secrets_are_not_written_to_a_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is opened, so nothing can be written."""
    told = tmp_path / "mountinfo"
    told.write_text(ROOT)
    monkeypatch.setattr(workload_files, "MOUNTS", told)
    secret = File("/etc/key", secret=FromSecret("db", "key"))
    files = WorkloadFiles(AgentPaths(Path("/")), Sealing(tmp_path / "sealing.key", "pi-1"))
    with pytest.raises(OSError, match=r"/run/fleet/secrets is on ext4.*mount a tmpfs at /run"):
        asyncio.run(files.write(tmp_path.name, Container("web:1", files=(secret,)), Sealed("", "1", b"")))
    assert not (tmp_path / "sealing.key").exists()
