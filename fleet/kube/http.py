"""One connection to an API server. Python's own HTTP client: it is there in a hundredth of the time of a library.

A command of the admin makes a handful of requests one after another, and each command starts anew.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import ipaddress
import os
import socket
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from fleet.contract.errors import InvalidInput
from fleet.kube.exec_plugin import Credential, ask
from fleet.kube.kubeconfig import Access
from fleet.process.deadline import WHOLE, in_time
from fleet.version import VERSION

_CONNECT = 3.0
"""Seconds to connect and to agree on TLS."""
_ANSWER = 20.0
"""Seconds to wait for the next part of an answer."""


class Answer(NamedTuple):
    """A status code, what came with it, and the server's clock (HTTP's `Date`; empty where it tells none)."""

    status: int
    body: bytes
    date: str = ""


class KubeConnection:
    """Speaks to an API server as an `Access` says, from any thread. Reconnects when the connection was lost.

    Errors of the network are Python's own (`OSError`, `http.client.HTTPException`).
    """

    def __init__(self, access: Access) -> None:
        """Nothing is contacted yet.

        Raises:
            InvalidInput: the address, the proxy, the CA or our certificate is not usable.
        """
        self._access = access
        self._address = _split(access.url, "the API server's address", ("https", "http"))
        self._proxy = _proxy(access, self._address)
        self._trust = access.trust() if self._address.scheme == "https" else None
        self._credential: Credential | None = None
        self._idle: list[http.client.HTTPConnection] = []
        # Nobody closes a client; a finalizer, unlike __del__, comes before the socket complains.
        weakref.finalize(self, _close, self._idle)
        self._show(access.certificate, access.key)

    def request(self, method: str, path: str, body: bytes | None, content: str) -> Answer:
        """One request; `path` is relative to the server's URL. Refused credentials of a plugin are asked for anew.

        Raises:
            FleetError: the plugin gave no credentials, or the token's file is gone.
            Overdue: the answer had not ended after two minutes.
            OSError, http.client.HTTPException: there was no answer.
        """
        answer = self._once(method, path, body, content)
        if answer.status == HTTPStatus.UNAUTHORIZED and self._access.plugin is not None:
            self._credential = None
            answer = self._once(method, path, body, content)
        return answer

    def _once(self, method: str, path: str, body: bytes | None, content: str) -> Answer:
        headers = {"Accept": "application/json", "User-Agent": f"fleet/{VERSION}", **self._login()}
        if body is not None:
            headers["Content-Type"] = content
        # Without the login, which a person may have to confirm in a browser.
        return in_time(WHOLE, lambda: self._answer(method, path, body, headers))

    def _answer(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = self._taken()
        try:
            connection.request(method, f"{self._address.path}/{path}", body, headers)
            response = connection.getresponse()
            answer = Answer(response.status, response.read(), response.getheader("Date", ""))
        except BaseException:
            connection.close()
            raise
        if response.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def lines(self, path: str, lasts: float, refused: Callable[[int, bytes], Exception]) -> Iterator[bytes]:
        """The lines of an answer that goes on for at most `lasts` seconds, such as a watch's.

        Raises:
            Exception: what `refused` makes of another status than 200 and what came with it.
            OSError, http.client.HTTPException: there was no answer, or it broke off.
        """
        headers = {"Accept": "application/json", "User-Agent": f"fleet/{VERSION}", **self._login()}
        connection = self._connect()
        end = threading.Timer(lasts + _ANSWER, _end, [connection.sock])
        end.daemon = True
        try:
            connection.request("GET", f"{self._address.path}/{path}", None, headers)
            connection.sock.settimeout(lasts + _ANSWER)
            end.start()
            response = connection.getresponse()
            if response.status != HTTPStatus.OK:
                raise refused(response.status, response.read())
            while line := response.readline():
                yield line
        finally:
            end.cancel()
            connection.close()

    def _taken(self) -> http.client.HTTPConnection:
        """A connection that nobody uses now; what is taken from a list is one thread's only."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        made = _Connection(self._address, self._proxy)
        try:
            made.connect()
            if self._trust is not None:
                name = self._access.server_name or self._address.hostname
                made.sock = self._trust.wrap_socket(made.sock, server_hostname=name)
            made.sock.settimeout(_ANSWER)
        except BaseException:
            made.close()
            raise
        return made

    def _login(self) -> dict[str, str]:
        access = self._access
        token = access.bearer()
        if access.plugin is not None:
            token = self._plugged().token or token
        if token:
            return {"Authorization": f"Bearer {token}"}
        if access.username:
            pair = base64.b64encode(f"{access.username}:{access.password}".encode()).decode()
            return {"Authorization": f"Basic {pair}"}
        return {}

    def _plugged(self) -> Credential:
        if self._credential is None or self._credential.expired():
            assert self._access.plugin is not None
            self._credential = ask(self._access, self._access.plugin)
            if self._credential.client_certificate_data:
                _close(self._idle)
                self._show(self._credential.client_certificate_data, self._credential.client_key_data)
        return self._credential

    def _show(self, certificate: str, key: str) -> None:
        """Log in with a certificate; OpenSSL takes it from a file only, which lives for that moment (mode 0600)."""
        if not certificate or self._trust is None:
            return
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(f"{certificate}\n{key}\n")
            file.flush()
            try:
                self._trust.load_cert_chain(file.name)
            except OSError as error:
                raise InvalidInput(
                    f"the client certificate for {self._access.url}, or its key, is not usable: {error}",
                    next_step="get a fresh kubeconfig for this cluster",
                ) from error


class _Connection(http.client.HTTPConnection):
    """TCP to the server, or a tunnel to it through a proxy."""

    sock: socket.socket
    auto_open = 0
    """It would connect anew without TLS."""

    def __init__(self, address: SplitResult, proxy: SplitResult | None) -> None:
        host, port = cast("str", address.hostname), address.port or (443 if address.scheme == "https" else 80)
        if proxy is None:
            super().__init__(host, port, timeout=_CONNECT)
            return
        super().__init__(cast("str", proxy.hostname), proxy.port or 80, timeout=_CONNECT)
        login = f"{proxy.username}:{proxy.password or ''}" if proxy.username else ""
        encoded = base64.b64encode(login.encode()).decode()
        self.set_tunnel(host, port, {"Proxy-Authorization": f"Basic {encoded}"} if login else {})


def _end(connected: socket.socket) -> None:
    """Have whoever reads from it read an end, also in the midst of a TLS record."""
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _close(connections: list[http.client.HTTPConnection]) -> None:
    while connections:
        connections.pop().close()


def _split(url: str, what: str, schemes: tuple[str, ...]) -> SplitResult:
    try:
        parts = urlsplit(url)
        good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good, parts = False, urlsplit("")
    if not good:
        raise InvalidInput(f"{what} is {url!r}", next_step=f"use {schemes[0]}://HOST:PORT in the kubeconfig")
    return parts


def _proxy(access: Access, address: SplitResult) -> SplitResult | None:
    """The kubeconfig's proxy, else the environment's, as Go has it: never for this machine, NO_PROXY may hold nets."""
    url = access.proxy
    if not url and not _direct(cast("str", address.hostname)):
        url = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy") or ""
    if not url:
        return None
    return _split(url if "://" in url else f"http://{url}", "the proxy to the API server", ("http",))


def _direct(host: str) -> bool:
    try:
        number = ipaddress.ip_address(host)
    except ValueError:
        number = None
    if host == "localhost" or (number is not None and number.is_loopback):
        return True
    exceptions = os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or ""
    return any(_excepted(host, number, item.strip()) for item in exceptions.split(",") if item.strip())


def _excepted(host: str, number: ipaddress.IPv4Address | ipaddress.IPv6Address | None, rule: str) -> bool:
    if rule == "*":
        return True
    if number is not None:
        try:
            return number in ipaddress.ip_network(rule, strict=False)
        except ValueError:
            return False
    return host == rule.removeprefix(".") or host.endswith(f".{rule.removeprefix('.')}")
