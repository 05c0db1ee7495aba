"""Secrets that stand for what is in OpenBao, a real one: what is read there, and what is said where it cannot be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fleet.contract.errors import NotFound
from fleet.contract.sealed import DOCKER_CONFIG_KEY, MAX_SECRET_VALUE, OPENBAO_SECRET, OPENBAO_TYPE, FromSecret
from fleet.contract.wire import Container
from fleet.operator import openbao_server
from fleet.operator.openbao import SecretSource
from fleet.operator.reconcile.secrets import SecretContents, SecretProblem, SecretSeen, secret_contents
from fleet.secrets.openbao_connection import token_of, when
from tests.support.kube import Kube
from tests.support.one_answer import http, kv, scripted
from tests.support.openbao import Bao

POLICY = 'path "secret/data/fleet/workloads/*" { capabilities = ["read"] }'
"""What docs/operations.md says that the operator needs."""


class Place:
    """A server's Secrets in Kubernetes, of which `db` stands for `web/db` below a path of this test's own."""

    def __init__(self, bao: Bao) -> None:
        self.bao = bao
        self.folder = bao.fresh()
        policy = POLICY.replace("fleet/workloads", self.folder)
        self.connection = {"url": bao.url, "path": self.folder, "ca": bao.tls.ca, "token": bao.token_for(policy)}
        self.pointer = {"path": b"web/db"}
        self.label = True
        self.account = "none"

    async def secret(self, name: str) -> SecretSeen:
        return SecretSeen("u", "1", OPENBAO_TYPE, self.label, self.pointer if self.label else {})

    async def values(self, name: str) -> Mapping[str, bytes]:
        assert name == OPENBAO_SECRET
        if not self.connection:
            raise NotFound("gone", next_step="-")
        return {key: value.encode("latin-1") for key, value in self.connection.items()}

    def put(self, path: str = "web/db", **values: object) -> None:
        self.bao.call("POST", f"secret/data/{self.folder}/{path}", {"data": values})

    def play(self, body: Callable[[SecretSource], Awaitable[None]]) -> None:
        async def go() -> None:
            source = SecretSource(self, lambda: self.account)
            try:
                async with asyncio.timeout(60):
                    await body(source)
            finally:
                await source.close()

        asyncio.run(go())

    def read(self) -> SecretSeen | SecretProblem:
        """The Secret `db`, by a source of its own."""
        found: list[SecretSeen | SecretProblem] = []

        async def body(source: SecretSource) -> None:
            found.append(await entry(source))

        self.play(body)
        return found[0]

    def contents(self, workload: Container) -> SecretContents | SecretProblem | None:
        return secret_contents(workload, {"db": self.read()})


async def entry(source: SecretSource) -> SecretSeen | SecretProblem:
    """What the Secret `db` stands for."""
    return await source.entry("db", await source.secret("db"))


TAKES = Container("a", secret_env={"PASSWORD": FromSecret("db", "password")})


@pytest.fixture
def place(bao: Bao) -> Place:
    return Place(bao)


def problem(found: SecretSeen | SecretProblem | SecretContents | None) -> SecretProblem:
    assert isinstance(found, SecretProblem), found
    return found


def test_what_is_there_is_sealed_and_each_version_of_it_is_another(place: Place) -> None:
    place.put(password="horse", port=5432)
    first = place.contents(TAKES)
    assert isinstance(first, SecretContents)
    assert first.contents.env == {"PASSWORD": "horse"}
    port = place.contents(Container("a", secret_env={"PORT": FromSecret("db", "port")}))
    assert isinstance(port, SecretContents)
    assert port.contents.env == {"PORT": "5432"}
    assert place.contents(TAKES) == first
    place.put("web/other", password="battery")
    assert place.contents(TAKES) == first, "another entry is no other version of this one"
    place.put(password="staple")
    second = place.contents(TAKES)
    assert isinstance(second, SecretContents)
    # It goes with all that OpenBao knows of it, and comes again: with the number of before.
    place.bao.call("DELETE", f"secret/metadata/{place.folder}/web/db")
    place.put(password="horse")
    place.put(password="again")
    third = place.contents(TAKES)
    assert isinstance(third, SecretContents)
    assert len({first.version, second.version, third.version}) == 3


@pytest.mark.parametrize("kind", ["text", "object"])
def test_it_may_be_the_login_of_a_registry(place: Place, kind: str) -> None:
    """As `bao kv put … .dockerconfigjson=@config.json` writes it, or as an object."""
    login = {"auths": {"r.example": {"username": "puller", "password": "horse"}}}
    written: dict[str, Any] = {DOCKER_CONFIG_KEY: login if kind == "object" else json.dumps(login)}
    place.put(**written)
    found = place.contents(Container("r.example/web", image_pull_secret="db"))
    assert isinstance(found, SecretContents)
    assert found.contents.login
    assert (found.contents.login.username, found.contents.login.password) == ("puller", "horse")


def test_the_policy_of_the_documents_is_enough_and_reads_nothing_else(place: Place) -> None:
    assert POLICY in Path("docs/operations.md").read_text()
    place.put(password="horse")
    place.bao.call("POST", f"secret/data/{place.folder}-of-others/db", {"data": {"password": "theirs"}})
    assert isinstance(place.contents(TAKES), SecretContents)
    for path in ("../of-others/db", "..", "web/../../x", "/db", "web//db", "web/db?version=1", "web/%2e%2e/x", ".", ""):
        place.pointer = {"path": path.encode()}
        found = problem(place.read())
        assert (found.reason, "must hold `path` alone" in found.message) == ("SecretUnusable", True), path
    place.pointer = {"path": b"web/db"}
    place.connection["path"] = f"{place.folder}-of-others"
    found = problem(place.read())
    assert found.reason == "SecretForbidden"
    assert "may not read it" in found.message


def test_what_is_not_there_was_deleted_or_is_too_large(place: Place) -> None:
    found = problem(place.read())
    assert (found.reason, f"has nothing at secret/{place.folder}/web/db" in found.message) == ("SecretMissing", True)
    place.put(other="horse")
    assert problem(place.contents(TAKES)).message == "the Secret db has no key password"
    place.put(password="x" * (MAX_SECRET_VALUE + 1))
    assert problem(place.contents(TAKES)).reason == "SecretTooLarge"
    place.bao.call("DELETE", f"secret/data/{place.folder}/web/db")
    found = problem(place.read())
    assert (found.reason, "version 2 of" in found.message) == ("SecretMissing", True)


CONNECTIONS: dict[str, tuple[dict[str, str], str, str]] = {
    "a token that ended": ({"token": "s.ended"}, "SecretForbidden", "expired, or never was one"),
    "two logins": ({"role": "fleet"}, "SecretUnusable", "`token` or `role`, and only one"),
    "another role": ({"token": "", "role": "fleet"}, "SecretForbidden", "refuses the login as role fleet"),
    "not over TLS": ({"url": "http://bao.example"}, "SecretUnusable", "`url`"),
    "another key": ({"password": "x"}, "SecretUnusable", "unknown field `password`"),
    "a path out of it": ({"path": "../sys"}, "SecretUnusable", "$.path"),
    "two lines": ({"token": "s.a\ns.b"}, "SecretUnusable", "$.token"),
    "no text": ({"token": "\xff"}, "SecretUnusable", "no text"),
    "no certificate": ({"ca": "none"}, "SecretUnusable", "no PEM certificate"),
    "another authority": ({"ca": ""}, "OpenBaoAway", "its certificate is not trusted: "),
    "nobody there": ({"url": "https://127.0.0.1:1"}, "OpenBaoAway", "does not answer: Connection refused"),
    "a name with two dots": ({"url": "https://openbao..example:8200"}, "SecretUnusable", "`url`"),
    "a name that is too long": ({"url": f"https://{'a' * 64}.example"}, "SecretUnusable", "`url`"),
}


@pytest.mark.parametrize("case", CONNECTIONS)
def test_a_connection_that_is_wrong_is_named_without_its_token(place: Place, case: str) -> None:
    changes, reason, words = CONNECTIONS[case]
    place.put(password="horse")
    token = place.connection["token"]
    place.connection |= changes
    place.connection = {key: value for key, value in place.connection.items() if value}
    found = problem(place.read())
    assert found.reason == reason, found.message
    assert words in found.message
    assert token not in found.message
    assert "s.ended" not in found.message
    assert "0x" not in found.message, "an object's address is another one each time"


def test_no_connection_and_an_engine_of_another_kind(place: Place) -> None:
    first = place.bao.fresh()
    place.bao.mount(first, version=1)
    place.connection |= {"mount": first, "token": place.bao.token}
    place.bao.call("POST", f"{first}/data/{place.folder}/web/db", {"password": "horse"})
    found = problem(place.read())
    assert (found.reason, "not as a key-value engine of version 2" in found.message) == ("SecretUnusable", True)
    place.connection = {}
    found = problem(place.read())
    assert (found.reason, "there is no Secret fleet-openbao" in found.message) == ("SecretUnusable", True)


def test_the_operators_account_logs_in_and_again_when_its_token_ends(place: Place, kube: Kube) -> None:
    namespace = kube.namespace()
    policy = POLICY.replace("fleet/workloads", place.folder)
    method = place.bao.accept_accounts(kube, namespace, "operator", policy)
    kube.kubectl("-n", namespace, "create", "serviceaccount", "operator")
    place.account = kube.kubectl("-n", namespace, "create", "token", "operator").strip()
    del place.connection["token"]
    place.connection |= {"role": "fleet", "auth": method}
    place.put(password="horse")

    async def body(source: SecretSource) -> None:
        for _ in range(2):
            assert isinstance(await entry(source), SecretSeen)
            place.bao.call("PUT", f"sys/leases/revoke-prefix/auth/{method}/login")

    place.play(body)
    place.account = "e30.e30.c2ln"
    found = problem(place.read())
    assert (found.reason, "refuses the login" in found.message) == ("SecretForbidden", True)
    assert place.account not in found.message


def test_it_says_when_the_token_ends_that_somebody_gave_the_operator(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openbao_server, "_LOOK_AT_TOKEN", 0.0)
    place.put(password="horse")

    async def body(source: SecretSource) -> None:
        assert await source.token() is None, "nobody needed it yet"
        await entry(source)
        found = await source.token()
        assert found
        assert 3000 < found.ttl <= 3600
        place.bao.call("POST", "auth/token/revoke", {"token": place.connection["token"]})
        assert await source.token() == found, "it says no more of it"
        place.connection["token"] = place.bao.token
        await entry(source)
        found = await source.token()
        assert found
        assert found.end(0) is None

    place.play(body)


def test_sealed_is_said_and_passes_by_itself(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_server, "_FIRST", 0.0)

    async def body(source: SecretSource) -> None:
        place.bao.seal()
        try:
            found = problem(await entry(source))
            assert (found.reason, "is sealed" in found.message) == ("OpenBaoAway", True)
        finally:
            place.bao.unseal()
        assert problem(await entry(source)).reason == "SecretMissing"
        place.put(password="horse")
        assert isinstance(await entry(source), SecretSeen)

    place.play(body)


ANSWERS = {
    "a page": (http(b"<html>"), "SecretUnusable"),
    "elsewhere": (http(b"", "307 Temporary Redirect", "Location: https://127.0.0.1:1/\r\n"), "SecretUnusable"),
    "half a letter": (kv(b'{"password":"\\ud800"}'), "SecretUnusable"),
    "no text": (kv(b'{"password":"\xff"}'), "SecretUnusable"),
    "no end of arrays": (kv(b'{"password":' + b"[" * 100_000 + b"}"), "SecretUnusable"),
    "a list": (kv(b"[]"), "SecretUnusable"),
    "too much": (kv(b'{"password":"' + b"x" * 2**21 + b'"}'), "SecretTooLarge"),
    "nothing": (b"", "OpenBaoAway"),
    "no HTTP": (b"220 mail\r\n", "OpenBaoAway"),
    "half of it": (http(b"{}", more="Content-Encoding: gzip\r\n"), "OpenBaoAway"),
    "no header": (http(b"", more="A\x00B: x\r\n"), "OpenBaoAway"),
    "a long story": (http(b'{"errors":["' + b"x" * 2**20 + b'"]}', "400 Bad Request"), "SecretUnusable"),
    "busy": (http(b"", "429 Too Many Requests"), "OpenBaoAway"),
    "broken": (http(b'{"errors":["disk"]}', "500 Internal Server Error"), "OpenBaoAway"),
}


@pytest.mark.parametrize("case", ANSWERS)
def test_whatever_answers_ends_nothing_but_this_one(place: Place, case: str) -> None:
    answer, reason = ANSWERS[case]

    async def body(source: SecretSource) -> None:
        async with scripted(answer) as (url, _):
            place.connection = {"url": url, "path": "x", "token": "s.x"}
            found = problem(await entry(source))
            assert found.reason == reason
            assert len(found.message) < 1000, "Kubernetes takes no status with a megabyte of it"
            assert found.message.isprintable()
            assert "Error" not in found.message, "no class of a library is named"

    place.play(body)


@pytest.mark.parametrize("token", ["", "s.a\\nHost: b", "s.\\u0000", "s.\\ud800", "x" * 5000])
def test_a_token_that_cannot_be_sent_is_none(place: Place, token: str) -> None:
    """aiohttp raises for it, and with that the operator ended."""

    async def body(source: SecretSource) -> None:
        async with scripted(http(f'{{"auth":{{"client_token":"{token}"}}}}'.encode())) as (url, _):
            place.connection = {"url": url, "path": "x", "role": "fleet"}
            found = problem(await entry(source))
            assert (found.reason, "it gives no token" in found.message) == ("SecretForbidden", True)

    place.play(body)


@pytest.mark.parametrize(
    "said",
    [
        '{"ttl": 1, "expire_time": "0001-01-01T00:00:00"}',
        '{"ttl": 1, "expire_time": "9999-12-31T23:59:59-14:00"}',
        '{"ttl": -1000000000000, "expire_time": "soon"}',
        '{"ttl": 1000000000000, "expire_time": "never"}',
        f'{{"ttl": {"9" * 400}}}',
    ],
)
def test_whatever_is_said_of_a_token_can_be_shown(said: str) -> None:
    """What is no time ended the operator."""
    found = token_of(f'{{"data": {said}}}'.encode())
    if found is not None and (end := found.end(1.0e9)) is not None:
        assert when(end).endswith(" UTC")
        assert found.ends_soon in {True, False}


def test_one_that_says_nothing_is_given_up(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_server, "_TIMEOUT", aiohttp.ClientTimeout(sock_read=0.1))

    async def body(source: SecretSource) -> None:
        async with scripted(b"", ends=False) as (url, _):
            place.connection = {"url": url, "path": "x", "token": "s.x"}
            assert problem(await entry(source)).reason == "OpenBaoAway"

    place.play(body)


def test_one_that_is_away_is_left_alone_for_a_while(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openbao_server, "_FIRST", 3600.0)
    monkeypatch.setattr(openbao_server, "_LONGEST", 3600.0)

    async def body(source: SecretSource) -> None:
        async with scripted(http(b"", "429 Too Many Requests")) as (url, asked):
            place.connection = {"url": url, "path": "x", "token": "s.x"}
            first = problem(await entry(source))
            assert (first.reason, await entry(source)) == ("OpenBaoAway", first)
            assert asked == [1]
            place.connection["token"] = "s.other"
            assert problem(await entry(source)).reason == "OpenBaoAway"
            assert asked == [2], "another connection is tried at once"

    place.play(body)
