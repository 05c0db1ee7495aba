"""What several areas of the tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.kube import Kube, running_kube
from tests.support.nats import Nats
from tests.support.openbao import Bao, running_bao
from tests.support.tls import Tls, make_tls


@pytest.fixture(scope="session")
def kube(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """A real API server, one for the session; a test works in `kube.namespace()`, and starts again what it stops."""
    with running_kube(tmp_path_factory.mktemp("kube")) as server:
        yield server


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """An authority, and a certificate of it for servers on this machine."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def bao(tmp_path_factory: pytest.TempPathFactory, tls: Tls) -> Iterator[Bao]:
    """A real OpenBao, one for the session; a test works in `bao.fresh()`."""
    with running_bao(tmp_path_factory.mktemp("openbao"), tls) as server:
        yield server


@pytest.fixture(scope="module")
def nats(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A NATS server of this module, with sealed requests; nobody answers its callout unless the test does."""
    server = Nats(tmp_path_factory.mktemp("nats"), tls)
    server.start()
    yield server
    server.stop()
