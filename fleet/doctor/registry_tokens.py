"""Logins at registries whose tokens come from elsewhere, as Docker Hub's, GitHub's and Harbor's do.

The registry names a token server in its answer (`WWW-Authenticate: Bearer realm=…`). That server takes the login and
gives a token for one repository, and the registry takes the token (distribution, "Token Authentication Specification"
and "OAuth2 Token Authentication").
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from urllib.request import parse_http_list

import httpx
import msgspec

from fleet.contract.errors import NotPermitted
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import RegistryLogin
from fleet.doctor.findings import Worrying
from fleet.identity.proxies import check_proxies
from fleet.process.deadline import in_time
from fleet.process.failures import in_words

WITHIN = 10.0
"""Seconds for each step of a request."""
WHOLE = 20.0
"""Seconds for all of it, with the name's look-up."""
_LONGEST_ANSWER = 1024 * 1024
"""Bytes of a token server's answer."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9-]*)(?:\s+(.*))?", re.DOTALL)
REFUSED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
"""How a registry or a token server answers a login that it does not take."""
_CLIENT = "fleet-doctor"


class _Granted(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


class TokenServer(msgspec.Struct, frozen=True):
    """What a registry says of where its tokens come from."""

    registry: str
    realm: httpx.URL
    service: str

    @property
    def host(self) -> str:
        """The host and port, as people read it."""
        return self.realm.netloc.decode()


def challenges(header: str) -> dict[str, dict[str, str]]:
    """The ways to log in that a `WWW-Authenticate` header offers, by scheme in lower case (RFC 9110, 11.6.1)."""
    found: dict[str, dict[str, str]] = {}
    parameters: dict[str, str] = {}
    for part in parse_http_list(header):
        name, equals, value = part.partition("=")
        scheme = _SCHEME.fullmatch(name.strip())
        if scheme and (scheme[2] or not equals):
            parameters = found.setdefault(scheme[1].lower(), {})
            name = scheme[2] or ""
        if name.strip():
            parameters[name.strip().lower()] = value.strip().strip('"')
    return found


def token_server(registry: str, parameters: Mapping[str, str]) -> TokenServer:
    """The token server that a registry names.

    Raises:
        NotPermitted: it is to be asked without TLS.
        Worrying: none is named that can be asked.
    """
    realm = parameters.get("realm", "")
    try:
        url = httpx.URL(realm)
        host = url.host
    except (httpx.InvalidURL, UnicodeError):  # the second for a host that no name can be
        url, host = httpx.URL(""), ""
    if url.scheme == "http":
        raise NotPermitted(
            f"the registry {registry} names the token server {realm!r}, which has no TLS: no password was sent there",
            next_step="let the registry name an https:// address; an engine would send the password in clear",
        )
    if url.scheme != "https" or not host or url.userinfo:
        raise Worrying(
            f"the registry {registry} names the token server {realm!r}, which is no https:// address",
            next_step="is that a registry? its realm is in its own settings",
        )
    return TokenServer(registry, url, parameters.get("service", ""))


def token_for(server: TokenServer, login: RegistryLogin, repository: str) -> str:
    """A token with which an image of a repository may be pulled; a secret.

    The login is sent over TLS alone, to the server that the registry names, and no redirect is followed.

    Raises:
        NotPermitted: the token server refuses the login.
        Worrying: it does not answer from here, or not with a token.
    """
    asks = {"scope": f"repository:{repository}:pull"} | ({"service": server.service} if server.service else {})
    status, body = _identity_token(server, login, asks) if login.identity_token else _password(server, login, asks)
    if status in REFUSED or (login.identity_token and status == HTTPStatus.BAD_REQUEST):
        raise NotPermitted(
            f"the token server {server.host} of the registry {server.registry} refuses the login of the Secret "
            f"{login.secret}",
            next_step="put a present password or token into that Secret; devices take it within seconds",
        )
    if status != HTTPStatus.OK:
        raise Worrying(
            f"the token server {server.host} of the registry {server.registry} answers {status}",
            next_step="is it well? no device can pull with a login until it is",
        )
    try:
        granted = msgspec.json.decode(body, type=_Granted)
    except NOT_JSON:
        granted = _Granted()
    if token := granted.token or granted.access_token:
        return token
    raise Worrying(
        f"the token server {server.host} of the registry {server.registry} answers without a token",
        next_step="is it the right one? the registry's settings name it",
    )


def _password(server: TokenServer, login: RegistryLogin, asks: Mapping[str, str]) -> tuple[int, bytes]:
    url = server.realm.copy_merge_params({**asks, "account": login.username})
    return _ask(server, httpx.Request("GET", url), httpx.BasicAuth(login.username, login.password))


def _identity_token(server: TokenServer, login: RegistryLogin, asks: Mapping[str, str]) -> tuple[int, bytes]:
    form = {**asks, "grant_type": "refresh_token", "refresh_token": login.identity_token, "client_id": _CLIENT}
    return _ask(server, httpx.Request("POST", server.realm, data=form), None)


def _ask(server: TokenServer, request: httpx.Request, auth: httpx.BasicAuth | None) -> tuple[int, bytes]:
    """The status and the body of the answer, as much of it as is wanted."""
    check_proxies()

    def answered() -> tuple[int, bytes]:
        with httpx.Client(timeout=WITHIN) as client:
            answer = client.send(request, auth=auth, stream=True)
            body = b""
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > _LONGEST_ANSWER:
                    break
            answer.close()
            return answer.status_code, body

    try:
        return in_time(WHOLE, answered)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
        raise Worrying(
            f"the token server {server.host} of the registry {server.registry} does not answer from here: "
            f"{in_words(error)}",
            next_step="can devices reach it, and is its certificate trusted there? they need it for each pull",
        ) from error
