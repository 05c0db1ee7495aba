"""One site with one machine, shared by the tests of a worker."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from harness.binaries import NAMES, NODE_NAMES, resolve_all
from harness.images import IMAGE, busybox_archive
from harness.images.server import Archive, pause
from harness.targets.node.site import Site, site


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Session: the test image, for any site."""
    path = tmp_path_factory.mktemp("images") / "busybox.tar"
    path.write_bytes(busybox_archive())
    return Archive(f"docker.io/{IMAGE}", path)


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """Session: every server that a site runs."""
    return resolve_all((*NAMES, *NODE_NAMES))


@pytest.fixture(scope="session")
def one(binaries: dict[str, Path], busybox: Archive) -> Generator[Site]:
    """Session: a site with one machine that has the test image."""
    with site(binaries, pause(), images=[busybox]) as made:
        yield made
