"""A cluster leaves nothing behind, however it ends, and touches no other cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.images.server import pause
from harness.targets.node import reaper
from harness.targets.node.node_cluster import NodeCluster
from harness.targets.node.plan import Plan, load
from harness.wait import wait_until
from harness.world import folders
from tests.node.snapshot import groups, host, members

OWNER = """
import pathlib, sys
from harness.binaries import NAMES, NODE_NAMES, resolve_all
from harness.images.server import pause
from harness.processes.spec import write_atomic
from harness.targets.node.node_cluster import node_cluster
from harness.world import keep
with node_cluster(resolve_all((*NAMES, *NODE_NAMES)), pause(), count={count}, keep=keep.{keep}) as made:
    write_atomic(pathlib.Path({ready!r}), str(made.plan.root).encode())
    sys.stdin.read()
"""


@contextmanager
def owner(ready: Path, count: int = 1, *, keep: bool = False) -> Generator[subprocess.Popen[bytes]]:
    """A process that starts a cluster, and keeps it until its standard input ends."""
    log = ready.with_suffix(".log").open("wb")
    argv = [sys.executable, "-c", OWNER.format(ready=str(ready), count=count, keep="ALWAYS" if keep else "NEVER")]
    with log, subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=log) as process:
        try:
            yield process
        finally:
            process.kill()


def roots() -> set[Path]:
    return {path.parent for path in folders.parent().glob("*/plan.json")}


def started(process: subprocess.Popen[bytes], name: str) -> Path:
    """The root of the cluster that `process` started, once its file `name` is there; others may start one just now."""

    def look() -> Path | None:
        assert process.poll() is None
        named = (root for root in roots() if (root / name).exists())
        return next((root for root in named if load(root).cgroup.endswith(f"-{process.pid}")), None)

    found = wait_until(look, f"the other cluster has its {name}", timeout=60)
    assert found is not None
    return found


def await_end(plan: Plan) -> None:
    wait_until(lambda: members(plan.cgroup), "nothing of it runs", timeout=20, until=lambda left: not left)


def test_an_owner_that_is_killed_takes_everything_along(one: NodeCluster, tmp_path: Path) -> None:
    """Two machines and all pods of a second cluster, whole and running; the first cluster does not notice."""
    before = host()
    with owner(tmp_path / "ready", count=2) as process:
        wait_until((tmp_path / "ready").exists, "the other cluster is ready", timeout=100)
        plan = load(Path((tmp_path / "ready").read_text()))
        assert len(members(plan.cgroup)) > 10
        assert host() == before, "nothing of the host changes while it runs"
        process.kill()
        await_end(plan)
    wait_until(lambda: groups(plan.cgroup), "its control groups are gone", timeout=20, until=lambda left: not left)
    assert host() == before
    wait_until(
        lambda: (folders.sweep(), not plan.root.exists())[1], "whoever comes next removes its folder", timeout=10
    )
    one.await_nodes()
    assert one.plan.root in roots()


@pytest.mark.parametrize("victim", ["cluster", "reaper"])
def test_what_is_killed_while_it_starts_leaves_nothing(victim: str, tmp_path: Path) -> None:
    """A killed reaper cannot remove the empty control groups; whoever starts the next cluster does."""
    pause()  # built before, so that the owner starts at once
    before = host()
    with owner(tmp_path / "ready") as process:
        root = started(process, "machines/n1/containerd.sock")
        plan = load(root)
        node_cluster = int((root / "site.pid").read_text())
        os.kill(node_cluster if victim == "cluster" else _parent(node_cluster), signal.SIGKILL)
        await_end(plan)
        wait_until(lambda: process.poll() is not None, "the owner gives up", timeout=30)
    assert process.returncode != 0
    log = (tmp_path / "ready.log").read_text()
    assert "the cluster ended" in log, log
    wait_until(lambda: groups(plan.cgroup), "its control groups are gone", timeout=20, until=lambda left: not left)
    assert host() == before
    assert not root.exists()


def test_a_kept_cluster_outlives_its_owner_until_it_is_ended(tmp_path: Path) -> None:
    before = host()
    with owner(tmp_path / "ready", keep=True) as process:
        wait_until((tmp_path / "ready").exists, "the other cluster is ready", timeout=100)
        process.communicate(timeout=30)
    assert process.returncode == 0
    plan = load(Path((tmp_path / "ready").read_text()))
    folders.sweep()
    assert len(members(plan.cgroup)) > 10, "nobody sweeps it away"
    assert reaper.main(["--end", str(plan.root)]) == 0
    assert not members(plan.cgroup)
    assert not groups(plan.cgroup)
    assert not plan.root.exists()
    assert host() == before
    assert reaper.main(["--end", str(plan.root)]) == 1, "there is nothing to end any more"


def _parent(pid: int) -> int:
    """From proc_pid_stat(5): the fourth field, the second after the name in brackets."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
