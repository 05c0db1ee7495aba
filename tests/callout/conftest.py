from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.issuer import Issuer
from tests.support.nats import Nats
from tests.support.tls import Tls, make_tls


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    """Certificates for NATS and for the issuer."""
    return make_tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def nats(tls: Tls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A server of this module, with sealed requests."""
    server = Nats(tmp_path_factory.mktemp("nats"), tls)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def issuer(tls: Tls) -> Iterator[Issuer]:
    """An issuer of this test."""
    server = Issuer(tls)
    yield server
    server.stop()
