"""Logins where a token server stands before the registry, as Docker Hub has it: a real registry that takes tokens."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from fleet.contract.errors import FleetError, NotPermitted
from fleet.contract.image import repository_of
from fleet.contract.objects import DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.sealed import DOCKER_CONFIG_KEY, DOCKER_CONFIG_TYPE, SEALABLE_LABEL, RegistryLogin
from fleet.contract.wire import Container
from fleet.doctor.findings import Worrying
from fleet.doctor.registries import check_registries
from fleet.doctor.registry_tokens import challenges, token_for, token_server
from fleet.kube.client import KubeClient
from harness.images.private_registry import PASSWORD, USER, Place, Tokens, private_registry
from harness.processes.ports import free_port
from harness.targets.certificates import Authority
from tests.doctor.token_server import ALLOWED, IDENTITY_TOKEN, ISSUER, SERVICE, TokenServer, serving

Registry = Callable[[str], str]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    with serving(tmp_path_factory.mktemp("tokens")) as found:
        yield found


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@contextmanager
def naming(realm: str, folder: Path, authority: Authority, tokens: TokenServer) -> Generator[str]:
    """A registry that names this token server; its address."""
    what = Tokens(realm, SERVICE, ISSUER, tokens.certificate)
    with private_registry(folder, Place.below(authority), what) as found:
        yield found.address


@pytest.fixture(scope="module")
def registry(tokens: TokenServer, authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with naming(tokens.realm, tmp_path_factory.mktemp("registry"), authority, tokens) as address:
        yield address


@pytest.fixture(autouse=True)
def trusting(authority: Authority, tokens: TokenServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = tmp_path / "authorities.pem"
    both.write_text(authority.certificate.read_text() + tokens.certificate.read_text())
    monkeypatch.setenv("SSL_CERT_FILE", str(both))
    tokens.asked.clear()


class Cluster:
    """Has one Secret with a login."""

    def __init__(self, address: str, **auth: str) -> None:
        auths = {"auths": {address: auth}}
        self._secret: dict[str, Any] = {
            "metadata": {"name": "login", "labels": {SEALABLE_LABEL: "true"}},
            "type": DOCKER_CONFIG_TYPE,
            "data": {DOCKER_CONFIG_KEY: base64.b64encode(json.dumps(auths).encode()).decode()},
        }

    def find(self, *_: object) -> dict[str, Any]:
        return self._secret


def look(address: str, *, repository: str = ALLOWED, pull_secret: str = "login", **auth: str) -> str:
    cluster = Cluster(address, **(auth or {"username": USER, "password": PASSWORD}))
    workload = Container(f"{address}/{repository}:1", image_pull_secret=pull_secret)
    item = FleetDeployment(Metadata("web"), DeploymentSpec(workload))
    return check_registries(cast("KubeClient", cluster), "here", [item], time.time())


def test_a_password_that_the_token_server_takes(registry: str, tokens: TokenServer) -> None:
    assert look(registry) == f"answering: {registry}"
    (asked,) = tokens.asked
    assert f"scope=repository%3A{ALLOWED.replace('/', '%2F')}%3Apull" in asked
    assert PASSWORD not in asked


def test_an_identity_token_that_it_takes(registry: str, tokens: TokenServer) -> None:
    assert look(registry, identitytoken=IDENTITY_TOKEN) == f"answering: {registry}"
    assert tokens.asked == ["/token"], "it is in the body, and not where servers log it"


def test_an_image_for_everybody_is_no_reason_to_log_in(registry: str, tokens: TokenServer) -> None:
    assert look(registry, pull_secret="") == f"answering: {registry}"
    assert tokens.asked == []


@pytest.mark.parametrize(
    "auth",
    [{"username": USER, "password": "wrong-1d"}, {"identitytoken": "wrong-1d"}],
    ids=["password", "identity token"],
)
def test_a_login_that_the_token_server_refuses(registry: str, tokens: TokenServer, auth: dict[str, str]) -> None:
    with pytest.raises(NotPermitted, match="refuses the login of the Secret login") as error:
        look(registry, **auth)
    assert tokens.realm.split("/")[2] in error.value.what, "which server that was"
    assert "wrong-1d" not in str(error.value.lines)


def test_a_login_that_may_not_pull_this_image(registry: str) -> None:
    with pytest.raises(NotPermitted, match="may not pull private/other"):
        look(registry, repository="private/other")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/unavailable", "answers 503"),
        ("/moved", "answers 302"),
        ("/empty", "answers without a token"),
    ],
)
def test_a_token_server_that_gives_none(
    tokens: TokenServer, authority: Authority, tmp_path: Path, path: str, words: str
) -> None:
    with (
        naming(tokens.realm.replace("/token", path), tmp_path, authority, tokens) as address,
        pytest.raises(Worrying, match=words),
    ):
        look(address)
    assert len(tokens.asked) == 1, "a login is never sent on to where a redirect leads"


def test_a_token_server_that_does_not_answer(tokens: TokenServer, authority: Authority, tmp_path: Path) -> None:
    realm = f"https://127.0.0.1:{free_port()}/token"
    with naming(realm, tmp_path, authority, tokens) as address, pytest.raises(Worrying, match="does not answer"):
        look(address)


def test_a_token_server_of_an_authority_that_is_not_trusted(
    registry: str, authority: Authority, tokens: TokenServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    with pytest.raises(Worrying, match="certificate"):
        look(registry)
    assert tokens.asked == []


def test_a_password_is_never_sent_without_tls(tokens: TokenServer, authority: Authority, tmp_path: Path) -> None:
    realm = tokens.realm.replace("https:", "http:")
    with (
        naming(realm, tmp_path, authority, tokens) as address,
        pytest.raises(NotPermitted, match="has no TLS: no password was sent there"),
    ):
        look(address)
    assert tokens.asked == []


@pytest.mark.parametrize(
    "realm", ["", "ftp://r.example/", "/token", "https://", "https://user@r.example/", "https://xn--a/token"]
)
def test_what_is_no_token_server(realm: str) -> None:
    with pytest.raises(FleetError, match="is no https:// address"):
        token_server("r.example", {"realm": realm})


def test_a_token_server_that_no_name_can_be() -> None:
    """A registry names it, and the resolver raises for it: `fleet doctor` ended without its other findings."""
    server = token_server("r.example", {"realm": f"https://{'a' * 64}.example/token"})
    with pytest.raises(Worrying, match="does not answer from here"):
        token_for(server, RegistryLogin(USER, PASSWORD, "r.example", "login"), ALLOWED)


@pytest.mark.parametrize(
    ("header", "offered"),
    [
        ("", {}),
        ('Basic realm="a, b"', {"basic": {"realm": "a, b"}}),
        ('Bearer realm="https://t/x?y=1",service="s"', {"bearer": {"realm": "https://t/x?y=1", "service": "s"}}),
        ('Negotiate, Basic realm="a", bearer Realm="b", scope=c', {
            "negotiate": {}, "basic": {"realm": "a"}, "bearer": {"realm": "b", "scope": "c"},
        }),
        ('=,"', {}),
    ],
    ids=["none", "basic", "bearer", "several", "odd"],
)  # fmt: skip
def test_what_a_registry_offers(header: str, offered: dict[str, dict[str, str]]) -> None:
    found = challenges(header)
    assert {name: found.get(name) for name in offered} == offered


@pytest.mark.parametrize(
    ("image", "called"),
    [
        ("web", ("library/web", "latest")),
        ("user/web:1", ("user/web", "1")),
        ("docker.io/web:1", ("library/web", "1")),
        ("r.example:5000/a/b/c", ("a/b/c", "latest")),
        (f"r.example/web:1@sha256:{'0' * 64}", ("web", f"sha256:{'0' * 64}")),
    ],
)
def test_what_an_image_is_called_at_its_registry(image: str, called: tuple[str, str]) -> None:
    assert repository_of(image) == called
