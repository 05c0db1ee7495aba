"""What a deployment takes from Secrets: whether it is there, and what is to be sealed. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.logins import registry_login
from fleet.contract.pod import Pod
from fleet.contract.sealed import (
    DOCKER_CONFIG_KEY,
    DOCKER_CONFIG_TYPE,
    MAX_SECRET_VALUE,
    Contents,
    FromSecret,
    RegistryLogin,
    withheld,
)
from fleet.contract.wire import Container
from fleet.contract.workload import ContainerFields

_LONGEST_VARIABLE = 32_768
"""Characters of an environment variable, as in a deployment."""
_SEAL = 512
"""Bytes for the seal, its key and its version, with room."""


OPENBAO_AWAY = "OpenBaoAway"
"""The reason of a problem that passes by itself: what was read before remains good."""


class SecretProblem(msgspec.Struct, frozen=True):
    """Why a deployment's secrets cannot be sealed: nothing is changed on any device for it.

    One that `waits` is no failure: it ends when the device is heard.
    """

    reason: str
    message: str
    waits: bool = False


class SecretSeen(msgspec.Struct, frozen=True):
    """A Secret as it was read last. Its values are secrets."""

    uid: str
    resource_version: str
    type: str
    sealable: bool
    data: Mapping[str, bytes]

    def __repr__(self) -> str:
        return f"SecretSeen(uid={self.uid!r}, resource_version={self.resource_version!r})"


class SecretContents(msgspec.Struct, frozen=True):
    """What a deployment takes, and the version of it: see `fleet.contract.sealed.Sealed`."""

    version: str
    contents: Contents


Secrets = Mapping[str, "SecretSeen | SecretProblem"]
"""What is known of each Secret that a deployment names, by its name; one that is not in it has not been read yet."""


class _Lacking(Exception):  # noqa: N818 - carries an answer
    def __init__(self, reason: str, message: str) -> None:
        self.problem = SecretProblem(reason, message)


def named(workload: Container | Pod) -> frozenset[str]:
    """The Secrets that a workload names."""
    return frozenset(name for part in workload.parts.values() for name in _named(part))


def _named(part: ContainerFields) -> set[str]:
    sources = [*part.secret_env.values(), *(file.secret for file in part.files if file.secret)]
    return {*(source.name for source in sources), part.image_pull_secret} - {""}


def secret_contents(workload: Container | Pod, secrets: Secrets) -> SecretContents | SecretProblem | None:
    """What a workload takes, or why that cannot be sealed; None where it takes nothing."""
    names = sorted(named(workload))
    if not names:
        return None
    try:
        seen = {name: _seen(name, secrets) for name in names}
        contents = _contents(workload, seen)
    except _Lacking as lacking:
        return lacking.problem
    versions = "\n".join(f"{name} {secret.uid} {secret.resource_version}" for name, secret in seen.items())
    return SecretContents(hashlib.sha256(versions.encode()).hexdigest()[:16], contents)


def _contents(workload: Container | Pod, seen: Mapping[str, SecretSeen]) -> Contents:
    if isinstance(workload, Container):
        return _of_container(workload, seen)
    parts = workload.parts.items()
    return Contents(containers={name: _of_container(part, seen) for name, part in parts if part.takes_secrets})


def _of_container(part: ContainerFields, seen: Mapping[str, SecretSeen]) -> Contents:
    return Contents(
        env={name: _variable(name, source, seen) for name, source in part.secret_env.items()},
        files={file.path: _value(file.secret, seen) for file in part.files if file.secret},
        login=_login(part, seen) if part.image_pull_secret else None,
    )


def sealed_size(contents: Contents) -> int:
    """Bytes that the contents take in what a device is sent: sealed, and in base64."""
    return (len(msgspec.json.encode(contents)) + _SEAL) * 4 // 3 + _SEAL


def _seen(name: str, secrets: Secrets) -> SecretSeen:
    secret = secrets.get(name)
    if secret is None:
        raise _Lacking("SecretNotRead", f"the Secret {name} has not been read yet")
    if isinstance(secret, SecretProblem):
        raise _Lacking(secret.reason, secret.message)
    if not secret.sealable:
        raise _Lacking("SecretNotSealable", withheld(name))
    return secret


def _value(source: FromSecret, seen: Mapping[str, SecretSeen]) -> bytes:
    value = seen[source.name].data.get(source.key)
    if value is None:
        raise _Lacking("SecretMissing", f"the Secret {source.name} has no key {source.key}")
    if len(value) > MAX_SECRET_VALUE:
        raise _Lacking(
            "SecretTooLarge",
            f"{source.key} of the Secret {source.name} has {len(value)} bytes, more than {MAX_SECRET_VALUE}",
        )
    return value


def _variable(name: str, source: FromSecret, seen: Mapping[str, SecretSeen]) -> str:
    where = f"{source.key} of the Secret {source.name}"
    data = _value(source, seen)
    if len(data) > _LONGEST_VARIABLE:
        raise _Lacking("SecretTooLarge", f"{where} has {len(data)} bytes: {name} can hold {_LONGEST_VARIABLE}")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise _Lacking("SecretUnusable", f"{where} is no text, so it cannot be the variable {name}: take it as a file")
    return text


def _login(workload: ContainerFields, seen: Mapping[str, SecretSeen]) -> RegistryLogin:
    name = workload.image_pull_secret
    secret = seen[name]
    if secret.type != DOCKER_CONFIG_TYPE:
        raise _Lacking("SecretUnusable", f"the Secret {name} is of the type {secret.type}, not {DOCKER_CONFIG_TYPE}")
    try:
        return registry_login(_value(FromSecret(name, DOCKER_CONFIG_KEY), seen), workload.image, name)
    except (InvalidInput, NotFound) as error:
        raise _Lacking("SecretUnusable", error.what) from None
