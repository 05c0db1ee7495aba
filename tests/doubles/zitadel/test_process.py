"""The double as a process: its command line, its state on disk, its log, and input that makes no sense."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.doubles.zitadel.records import JWT
from harness.errors import HarnessError
from harness.processes.spawn import http_answers, running
from harness.wait import wait_until
from tests.doubles.zitadel.idp import DEVICE_CODE, JWT_PROFILE, Idp, double_at, unique

Json = dict[str, Any]


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextlib.contextmanager
def _process(state: Path, port: int, *more: str) -> Generator[subprocess.Popen[bytes]]:
    argv = [sys.executable, "-m", "harness.doubles.zitadel", "--state", str(state), "--port", str(port), *more]
    ready = f"http://localhost:{port}/debug/ready"
    with running(argv, name="zitadel", log=state / "log", ready=lambda: http_answers(ready)) as process:
        yield process


def _about(state: Path) -> Json:
    return msgspec.json.decode((state / "log").read_text().splitlines()[0])


def _cpu_seconds(pid: int) -> float:
    """What a process has used so far: unlike the time on the wall, not the business of the machine's other work."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_it_starts_with_little_work_and_tells_paths_not_secrets(tmp_path: Path, port: int) -> None:
    with _process(tmp_path, port) as process:
        assert _cpu_seconds(process.pid) < 3
        about = _about(tmp_path)
        assert about["issuer"] == f"http://localhost:{port}"
        for name in ("adminTokenFile", "adminPasswordFile"):
            secret = Path(about[name])
            assert stat.S_IMODE(secret.stat().st_mode) == 0o600
            assert secret.read_text().strip() not in (tmp_path / "log").read_text()


def test_the_interval_of_device_codes_is_set_at_the_start(tmp_path: Path, port: int) -> None:
    with _process(tmp_path, port, "--device-interval", "2"):
        token = Path(_about(tmp_path)["adminTokenFile"]).read_text().strip()
        with httpx.Client(base_url=f"http://localhost:{port}", headers={"Authorization": f"Bearer {token}"}) as http:
            http.patch("/_double/modes", json={"deviceInterval": 9})
            assert http.delete("/_double/modes").json()["deviceInterval"] == 2


def test_what_was_answered_survives_a_kill(tmp_path: Path, port: int) -> None:
    with _process(tmp_path, port) as process:
        token = Path(_about(tmp_path)["adminTokenFile"]).read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        issuer = f"http://localhost:{port}"
        keys = httpx.get(f"{issuer}/oauth/v2/keys").json()
        made = httpx.post(f"{issuer}/management/v1/projects", json={"name": "kept"}, headers=headers).json()
        process.kill()
        process.wait()
    with _process(tmp_path, port):
        found = httpx.post(f"{issuer}/management/v1/projects/_search", json={}, headers=headers).json()
        assert [project["id"] for project in found["result"]] == [made["id"]]
        assert httpx.get(f"{issuer}/oauth/v2/keys").json() == keys
        assert Path(_about(tmp_path)["adminTokenFile"]).read_text().strip() == token


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--tls-cert", "x"], "belong together"),
        (["--tls-cert", "/nowhere", "--tls-key", "/nowhere"], "cannot use the TLS files"),
        (["--host", "192.0.2.1"], "cannot listen"),
    ],
)
def test_it_says_why_it_cannot_start(tmp_path: Path, more: list[str], said: str) -> None:
    argv = [sys.executable, "-m", "harness.doubles.zitadel", "--state", str(tmp_path), *more]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (1, True, False), done.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        argv = [sys.executable, "-m", "harness.doubles.zitadel", "--state", str(tmp_path)]
        argv += ["--port", str(taken.getsockname()[1])]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, "is taken" in done.stderr) == (1, True), done.stderr


def test_a_state_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "localhost").mkdir()
    (tmp_path / "localhost" / "state.json").write_text("{")
    with pytest.raises(HarnessError, match="not a state of the Zitadel double"), double_at(tmp_path):
        pass


def test_state_and_secrets_are_for_their_owner(double: Idp) -> None:
    assert double.double is not None
    double.project()
    files = [path for path in double.double.state.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert not [path for path in files if path.name.startswith(".")], "no half-written file is left"
    assert double.admin_token not in (double.double.state / "localhost" / "state.json").read_text()


def test_localhost_and_127_0_0_1_are_different_instances(double: Idp) -> None:
    assert double.double is not None
    other = double.double.issuer_at("127.0.0.1")
    found = double.http.get(f"{other}/.well-known/openid-configuration").json()
    assert found["issuer"] == other
    mine, theirs = (double.http.get(f"{issuer}/oauth/v2/keys").json()["keys"] for issuer in (double.issuer, other))
    assert not {key["kid"] for key in mine} & {key["kid"] for key in theirs}
    headers = {"Authorization": f"Bearer {double.admin_token}"}
    assert double.http.get(f"{other}/management/v1/orgs/me", headers=headers).status_code == 401


def test_an_unknown_host_is_no_instance(double: Idp) -> None:
    answer = double.http.get("/oauth/v2/keys", headers={"Host": "elsewhere:1"})
    assert answer.status_code == 404
    assert "Instance not found" in answer.json()["message"]


def test_an_unknown_path_and_method_answer_as_the_gateway_does(double: Idp) -> None:
    found = double.manage("GET", "/nonsense")
    assert (found.status_code, found.json()["code"]) == (404, 5)
    assert double.manage("DELETE", "/projects/_search").status_code == 405


def test_the_audit_log_names_caller_and_reason_and_holds_no_secret(tmp_path: Path) -> None:
    lines: list[Json] = []
    with double_at(tmp_path, lines.append) as idp:
        device = idp.device(idp.project())
        token = device.access_token()
        assertion = device.assertion(aud="elsewhere")
        device.ask(assertion)
        wait_until(lambda: [line["why"] for line in lines], "the audit has it", timeout=30, until=lambda w: w[-1])
    text = msgspec.json.encode(lines).decode()
    assert lines[-1] | {"method": "POST", "path": "/oauth/v2/token", "status": 400} == lines[-1]
    assert lines[-1]["why"] == "audience is not valid"
    assert device.user in {line["caller"] for line in lines}
    assert not [secret for secret in (token, assertion, idp.admin_token, device.key.key) if secret in text]


def _trust(idp: Idp) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=idp.ca)


def test_many_at_once_are_all_kept(double: Idp) -> None:
    assert double.double is not None
    before = double.double.double.store.instances["localhost"].sequence
    names = [unique("user") for _ in range(30)]

    async def all_at_once() -> list[int]:
        headers = {"Authorization": f"Bearer {double.admin_token}"}
        async with httpx.AsyncClient(base_url=double.issuer, verify=_trust(double), headers=headers) as http:
            bodies = [{"userName": name, "name": "x", "accessTokenType": JWT} for name in names]
            calls = [http.post("/management/v1/users/machine", json=body) for body in bodies]
            return [answer.status_code for answer in await asyncio.gather(*calls)]

    assert set(asyncio.run(all_at_once())) == {200}
    kept = msgspec.json.decode((double.double.state / "localhost" / "state.json").read_bytes())
    assert set(names) <= {user["user_name"] for user in kept["users"].values()}
    assert kept["sequence"] >= before + 30


PATHS = [
    "/oauth/v2/token",
    "/oauth/v2/introspect",
    "/oauth/v2/device_authorization",
    "/oidc/v1/userinfo",
    "/device",
    "/management/v1/users/machine",
    "/management/v1/users/_search",
    "/management/v1/users/1/keys",
    "/management/v1/users/grants/_search",
    "/management/v1/projects",
    "/_double/modes",
]
FORM = "application/x-www-form-urlencoded"
FIELDS = [
    "grant_type",
    "assertion",
    "device_code",
    "client_id",
    "token",
    "scope",
    "user_code",
    "login_name",
    "password",
]
VALUES = st.sampled_from([JWT_PROFILE, DEVICE_CODE, "", "a.b.c", "e30.e30.", "%00", "%ff"]) | st.text(max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["queries", "query", "limit", "name"]), inner)
    ),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "POST", "PATCH", "PUT", "DELETE"]),
    path=st.sampled_from(PATHS),
    body=st.one_of(
        st.binary(max_size=100).map(lambda data: (data, FORM)),
        st.binary(max_size=100).map(lambda data: (data, "application/json")),
        JSON.map(lambda value: (msgspec.json.encode(value), "application/json")),
        st.dictionaries(st.sampled_from(FIELDS), VALUES).map(
            lambda form: (urlencode(form, errors="surrogatepass").encode(), FORM)
        ),
    ),
    token=st.sampled_from([b"", b"Bearer", b"Bearer \xff", b"Basic !", b"Basic Og==", b"Bearer a.b.c", b"ADMIN"]),
)
def test_nonsense_is_refused_and_never_an_error_of_the_server(
    double: Idp, method: str, path: str, body: tuple[bytes, str], token: bytes
) -> None:
    secret = f"Bearer {double.admin_token}".encode() if token == b"ADMIN" else token
    headers = {b"Content-Type": body[1].encode(), **({b"Authorization": secret} if secret else {})}
    answer = double.http.request(method, path, content=body[0], headers=headers)
    assert answer.status_code < 500, answer.text


def test_a_body_without_end_is_refused(double: Idp) -> None:
    body = b"{" + b" " * 2_000_000
    answer = double.http.post("/oauth/v2/introspect", content=body, headers={"Content-Type": FORM})
    assert answer.status_code == 400
    assert double.http.get("/oauth/v2/keys").status_code == 200
