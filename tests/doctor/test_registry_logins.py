"""Registries and their logins: each planted problem is found, and named with its next step."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from fleet.contract.errors import FleetError, InvalidInput, NotPermitted
from fleet.contract.objects import DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.sealed import DOCKER_CONFIG_KEY, DOCKER_CONFIG_TYPE, OPENBAO_TYPE, SEALABLE_LABEL
from fleet.contract.wire import Container
from fleet.doctor import registries
from fleet.doctor.findings import Worrying
from fleet.doctor.registries import check_registries
from fleet.kube.client import KubeClient
from harness.images.private_registry import PASSWORD, USER, Place, PrivateRegistry, private_registry
from harness.processes.ports import free_port
from harness.targets.certificates import Authority


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateRegistry]:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with private_registry(tmp_path_factory.mktemp("registry"), Place.below(authority)) as found:
        yield found


@pytest.fixture(autouse=True)
def trusting(registry: PrivateRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(registry.ca))


def secret(address: str, password: str = PASSWORD, **changes: object) -> dict[str, Any]:
    auths = {"auths": {address: {"username": USER, "password": password}}}
    made = {
        "metadata": {"name": "login", "labels": {SEALABLE_LABEL: "true"}},
        "type": DOCKER_CONFIG_TYPE,
        "data": {DOCKER_CONFIG_KEY: base64.b64encode(json.dumps(auths).encode()).decode()},
    }
    return {**made, **changes}


class Cluster:
    """Has one Secret, or none, or may not be asked."""

    def __init__(self, found: dict[str, Any] | FleetError | None) -> None:
        self._found = found

    def find(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        assert (kind, name, namespace) == ("Secret", "login", "here")
        if isinstance(self._found, FleetError):
            raise self._found
        return self._found


def look(address: str, found: dict[str, Any] | FleetError | None, *, pull_secret: str = "login") -> str:
    workload = Container(f"{address}/app:1", image_pull_secret=pull_secret)
    item = FleetDeployment(Metadata("web"), DeploymentSpec(workload))
    return check_registries(cast("KubeClient", Cluster(found)), "here", [item], time.time())


def jwt(ends: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": int(ends)}).encode()).decode().rstrip("=")
    return f"e30.{claims}.c2lnbmF0dXJl"


def test_a_registry_that_takes_the_login(registry: PrivateRegistry) -> None:
    assert look(registry.address, secret(registry.address)) == f"answering: {registry.address}"
    assert look(registry.address, None, pull_secret="") == f"answering: {registry.address}"


def test_nothing_names_an_image() -> None:
    assert check_registries(cast("KubeClient", Cluster(None)), "here", [], 0) == "no deployment names an image"


def test_a_login_that_is_refused(registry: PrivateRegistry) -> None:
    with pytest.raises(NotPermitted, match="refuses the login of the Secret login") as error:
        look(registry.address, secret(registry.address, "wrong"))
    assert "wrong" not in str(error.value.lines)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "there is no Secret login"),
        (secret("R", metadata={"name": "login"}), "is not marked"),
        (secret("R", type="Opaque"), "is of the type Opaque"),
        (secret("R", data={}), "is no configuration of logins"),
        (secret("other.example"), "has no login for the registry"),
        (secret("R", jwt(time.time() - 60)), "has ended on 2"),
    ],
    ids=["missing", "unmarked", "type", "empty", "other", "ended"],
)
def test_what_is_wrong_with_a_login_is_named(
    registry: PrivateRegistry, found: dict[str, Any] | None, words: str
) -> None:
    if found and "data" in found and found["data"]:
        data = base64.b64decode(found["data"][DOCKER_CONFIG_KEY]).replace(b'"R"', f'"{registry.address}"'.encode())
        found = {**found, "data": {DOCKER_CONFIG_KEY: base64.b64encode(data).decode()}}
    with pytest.raises(FleetError, match=words) as error:
        look(registry.address, found)
    assert not isinstance(error.value, Worrying)
    assert error.value.next_step


def test_who_may_not_read_the_secret_is_told(registry: PrivateRegistry) -> None:
    with pytest.raises(Worrying, match="you may not read the Secret login"):
        look(registry.address, NotPermitted("forbidden", next_step="ask"))


def test_a_login_that_is_in_openbao_is_not_checked_from_here(registry: PrivateRegistry) -> None:
    with pytest.raises(Worrying, match="the login of the Secret login is in OpenBao"):
        look(registry.address, secret("R", type=OPENBAO_TYPE, data={"path": "d2ViL2Ri"}))


def test_a_registry_that_does_not_answer_from_here() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(Worrying, match=f"the registry {address} does not answer from here"):
        look(address, secret(address))


def test_a_registry_that_no_name_can_be() -> None:
    """The resolver raises for it, and `fleet doctor` ended without its other findings."""
    address = f"{'a' * 64}.example"
    with pytest.raises(Worrying, match=f"the registry {address} does not answer from here"):
        look(address, secret(address))


def test_a_registry_of_an_authority_that_is_not_trusted(
    registry: PrivateRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path).certificate))
    with pytest.raises(Worrying, match="is not trusted here") as error:
        look(registry.address, secret(registry.address))
    assert f"/etc/docker/certs.d/{registry.address}/ca.crt" in error.value.next_step


@pytest.mark.parametrize("status", [404, 503])
def test_what_answers_and_is_no_registry(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def answered(*_: object, **__: object) -> AbstractContextManager[httpx.Response]:
        return nullcontext(httpx.Response(status))

    monkeypatch.setattr(registries.httpx, "stream", answered)
    with pytest.raises(Worrying, match=f"answers {status}"):
        look("r.example", secret("r.example"))


def test_a_login_that_ends_soon(registry: PrivateRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(*_: object, **__: object) -> AbstractContextManager[httpx.Response]:
        return nullcontext(httpx.Response(200))

    monkeypatch.setattr(registries.httpx, "stream", taken)
    with pytest.raises(Worrying, match=r"the login of the Secret login at r\.example ends on 2"):
        look("r.example", secret("r.example", jwt(time.time() + 3600)))
    assert look("r.example", secret("r.example", jwt(time.time() + 30 * 86_400)))


def test_a_proxy_of_a_kind_that_is_not_supported_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    item = FleetDeployment(Metadata("web"), DeploymentSpec(Container("registry.invalid/web:1")))
    with pytest.raises(InvalidInput, match="ALL_PROXY names no HTTP proxy"):
        check_registries(cast("KubeClient", Cluster(None)), "here", [item], 0)
