"""What wants attention is told from the store alone, a month ahead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from fleet.contract.config import OperatorConfig
from fleet.contract.wire import decode
from fleet.install import tls
from fleet.install.authority import Authority
from fleet.install.identity import PROVIDER_SECRETS
from fleet.install.plan import Install, ServerSettings
from fleet.install.secrets import RouteSecrets
from fleet.install.server import plan_of, secrets_of
from fleet.nats.keys import Role, new_seed
from fleet.rotation.ground import Installed
from fleet.rotation.provider import Provider
from fleet.rotation.soon import AHEAD, expiries, wanting
from fleet.secrets.file import FileSecretStore
from fleet.secrets.store import Change
from fleet.topology.capabilities import Endpoint, Endpoints, IdentityEndpoints, ServerPlace

NATS = Endpoint("nats.example.org", 4222)
PLACES = Endpoints("127.0.0.1", NATS, NATS, 1, 2, 3)
SETTINGS = ServerSettings("here", "https://id.example.org", "", "1", "2", "v0.1.0")
NOW = datetime.now(UTC)


def served(store: FileSecretStore, places: Endpoints = PLACES, settings: ServerSettings = SETTINGS) -> Installed:
    """A server as far as it is asked here."""
    place = SimpleNamespace(secrets=store)
    provider = Provider(settings, cast("ServerPlace", place), places)
    return cast("Installed", SimpleNamespace(place=place, endpoints=places, provider=provider))


@pytest.fixture
def store(tmp_path: Path) -> FileSecretStore:
    made = FileSecretStore(tmp_path / "secrets")
    secrets_of(made, PLACES)
    return made


@pytest.fixture
def told(store: FileSecretStore) -> Callable[[timedelta], dict[str, str]]:
    """What is told some time from now."""
    server = served(store)
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
    server = served(made, places)
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
    server = served(empty)
    assert wanting(server) == []
    assert not list((tmp_path / "empty").iterdir())


def test_the_secrets_of_a_bundled_provider_are_told_and_measured_too(tmp_path: Path) -> None:
    store = FileSecretStore(tmp_path / "bundled")
    places = msgspec.structs.replace(
        PLACES, identity=IdentityEndpoints(Endpoint("zitadel", 8), Endpoint("postgres", 9))
    )
    settings = msgspec.structs.replace(SETTINGS, bundled_identity=True)
    operator = plan_of(Install(settings, ""), store, places).services[-1]
    ages = {one.name: one for one in decode(operator.files["operator.json"], OperatorConfig).secret_ages}
    end = expiries(served(store, places, settings))["zitadel_tls_key"]
    assert timedelta(days=800) < end - NOW < timedelta(days=830)
    assert ages["zitadel_tls_key"].ends == int(end.timestamp())
    assert all(ages[name].made for name in PROVIDER_SECRETS)
    later = NOW + timedelta(days=366)
    found = {one.name: one.why for one in wanting(served(store, places, settings), later)}
    assert all("it was due on" in found[name] for name in PROVIDER_SECRETS)
    dropped = {one.name for one in wanting(served(store, places), later)}
    assert not dropped & {"ca_key", *PROVIDER_SECRETS}, "nobody can rotate them"


def test_of_the_certificates_of_a_key_the_first_end_counts(
    store: FileSecretStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that servers of NATS show each other may be older: only the other one names the address for devices."""
    secrets = secrets_of(store, PLACES)
    monkeypatch.setattr(tls, "_SERVER_VALID", timedelta(days=100))
    route = Authority.of(store).certificate("nats_route_cert", secrets.nats_key, ["nats-0"], client=True)
    several = msgspec.structs.replace(secrets, routes=RouteSecrets("", route, frozenset[str]()))
    assert several.ending == {**secrets.ending, "nats_tls_key": tls.ends(route)}
    assert tls.ends(route) < secrets.ending["nats_tls_key"]
