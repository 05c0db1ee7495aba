"""A server that sends its headers byte by byte does not keep `fleet doctor` from its other checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fleet.contract.errors import FleetError
from fleet.contract.sealed import RegistryLogin
from fleet.doctor import identity, openbao_asker, registries, registry_tokens
from fleet.doctor.openbao_asker import Asker
from fleet.secrets.openbao_connection import Connection
from tests.support.slow_server import SlowServer, slow_server


@pytest.fixture
def slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowServer]:
    with slow_server(tmp_path) as server:
        monkeypatch.setenv("SSL_CERT_FILE", str(server.authority))
        yield server


def test_a_registry(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registries, "WHOLE", 0.5)
    with pytest.raises(FleetError, match=f"{slow.address} does not answer from here: no answer in time"):
        registries._asked(slow.address)  # pyright: ignore[reportPrivateUsage]


def test_a_token_server(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_tokens, "WHOLE", 0.5)
    server = registry_tokens.TokenServer("r.example", httpx.URL(f"https://{slow.address}/token"), "")
    with pytest.raises(FleetError, match=f"{slow.address} of the registry r.example does not answer .* in time"):
        registry_tokens.token_for(server, RegistryLogin("me", "secret", "r.example"), "web")


def test_an_identity_provider(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_WHOLE", 0.5)
    with pytest.raises(FleetError, match="does not answer in time"):
        identity.check_discovery(f"https://{slow.address}", slow.authority.read_text())


def test_an_openbao(slow: SlowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_asker, "_WHOLE", 0.5)
    to = Connection(f"https://{slow.address}", "x", ca=slow.authority.read_text())
    with Asker(to) as asker, pytest.raises(FleetError, match="does not answer from here: no answer in time"):
        asker.ask("GET", "sys/seal-status")
