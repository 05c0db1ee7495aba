"""One cluster with one machine, shared by the tests of a worker."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from harness.binaries import NAMES, NODE_NAMES, resolve_all
from harness.images import IMAGE, busybox_archive
from harness.images.server import Archive, pause
from harness.targets.node.node_cluster import NodeCluster, node_cluster


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Session: the test image, for any cluster."""
    path = tmp_path_factory.mktemp("images") / "busybox.tar"
    path.write_bytes(busybox_archive())
    return Archive(f"docker.io/{IMAGE}", path)


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """Session: every server that a cluster runs."""
    return resolve_all((*NAMES, *NODE_NAMES))


@pytest.fixture(scope="session")
def one(binaries: dict[str, Path], busybox: Archive) -> Generator[NodeCluster]:
    """Session: a cluster with one machine that has the test image."""
    with node_cluster(binaries, pause(), images=[busybox]) as made:
        yield made
