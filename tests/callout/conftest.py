from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.issuer import Issuer
from tests.support.tls import Tls


@pytest.fixture
def issuer(tls: Tls) -> Iterator[Issuer]:
    """An issuer of this test."""
    server = Issuer(tls)
    yield server
    server.stop()
