"""Logins of registries as Kubernetes keeps them (`kubernetes.io/dockerconfigjson`), and when one ends."""

from __future__ import annotations

import base64
import binascii

import msgspec

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.image import DOCKER_HUB, HUB_NAMES
from fleet.contract.limits import UnixTime
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import RegistryLogin

_JWT_PARTS = 3


class _Auth(msgspec.Struct, frozen=True):
    username: str = ""
    password: str = ""
    auth: str = ""
    identitytoken: str = ""


class _DockerConfig(msgspec.Struct, frozen=True):
    auths: dict[str, _Auth] = {}


class _Claims(msgspec.Struct, frozen=True):
    exp: UnixTime


class _EcrToken(msgspec.Struct, frozen=True):
    payload: str
    expiration: UnixTime


def registry_login(config: bytes, registry: str, secret: str) -> RegistryLogin:
    """The login for one registry, never another's.

    Args:
        config: What the Secret holds under `.dockerconfigjson`.
        registry: As `registry_of` names it.
        secret: The Secret's name, for people.

    Raises:
        InvalidInput: it is no configuration of logins.
        NotFound: it has no login for this registry.
    """
    try:
        auths = msgspec.json.decode(config, type=_DockerConfig).auths
    except NOT_JSON:
        raise InvalidInput(
            f"the Secret {secret} is no configuration of logins",
            next_step="make it with `kubectl create secret docker-registry`",
        ) from None
    for place, auth in auths.items():
        if _host(place) != registry:
            continue
        username, password = _pair(auth)
        if username or auth.identitytoken:
            server = place if _host(place) == DOCKER_HUB else registry
            return RegistryLogin(username, password, server, secret, auth.identitytoken)
    raise NotFound(f"the Secret {secret} has no login for the registry {registry}", next_step="add one")


def login_ends(login: RegistryLogin) -> float | None:
    """When a login ends by its own words, Unix seconds; None where it does not say, as a password does not.

    Told are tokens that are JSON Web Tokens with `exp` (RFC 7519), as Azure's and GitLab's are, and the passwords of
    Amazon's registry, which are JSON with `expiration` in base64. Their signatures are not checked: only the registry
    can, and what is said here is for people.
    """
    ends = [_ends(secret) for secret in (login.password, login.identity_token)]
    return min((end for end in ends if end is not None), default=None)


def _ends(token: str) -> float | None:
    parts = token.split(".")
    try:
        if len(parts) == _JWT_PARTS:
            return msgspec.json.decode(_decoded(parts[1]), type=_Claims).exp
        return msgspec.json.decode(_decoded(token), type=_EcrToken).expiration
    except (*NOT_JSON, binascii.Error, ValueError):
        return None


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _host(place: str) -> str:
    """The registry that a key of `auths` names: a host, or an address as docker writes it for its own hub."""
    host = place.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DOCKER_HUB if host in HUB_NAMES else host


def _pair(auth: _Auth) -> tuple[str, str]:
    """Name and password; `auth` holds both in base64 (docker-login(1))."""
    if auth.username:
        return auth.username, auth.password
    try:
        name, _, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password
