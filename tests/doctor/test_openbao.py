"""The OpenBao of workloads, a real one: each planted problem is found, and named with its next step."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
import trustme

from fleet.contract.errors import FleetError, NotPermitted
from fleet.contract.objects import DeploymentSpec, FleetDeployment, Metadata
from fleet.contract.sealed import OPENBAO_SECRET, OPENBAO_TYPE, SEALABLE_LABEL, FromSecret
from fleet.contract.wire import Container
from fleet.doctor import openbao_asker
from fleet.doctor.findings import Finding, State, found
from fleet.doctor.openbao import check_openbao
from fleet.kube.client import KubeClient
from harness.processes.ports import free_port
from tests.support.issuer import Issuer
from tests.support.kube import Kube
from tests.support.openbao import Bao
from tests.support.tls import Tls


def secret(name: str, kind: str = "Opaque", /, mark: str = "true", **data: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {SEALABLE_LABEL: mark}},
        "type": kind,
        "data": {key: base64.b64encode(value.encode("latin-1")).decode() for key, value in data.items()},
    }


class Cluster:
    """Has these Secrets, or may not be asked."""

    def __init__(self, *secrets: dict[str, Any], error: FleetError | None = None) -> None:
        self._secrets = {one["metadata"]["name"]: one for one in secrets}
        self._error = error

    def find(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        assert (kind, namespace) == ("Secret", "here")
        if self._error:
            raise self._error
        return self._secrets.get(name)

    def list_raw(self, kind: str, namespace: str, query: str) -> Iterator[bytes]:
        assert query == "fieldSelector=type%3Dfleet.nationtech.io%2Fopenbao"
        yield from (json.dumps(one).encode() for one in self._secrets.values() if one["type"] == OPENBAO_TYPE)


TAKES = FleetDeployment(
    Metadata("web"), DeploymentSpec(Container("a", secret_env={"PASSWORD": FromSecret("db", "password")}))
)


class Place:
    """A server's Secrets: the deployment `web` takes `db`, which stands for `web/db` in a real OpenBao."""

    def __init__(self, bao: Bao) -> None:
        self.bao = bao
        self.folder = bao.fresh()
        self.policy = f'path "secret/data/{self.folder}/*" {{ capabilities = ["read"] }}'
        self.said = {
            "url": bao.url,
            "path": self.folder,
            "ca": bao.tls.ca,
            "token": bao.token_for(self.policy, ttl="30d"),
        }
        self.pointer: dict[str, Any] | None = secret("db", OPENBAO_TYPE, path="web/db")
        self.now = time.time()

    def look(self, **changes: str) -> Finding:
        self.said = {name: value for name, value in {**self.said, **changes}.items() if value}
        secrets = [secret(OPENBAO_SECRET, **self.said)] if self.said else []
        secrets += [self.pointer] if self.pointer else []
        return look(Cluster(*secrets), [TAKES], self.now)


def look(cluster: Cluster, deployments: list[FleetDeployment], now: float) -> Finding:
    return found("openbao", lambda: check_openbao(cast("KubeClient", cluster), "here", deployments, now))


@pytest.fixture
def place(bao: Bao) -> Place:
    return Place(bao)


def test_one_that_is_well_says_until_when(place: Place) -> None:
    finding = place.look()
    end = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}"
    assert (finding.state, finding.next) == (State.OK, ""), finding
    assert finding.says.startswith(f"{place.bao.url} is unsealed and takes the operator's login, until {end}")


def test_nothing_is_in_openbao() -> None:
    finding = look(Cluster(), [TAKES], 0)
    assert (finding.state, finding.says) == (State.OK, "no Secret stands for what is in OpenBao")


def test_who_may_not_read_the_secrets_is_told() -> None:
    finding = look(Cluster(error=NotPermitted("forbidden", next_step="ask")), [TAKES], 0)
    assert (finding.state, finding.next) == (State.WARNING, "ask")


def no_connection(place: Place) -> Finding:
    place.said = {}
    return place.look()


def not_marked(place: Place) -> Finding:
    place.pointer = secret("db", OPENBAO_TYPE, mark="no", path="web/db")
    return place.look()


def another_path(place: Place) -> Finding:
    place.pointer = secret("db", OPENBAO_TYPE, path="../db")
    return place.look()


def of_others(place: Place) -> Finding:
    return place.look(path=f"{place.folder}-of-others")


def sealed(place: Place) -> Finding:
    place.bao.seal()
    try:
        return place.look()
    finally:
        place.bao.unseal()


def revoked(place: Place) -> Finding:
    place.bao.call("POST", "auth/token/revoke", {"token": place.said["token"]})
    return place.look()


def ends_soon(place: Place) -> Finding:
    """As one of ten days that has two left."""
    token = place.bao.token_for(place.policy, ttl="10d")
    place.bao.call("POST", "auth/token/renew-self", {"increment": "2d"}, token=token)
    return place.look(token=token)


def few_uses(place: Place) -> Finding:
    return place.look(token=place.bao.token_for(place.policy, ttl="30d", num_uses=9))


def without_default(place: Place) -> Finding:
    return place.look(token=place.bao.token_for(place.policy, no_default_policy=True))


def version_one(place: Place) -> Finding:
    mount = place.bao.fresh()
    place.bao.mount(mount, version=1)
    return place.look(mount=mount, token=place.bao.token)


PLANTED: dict[str, tuple[Callable[[Place], Finding], State, str]] = {
    "no connection": (
        no_connection,
        State.FAILED,
        "stands for what is in OpenBao, and there is no Secret",
    ),
    "not marked": (not_marked, State.FAILED, "the Secret db is not marked"),
    "another path": (another_path, State.FAILED, "the Secret db stands for what is in OpenBao: it must hold `path`"),
    "sealed": (sealed, State.FAILED, "is sealed"),
    "revoked": (revoked, State.FAILED, "does not take the operator's token"),
    "no token": (lambda place: place.look(token="s.never"), State.FAILED, "does not take the operator's token"),
    "ends soon": (ends_soon, State.WARNING, f"the token in the Secret {OPENBAO_SECRET} ends on 2"),
    "few uses": (few_uses, State.WARNING, "can be used"),
    "without default": (without_default, State.WARNING, "may not ask about itself"),
    "root": (lambda place: place.look(token=place.bao.token), State.WARNING, "has a root token"),
    "of others": (of_others, State.FAILED, "may not read secret/data/"),
    "no mount": (lambda place: place.look(mount="nowhere"), State.FAILED, "has no mount 'nowhere'"),
    "version one": (version_one, State.FAILED, "is no key-value engine of version 2 (kv 1)"),
    "another authority": (
        lambda place: place.look(ca=trustme.CA().cert_pem.bytes().decode()),
        State.FAILED,
        "is not trusted: ",
    ),
    "no authority": (lambda place: place.look(ca=""), State.WARNING, "is not trusted here"),
    "no certificate": (lambda place: place.look(ca="none"), State.FAILED, "is no PEM certificate"),
    "nobody there": (lambda place: place.look(url=f"https://127.0.0.1:{free_port()}"), State.WARNING, "from here"),
    "without TLS": (lambda place: place.look(url="http://127.0.0.1:1"), State.WARNING, "without TLS"),
    "another address": (lambda place: place.look(url="http://bao.example"), State.FAILED, "`url`"),
    "two logins": (lambda place: place.look(role="fleet"), State.FAILED, "`token` or `role`"),
    "a second key": (lambda place: place.look(password="x"), State.FAILED, "unknown field `password`"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_wrong_is_named(place: Place, case: str) -> None:
    plant, state, words = PLANTED[case]
    token = place.said["token"]
    finding = plant(place)
    assert finding.state is state, finding
    assert words in finding.says
    assert finding.next
    assert token not in str(finding), "a secret"


def test_a_short_token_that_is_renewed_all_the_time_is_no_trouble(place: Place) -> None:
    assert place.look(token=place.bao.token_for(place.policy, ttl="1h")).state is State.OK


def test_the_operators_account_logs_in_and_leaves_no_login(
    place: Place, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real API server, which selects Secrets by their type."""
    monkeypatch.setenv("KUBECONFIG", str(kube.kubeconfig))
    namespace = kube.namespace()
    kube.kubectl("-n", namespace, "create", "serviceaccount", "fleet-operator")
    method = place.bao.accept_accounts(kube, namespace, "fleet-operator", place.policy)
    del place.said["token"]
    place.said |= {"role": "fleet", "auth": method}
    for one in (secret(OPENBAO_SECRET, **place.said), place.pointer, secret("beside", password="x")):
        item = {"apiVersion": "v1", "kind": "Secret", **(one or {})}
        kube.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(item))

    def checked() -> Finding:
        return found("openbao", lambda: check_openbao(KubeClient(), namespace, [TAKES], time.time()))

    finding = checked()
    assert (finding.state, finding.says) == (
        State.OK,
        f"{place.bao.url} is unsealed and takes the operator's login",
    )
    assert place.bao.logins(method) == []
    place.bao.call("DELETE", f"auth/{method}/role/fleet")
    finding = checked()
    assert (finding.state, "refuses the login of the operator as role fleet" in finding.says) == (State.FAILED, True)


class Played(Issuer):
    """An OpenBao with a certificate of a test's own, which takes any token."""

    status_of_seal = b'{"sealed":false,"initialized":true}'
    about_token = b'{"data":{"ttl":0,"policies":["read"]}}'

    def answer(self, path: str) -> dict[str, Any]:
        answers = {
            "/v1/sys/seal-status": self.status_of_seal,
            "/v1/auth/token/lookup-self": self.about_token,
            "/v1/sys/internal/ui/mounts/secret": b'{"data":{"type":"kv","options":{"version":"2"}}}',
        }
        return msgspec.json.decode(answers[path])


Play = Callable[..., Finding]


@pytest.fixture
def play(tmp_path: Path) -> Iterator[Play]:
    """Look at a played one."""
    started: list[Played] = []

    def look_at(
        begins: float = -1, ends: float = 90, name: str = "localhost", *, hangs: bool = False, **changes: object
    ) -> Finding:
        authority, now = trustme.CA(), datetime.now(UTC)
        leaf = authority.issue_cert(name, not_before=now + timedelta(begins), not_after=now + timedelta(ends))
        tls = Tls(authority.cert_pem.bytes().decode(), tmp_path / "crt", tmp_path / "key")
        leaf.cert_chain_pems[0].write_to_path(tls.cert_file)
        leaf.private_key_pem.write_to_path(tls.key_file)
        started.append(made := Played(tls))
        if hangs:
            made.go_on.clear()
        for key, value in changes.items():
            setattr(made, key, value)
        said = secret(OPENBAO_SECRET, url=made.url, path="x", ca=tls.ca, token="s.x")
        return look(Cluster(said), [], time.time())

    yield look_at
    for one in started:
        one.stop()


@pytest.mark.parametrize(
    ("dates", "state", "words"),
    [
        ((-1.0, 90.0), State.OK, "is unsealed and takes the operator's login"),
        ((-1.0, 9.0), State.WARNING, "the certificate of https://localhost:"),
        ((-9.0, -1.0), State.FAILED, "has ended"),
        ((1.0, 9.0), State.FAILED, "has not begun"),
    ],
    ids=["well", "soon", "ended", "not begun"],
)
def test_the_dates_of_its_certificate(play: Play, dates: tuple[float, float], state: State, words: str) -> None:
    finding = play(*dates)
    assert (finding.state, words in finding.says) == (state, True), finding


def test_its_certificate_is_for_another_name(play: Play) -> None:
    finding = play(name="bao.example")
    assert (finding.state, "is not trusted: Hostname mismatch" in finding.says) == (State.FAILED, True), finding


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        ({"status_of_seal": b'{"sealed":true,"initialized":false}'}, State.FAILED, "was never initialised"),
        ({"status_of_seal": b'{"page":1}'}, State.FAILED, "answers sys/seal-status not as OpenBao does"),
        ({"status": 503}, State.WARNING, "it answers sys/seal-status with 503"),
    ],
    ids=["new", "another program", "busy"],
)
def test_what_else_it_may_answer(play: Play, changes: dict[str, object], state: State, words: str) -> None:
    finding = play(**changes)
    assert (finding.state, words in finding.says, bool(finding.next)) == (state, True, True), finding


def test_one_that_says_nothing_is_given_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_asker, "_WITHIN", 0.2)
    finding = play(hangs=True)
    assert (finding.state, "does not answer from here" in finding.says) == (State.WARNING, True), finding
