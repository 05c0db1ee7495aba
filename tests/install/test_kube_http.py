"""The connection to an API server: how it logs in, by which way it goes, and what it makes of answers."""

from __future__ import annotations

import base64
import gc
import json
import ssl
import stat
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import cast

import pytest

from fleet.contract.errors import InvalidInput, NotFound, NotPermitted
from fleet.kube import client as kube
from fleet.kube.client import KubeClient
from fleet.kube.http import KubeConnection
from fleet.kube.kubeconfig import Access, Plugin
from harness.targets.certificates import Authority
from tests.support.tls import make_tls

V1 = "client.authentication.k8s.io/v1"


class Server:
    """Answers every request with what `reply` holds, and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder / "tls")
        self.ca = self.authority.certificate.read_text()
        self.seen: list[tuple[str, str, str]] = []
        self.peers: list[object] = []
        self.reply: Callable[[str], tuple[int, bytes]] = lambda _login: (200, b"{}")
        certificate, key = self.authority.issue("api")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.admin = make_tls(folder)
        context.load_verify_locations(cadata=self.admin.ca)
        context.verify_mode = ssl.CERT_OPTIONAL
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"https://localhost:{self.port}"

    @contextmanager
    def running(self) -> Generator[Server]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                login = self.headers.get("Authorization", "")
                outer.seen.append((self.path, login, self.headers.get("Host", "")))
                assert isinstance(self.connection, ssl.SSLSocket)
                outer.peers.append(self.connection.getpeercert())
                status, body = outer.reply(login)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        return Handler


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server]:
    with Server(tmp_path).running() as running:
        yield running


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def get(access: Access, path: str = "version") -> int:
    return KubeConnection(access).request("GET", path, None, "").status


def reach(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    def found(_context: str) -> Access:
        return Access(server.url, server.ca)

    monkeypatch.setattr(kube, "access", found)


def plugin(folder: Path, *prints: object, code: int = 0, **settings: object) -> Plugin:
    """A plugin that prints its n-th argument the n-th time, then the last one."""
    for number, answer in enumerate(prints):
        (folder / f"answer-{number}").write_text(answer if isinstance(answer, str) else json.dumps(answer))
    command = folder / "login"
    command.write_text(
        "#!/bin/sh\n"
        f"cd {folder}\n"
        'echo "$KUBERNETES_EXEC_INFO $1 $EXTRA" >> asked\n'
        "n=$(wc -l < asked); f=answer-$((n - 1))\n"
        f"cat $f 2>/dev/null || cat answer-{len(prints) - 1}\n"
        f"exit {code}\n"
    )
    command.chmod(0o700)
    fields = {"command": str(command), "api_version": V1} | settings
    return Plugin(**fields)  # type: ignore[arg-type] - a test may give it anything


def credential(**status: str) -> dict[str, object]:
    return {"apiVersion": V1, "kind": "ExecCredential", "status": status}


def test_a_token_a_password_and_nothing(server: Server) -> None:
    get(Access(server.url, server.ca, token="abc"))
    get(Access(server.url, server.ca, username="me", password="pw"))
    get(Access(server.url, server.ca))
    pair = base64.b64encode(b"me:pw").decode()
    assert [login for _, login, _ in server.seen] == ["Bearer abc", f"Basic {pair}", ""]


def test_a_token_file_is_read_for_every_request(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    connection = KubeConnection(Access(server.url, server.ca, token="unused", token_file=file))
    connection.request("GET", "version", None, "")
    file.write_text("new\n")
    connection.request("GET", "version", None, "")
    assert [login for _, login, _ in server.seen] == ["Bearer old", "Bearer new"]
    file.unlink()
    with pytest.raises(NotFound, match="token"):
        connection.request("GET", "version", None, "")


def test_a_client_certificate(server: Server) -> None:
    certificate, key = server.admin.cert_file.read_text(), server.admin.key_file.read_text()
    get(Access(server.url, server.ca, certificate=certificate, key=key))
    assert "test server" in str(server.peers[0])


def test_a_client_certificate_that_is_none(server: Server) -> None:
    with pytest.raises(InvalidInput, match="client certificate"):
        KubeConnection(Access(server.url, server.ca, certificate="nonsense", key="nonsense"))


def test_the_path_of_the_address_comes_first(server: Server) -> None:
    get(Access(f"{server.url}/k8s/clusters/one", server.ca), "api/v1/namespaces?limit=1")
    assert server.seen[0][0] == "/k8s/clusters/one/api/v1/namespaces?limit=1"
    assert server.seen[0][2] == f"localhost:{server.port}"


def test_the_name_in_the_certificate_may_be_another(server: Server) -> None:
    by_address = server.url.replace("localhost", "127.0.0.1")
    assert get(Access(by_address, server.ca, server_name="localhost")) == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        get(Access(by_address, server.ca, server_name="elsewhere"))
    assert get(Access(by_address, server.ca, server_name="elsewhere", insecure=True)) == 200


def test_a_plugin_gives_a_token_and_is_asked_once(server: Server, tmp_path: Path) -> None:
    chosen = plugin(tmp_path, credential(token="t1"), args=["--for", "x"], provide_cluster_info=True)
    connection = KubeConnection(Access(server.url, server.ca, plugin=chosen))
    assert [connection.request("GET", "version", None, "").status for _ in range(2)] == [200, 200]
    assert [login for _, login, _ in server.seen] == ["Bearer t1", "Bearer t1"]
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    info = json.loads(asked.removesuffix(" --for "))
    assert info["spec"]["interactive"] is False
    assert info["spec"]["cluster"]["server"] == server.url
    assert base64.b64decode(info["spec"]["cluster"]["certificate-authority-data"]).decode() == server.ca


def test_a_plugin_is_asked_again_when_its_token_is_refused_or_expired(server: Server, tmp_path: Path) -> None:
    past = credential(token="t1", expirationTimestamp="2020-01-01T00:00:00Z")
    chosen = plugin(tmp_path, past, credential(token="t2"), credential(token="t3"))
    server.reply = lambda login: (200, b"{}") if login in {"Bearer t1", "Bearer t3"} else (401, b"{}")
    connection = KubeConnection(Access(server.url, server.ca, plugin=chosen))
    assert [connection.request("GET", "version", None, "").status for _ in range(2)] == [200, 200]
    assert [login for _, login, _ in server.seen] == ["Bearer t1", "Bearer t2", "Bearer t3"]


def test_a_plugin_may_give_a_certificate(server: Server, tmp_path: Path) -> None:
    certificate, key = server.admin.cert_file.read_text(), server.admin.key_file.read_text()
    chosen = plugin(tmp_path, credential(clientCertificateData=certificate, clientKeyData=key))
    assert get(Access(server.url, server.ca, plugin=chosen)) == 200
    assert "test server" in str(server.peers[0])


@pytest.mark.parametrize(
    ("settings", "prints", "kind", "said"),
    [
        ({"command": "/none/login", "install_hint": "get kubelogin"}, "", InvalidInput, "get kubelogin"),
        ({"api_version": "client.authentication.k8s.io/v1alpha1"}, "", InvalidInput, "v1alpha1"),
        ({"interactive_mode": "Always"}, "", NotPermitted, "no terminal"),
        ({"code": 3}, "", NotPermitted, "ended with code 3"),
        ({}, "nonsense", InvalidInput, "printed no ExecCredential"),
        ({}, credential(), NotPermitted, "gave no credentials"),
        ({}, credential(token="t") | {"apiVersion": f"{V1}beta1"}, InvalidInput, "answered in"),
    ],
)
def test_a_plugin_that_gives_nothing(
    settings: dict[str, object],
    prints: object,
    kind: type[Exception],
    said: str,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    chosen = plugin(tmp_path, prints, **settings)  # type: ignore[arg-type]
    with pytest.raises(kind, match=said):
        get(Access(server.url, server.ca, plugin=chosen))
    assert server.seen == []


@contextmanager
def proxy() -> Generator[tuple[str, list[tuple[str, str]]]]:
    """An HTTP proxy that notes what it is asked for, and refuses."""
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            asked.append((self.path, self.headers.get("Proxy-Authorization", "")))
            self.send_error(403)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{listening.server_address[1]}", asked
        finally:
            listening.shutdown()
            thread.join()


def test_a_proxy_on_the_way(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = base64.b64encode(b"me:pw").decode()
    with proxy() as (address, asked):
        with pytest.raises(OSError, match="403"):
            get(Access("https://api.example:6443", server.ca, proxy=f"http://me:pw@{address}"))
        monkeypatch.setenv("HTTPS_PROXY", address)
        with pytest.raises(OSError, match="403"):
            get(Access("https://10.1.2.3", server.ca))
        monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, .example")
        assert get(Access(server.url, server.ca)) == 200, "this machine is never reached by a proxy"
    assert asked == [("api.example:6443", f"Basic {pair}"), ("10.1.2.3:443", "")]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "10.9.9.9", "api.example", "example", "a.b.example"])
def test_no_proxy_where_the_environment_excepts(host: str, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://would-be-refused")
    monkeypatch.setenv("NO_PROXY", "10.0.0.0/8, .example")
    KubeConnection(Access(f"https://{host}", server.ca))
    with pytest.raises(InvalidInput, match="the proxy to the API server is 'socks5"):
        KubeConnection(Access("https://other", server.ca))


@pytest.mark.parametrize("url", ["", "localhost", "ftp://a", "https://", "https://a:0", "https://a:x"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidInput, match="address"):
        KubeConnection(Access(url))


def test_what_is_no_answer_of_kubernetes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, server)
    server.reply = lambda _login: (200, b"<html>welcome</html>")
    with pytest.raises(InvalidInput, match="not as Kubernetes does"):
        KubeClient().find("Namespace", "default")


def test_a_lost_connection_is_made_anew_without_a_word(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reach(monkeypatch, server)
    client = KubeClient()
    assert client.find("Namespace", "default") == {}
    (connection,) = client._connection._idle  # pyright: ignore[reportPrivateUsage]
    connection.sock.close()  # as an idle connection is lost: the next request finds it dead
    assert client.find("Namespace", "default") == {}
    assert capsys.readouterr().err == ""


def test_two_threads_ask_at_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    reach(monkeypatch, server)
    both = threading.Barrier(2, timeout=10)

    def reply(_login: str) -> tuple[int, bytes]:
        both.wait()
        return 200, b"{}"

    server.reply = reply
    client = KubeClient()
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.find, "Namespace", name) for name in ("a", "b")]
        assert [each.result() for each in asked] == [{}, {}]


def test_a_client_that_is_dropped_closes_its_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the collector of cycles finds it: warnings are errors here."""
    reach(monkeypatch, server)
    client: list[object] = [KubeClient()]
    cast("KubeClient", client[0]).find("Namespace", "default")
    client.append(client)
    del client
    gc.collect()


def test_a_key_is_never_readable_by_others(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def looked(context: ssl.SSLContext, file: str) -> None:
        modes.append(stat.S_IMODE(Path(file).stat().st_mode))
        load(context, file)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", looked)
    certificate, key = server.admin.cert_file.read_text(), server.admin.key_file.read_text()
    KubeConnection(Access(server.url, server.ca, certificate=certificate, key=key))
    assert modes == [0o600]
