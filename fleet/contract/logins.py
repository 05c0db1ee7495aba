"""Logins of registries as Kubernetes keeps them (`kubernetes.io/dockerconfigjson`), and when one ends."""

from __future__ import annotations

import base64
import binascii

import msgspec

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.image import DOCKER_HUB, HUB_NAMES, registry_of, repository_of
from fleet.contract.limits import UnixTime
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import RegistryLogin

_JWT_PARTS = 3
_VERSIONS = {"v1", "v2"}
"""Paths that belong to the address of a registry, and to no image."""
_HUB_SERVER = "https://index.docker.io/v1/"
"""What docker calls its own registry in a login."""


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


def registry_login(config: bytes, image: str, secret: str) -> RegistryLogin:
    """The login for an image at its registry, never another registry's.

    A key of `auths` may have a path. As in Kubernetes and podman, the longest one that the image is below counts. One
    that it is not below is better than none: docker looks at no path.

    Args:
        config: What the Secret holds under `.dockerconfigjson`.
        image: The reference of the image.
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
    registry, (repository, _) = registry_of(image), repository_of(image)
    best, found = -2, None
    for place, auth in auths.items():
        host, path = _parts(place)
        username, password = _pair(auth)
        if host != registry or not (username or auth.identitytoken):
            continue
        fits = len(path) if f"{repository}/".startswith(f"{path}/" if path else "") else -1
        if fits > best:
            at_hub = _HUB_SERVER if path else place
            server = at_hub if registry == DOCKER_HUB else registry
            best, found = fits, RegistryLogin(username, password, server, secret, auth.identitytoken)
    if found is None:
        raise NotFound(f"the Secret {secret} has no login for the registry {registry}", next_step="add one")
    return found


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


def _parts(place: str) -> tuple[str, str]:
    """The registry and the path that a key of `auths` names: it is a host, or an address as docker writes it."""
    host, _, path = place.removeprefix("https://").removeprefix("http://").partition("/")
    path = path.strip("/")
    return DOCKER_HUB if host in HUB_NAMES else host, "" if path in _VERSIONS else path


def _pair(auth: _Auth) -> tuple[str, str]:
    """Name and password; `auth` holds both in base64 (docker-login(1))."""
    if auth.username:
        return auth.username, auth.password
    try:
        name, _, password = base64.b64decode(auth.auth, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, password
