"""What several areas of the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kube import Kube, running_kube


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A real API server, one for the session; a test works in `kube.namespace()`, and starts again what it stops."""
    with running_kube(tmp_path_factory.mktemp("kube")) as server:
        yield server
