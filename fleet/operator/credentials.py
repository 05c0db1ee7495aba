"""How the operator reaches the API server: its pod's ServiceAccount, or a kubeconfig with a token."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from pathlib import Path

import msgspec
import yaml

from fleet.contract.errors import InvalidInput, NotFound

_MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its ServiceAccount (kubernetes.io, "Accessing the Kubernetes API from a Pod")."""
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


class Credentials(msgspec.Struct, frozen=True):
    """An API server's address, whom it is signed by (PEM), and our bearer token, a secret."""

    url: str
    ca: str
    token: str

    def __repr__(self) -> str:
        return f"Credentials({self.url})"

    def trust(self) -> ssl.SSLContext:
        """A TLS context that trusts nobody else.

        Raises:
            InvalidInput: the CA is no PEM certificate.
        """
        try:
            return ssl.create_default_context(cadata=self.ca)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidInput(
                "the API server's CA is no PEM certificate", next_step="correct the kubeconfig"
            ) from error


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""


class _User(msgspec.Struct):
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")


class _Context(msgspec.Struct):
    cluster: str
    user: str


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: _User


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context


class _Kubeconfig(msgspec.Struct, rename="kebab"):
    current_context: str
    clusters: list[_NamedCluster]
    users: list[_NamedUser]
    contexts: list[_NamedContext]


def read_credentials(kubeconfig: str) -> Credentials:
    """The credentials as they stand now: a pod's token is renewed in place, so read them again when they are refused.

    Args:
        kubeconfig: Path of a kubeconfig whose user has a token; empty for the pod's own ServiceAccount.

    Raises:
        NotFound: a file is not there.
        InvalidInput: the kubeconfig is of a form that is not understood.
    """
    return _from_file(Path(kubeconfig)) if kubeconfig else _from_pod()


def _from_pod() -> Credentials:
    host, port = os.environ.get(_HOST, ""), os.environ.get(_PORT, "443")
    if not host:
        raise NotFound(
            f"no kubeconfig is configured, and this is no pod: {_HOST} is not set",
            next_step='set "kubeconfig" in the operator\'s configuration, or run it in a cluster',
        )
    address = f"[{host}]" if ":" in host else host
    return Credentials(f"https://{address}:{port}", _read(_MOUNT / "ca.crt"), _read(_MOUNT / "token").strip())


def _from_file(path: Path) -> Credentials:
    try:
        config = msgspec.convert(yaml.safe_load(_read(path)), _Kubeconfig)
        context = next(item.context for item in config.contexts if item.name == config.current_context)
        cluster = next(item.cluster for item in config.clusters if item.name == context.cluster)
        user = next(item.user for item in config.users if item.name == context.user)
        data = cluster.certificate_authority_data
        ca = base64.b64decode(data).decode() if data else _read(path.parent / cluster.certificate_authority)
    except (yaml.YAMLError, msgspec.ValidationError, StopIteration, binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path} is no kubeconfig that names a cluster and a user", next_step="write it again"
        ) from error
    token = user.token or (_read(path.parent / user.token_file).strip() if user.token_file else "")
    if not token:
        raise InvalidInput(f"{path}: its user has no token", next_step="use a kubeconfig of a ServiceAccount")
    return Credentials(cluster.server, ca, token)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", next_step="is the operator installed?") from error
