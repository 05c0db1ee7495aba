from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Operator, define_kinds
from tests.support.tls import make_tls


@pytest.fixture(scope="session")
def kinds(kube: Kube) -> Kube:
    """The session's API server, with our two kinds."""
    define_kinds(kube)
    return kube


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A server of this module, which asks its callout in clear."""
    root = tmp_path_factory.mktemp("nats")
    server = Nats(root, make_tls(root), sealed=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def operator(kinds: Kube, nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator that is ready, of this module; tests take names from `name`."""
    running = Operator(kinds, nats, tmp_path_factory.mktemp("operator"), kinds.namespace())
    running.start_ready()
    yield running
    running.close()


_numbers = itertools.count()


@pytest.fixture
def name() -> Callable[[str], str]:
    """Makes names that no other test uses."""
    return lambda stem: f"{stem}-{next(_numbers)}"


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Nats]:
    """A server of this test, to be stopped and started."""
    server = Nats(tmp_path / "nats", make_tls(tmp_path), sealed=False)
    server.start()
    yield server
    server.stop()
