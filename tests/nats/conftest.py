from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.install.secrets import ServerSecrets, server_secrets
from fleet.secrets.file import FileSecretStore
from harness.processes.ports import free_port
from harness.processes.spawn import terminate
from tests.support.nats_cluster import HOST, Server, start


@pytest.fixture
def secrets(tmp_path: Path) -> ServerSecrets:
    """Of an install with three servers."""
    return server_secrets(FileSecretStore(tmp_path / "secrets"), [HOST], [HOST])


@pytest.fixture
def three(tmp_path: Path, secrets: ServerSecrets) -> Iterator[list[Server]]:
    """The servers, started and not yet together."""
    assert secrets.routes
    routes = [free_port() for _ in range(3)]
    servers = [start(tmp_path, number, routes, secrets, secrets.routes.password) for number in range(3)]
    yield servers
    for server in servers:
        terminate(server.process)
