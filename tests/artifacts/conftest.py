from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.nats import Nats
from tests.support.tls import make_tls


@pytest.fixture(scope="module")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nats]:
    """A server of this module; nobody answers its callout."""
    root = tmp_path_factory.mktemp("nats")
    server = Nats(root, make_tls(root))
    server.start()
    yield server
    server.stop()
