"""What wants attention is told from the store alone, a month ahead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from fleet.install.server import secrets_of
from fleet.nats.keys import Role, new_seed
from fleet.rotation.ground import Installed
from fleet.rotation.soon import AHEAD, expiries, wanting
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change
from fleet.topology.capabilities import Endpoint, Endpoints

NATS = Endpoint("nats.example.org", 4222)
PLACES = Endpoints("127.0.0.1", NATS, NATS, 1, 2, 3)
NOW = datetime.now(UTC)


@pytest.fixture
def store(tmp_path: Path) -> FileSecretStore:
    made = FileSecretStore(tmp_path / "secrets")
    secrets_of(made, PLACES)
    return made


@pytest.fixture
def told(store: FileSecretStore) -> Callable[[timedelta], dict[str, str]]:
    """What is told some time from now."""
    server = cast("Installed", SimpleNamespace(place=SimpleNamespace(secrets=store), endpoints=PLACES))
    return lambda later: {one.name: one.why for one in wanting(server, NOW + later)}


def test_a_fresh_server_wants_nothing(told: Callable[[timedelta], dict[str, str]]) -> None:
    assert told(timedelta(0)) == {}
    assert told(timedelta(days=365) - AHEAD - timedelta(days=1)) == {}


def test_a_month_ahead_it_is_told_what_will_be_due(told: Callable[[timedelta], dict[str, str]]) -> None:
    soon = told(timedelta(days=365) - AHEAD + timedelta(days=1))
    assert "it is due on" in soon["nats_issuer_seed"]
    assert "ca_key" not in soon
    assert "it was due on" in told(timedelta(days=366))["nats_app_pass"]


def test_a_certificate_that_ends_is_told_whether_it_is_due_or_not(told: Callable[[timedelta], dict[str, str]]) -> None:
    assert "its certificate ends on" in told(timedelta(days=800))["nats_tls_key"]
    assert "its certificate ended on" in told(timedelta(days=830))["nats_tls_key"]
    assert "its certificate ends on" in told(timedelta(days=3640))["ca_key"]


def test_the_certificate_of_the_page_is_one_of_them(tmp_path: Path) -> None:
    places = msgspec.structs.replace(PLACES, operator_web=4, web_url="https://page.example.org")
    made = FileSecretStore(tmp_path / "secrets")
    secrets_of(made, places)
    server = cast("Installed", SimpleNamespace(place=SimpleNamespace(secrets=made), endpoints=places))
    assert "web_tls_key" in expiries(server)
    told = {one.name: one.why for one in wanting(server, NOW + timedelta(days=800))}
    assert "its certificate ends on" in told["web_tls_key"]


def test_a_rotation_that_was_broken_off_is_told(
    store: FileSecretStore, told: Callable[[timedelta], dict[str, str]]
) -> None:
    kept = store.versions("nats_xkey_seed")
    assert kept
    store.change("nats_xkey_seed", kept, Change.STAGE, new_seed(Role.CURVE).encode())
    assert told(timedelta(0)) == {"nats_xkey_seed": "its rotation is not at its end: repeat the command"}


def test_looking_makes_nothing(tmp_path: Path) -> None:
    empty = FileSecretStore(tmp_path / "empty")
    server = cast("Installed", SimpleNamespace(place=SimpleNamespace(secrets=empty), endpoints=PLACES))
    assert wanting(server) == []
    assert not list((tmp_path / "empty").iterdir())
