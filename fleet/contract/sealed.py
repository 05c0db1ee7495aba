"""What a workload takes from Kubernetes' Secrets, and how a device is sent it: sealed, for this device alone to open.

The seal is HPKE (RFC 9180) with X25519, HKDF-SHA256 and ChaCha20-Poly1305; `fleet/sealing` makes and opens it.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from fleet.contract.limits import Id

SEALABLE_LABEL = "fleet.nationtech.io/sealable"
"""A Secret with this label, of the value `true`, may be read by the operator, and sent to devices."""
DOCKER_CONFIG_TYPE = "kubernetes.io/dockerconfigjson"
"""The type of a Secret with logins of registries (Kubernetes, "Types of Secret")."""
DOCKER_CONFIG_KEY = ".dockerconfigjson"
OPENBAO_TYPE = "fleet.nationtech.io/openbao"
"""The type of a Secret that holds nothing but a path: its values are in OpenBao, and the operator reads them there."""
OPENBAO_PATH_KEY = "path"
OPENBAO_SECRET = "fleet-openbao"  # noqa: S105 - its name
"""The Secret that says which OpenBao that is, and how the operator logs in there."""
MAX_SECRET_VALUE = 256 * 1024
"""Bytes of one value that a device is sent."""

MAX_SEALED = 512 * 1024
"""Bytes of all that is sealed for one deployment."""

_NAME = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
SecretName = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=rf"^{_NAME}\Z")]
"""As Kubernetes names Secrets: a DNS subdomain (RFC 1123)."""
OptionalSecretName = Annotated[str, msgspec.Meta(max_length=253, pattern=rf"^({_NAME})?\Z")]
SecretKey = Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+\Z")]
SealingKey = Annotated[str, msgspec.Meta(max_length=44, pattern=r"^([A-Za-z0-9+/]{43}=)?\Z", extra={"whole": True})]
"""The public half of a device's sealing key: 32 bytes of X25519 (RFC 7748), in base64."""


_WITHHELD = "the Secret {} is not marked as one that devices may have: "
_WITHHELD_NAME = re.compile(_WITHHELD.format(f"({_NAME})"))


def mark_sealable(secret: str) -> str:
    """The command by which an admin marks a Secret as one that devices may have."""
    return f"kubectl label secret {secret} {SEALABLE_LABEL}=true"


def withheld(secret: str) -> str:
    """What to say where a workload takes a Secret that is not marked."""
    return f"{_WITHHELD.format(secret)}{mark_sealable(secret)}"


def withheld_name(message: str) -> str:
    """The Secret that `withheld` was said of; empty if the message is another one.

    Only what the operator itself wrote may be read by this: a device could name any Secret.
    """
    match = _WITHHELD_NAME.match(message)
    return match[1] if match and message.startswith(withheld(match[1])) else ""


class FromSecret(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, forbid_unknown_fields=True):
    """One value of a Secret in the namespace of the deployment."""

    name: SecretName
    key: SecretKey


class Sealed(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """`Contents`, sealed for one device and one deployment.

    `key` is the device's public key that it was sealed for. `version` tells which states of which Secrets it holds, by
    their names and resource versions, and nothing of what is in them. `data` is empty in a decision that was not
    carried out yet.
    """

    key: SealingKey
    version: Id
    data: Annotated[bytes, msgspec.Meta(max_length=MAX_SEALED)] = b""


class RegistryLogin(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How the engine logs in at the registry of the workload's image; a secret (Docker Engine API, `AuthConfig`)."""

    username: str
    password: str
    server: str
    secret: str = ""
    """The name of the Secret that it is from, for people."""
    identity_token: str = ""
    """What a registry gave instead of a password; it goes before one. Older agents pass over it."""

    def __repr__(self) -> str:
        return f"RegistryLogin(server={self.server!r}, secret={self.secret!r})"


class Contents(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What is sealed: the values of environment variables, the contents of files by their paths, and a login.

    Those of a pod are in `containers`, by name.
    """

    env: dict[str, str] = {}
    files: dict[str, bytes] = {}
    login: RegistryLogin | None = None
    containers: dict[str, Contents] = {}

    def __repr__(self) -> str:
        return f"Contents(env={sorted(self.env)}, files={sorted(self.files)}, containers={self.containers})"
