"""A password that somebody has changed by hand to bytes that are no text is named, and not shown."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from fleet.cli import publisher
from fleet.cli.device_logs import log_password
from fleet.contract.buckets import SYSTEM_USER
from fleet.contract.errors import InvalidInput
from fleet.contract.logs import LOG_READER_KEY
from fleet.contract.objects import ServerInfo
from fleet.install.identity import ADMIN_PASSWORD, identity_services
from fleet.install.secrets import PUBLISHER_PASSWORD, SYSTEM_PASSWORD, server_secrets
from fleet.rotation.look import login
from fleet.secrets.file import FileSecretStore
from fleet.topology.capabilities import Endpoint, IdentityEndpoints

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import PlaceRequest

BYTES = b"\xff\xfe secret"
SERVER = ServerInfo("https://id.example.org", "1", "2", "tls://localhost:1", "", "v0.1.0")


def damaged(name: str, folder: Path) -> FileSecretStore:
    store = FileSecretStore(folder / "secrets")
    store.get_or_create(name, lambda: BYTES)
    return store


def test_of_the_reader_of_logs() -> None:
    secret = {"data": {LOG_READER_KEY: base64.b64encode(BYTES).decode()}}
    with pytest.raises(InvalidInput, match="the Secret fleet-log-reader was changed by hand: it holds no password"):
        log_password(cast("KubeClient", SimpleNamespace(find=lambda *_: secret)), "fleet")  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]


def test_of_a_role_whose_parts_are_looked_at(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the secret nats_system_pass is damaged: it is no text"):
        asyncio.run(login(SERVER, damaged(SYSTEM_PASSWORD, tmp_path), SYSTEM_PASSWORD, SYSTEM_USER))


def test_of_who_publishes_agents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def place(_: PlaceRequest) -> SimpleNamespace:
        return SimpleNamespace(secrets=damaged(PUBLISHER_PASSWORD, tmp_path))

    async def enter() -> None:
        async with publisher.publisher("fleet"):
            pass

    monkeypatch.setattr(publisher, "cluster", SimpleNamespace)
    monkeypatch.setattr(publisher, "installed", lambda *_: SERVER)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(publisher, "trusted", lambda *_: None)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    monkeypatch.setattr(publisher, "place", place)
    with pytest.raises(InvalidInput, match="the secret nats_publisher_pass is damaged: it is no text"):
        asyncio.run(enter())


def test_of_what_an_install_has_made_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the secret server_id is damaged: it is no text"):
        server_secrets(damaged("server_id", tmp_path), ["localhost"])
    here = Endpoint("localhost", 1)
    with pytest.raises(InvalidInput, match="the secret zitadel_admin_pass is damaged: it is no text"):
        identity_services(here, damaged(ADMIN_PASSWORD, tmp_path), IdentityEndpoints(here, here))
