"""How to reach an API server: kubeconfig files as kubectl reads them, and the account that a pod has mounted.

The rules are those of "Organizing Cluster Access Using kubeconfig Files" (kubernetes.io): several files are read as
one, of two things with one name the first holds, and relative paths are relative to the file that holds them.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import msgspec

from fleet.contract.config import read_whole
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.process.tls import client_context

_MOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its ServiceAccount (kubernetes.io, "Accessing the Kubernetes API from a Pod")."""
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"
_NEXT = "point KUBECONFIG at a file that `kubectl get namespaces` works with"


class Variable(msgspec.Struct, frozen=True):
    """An environment variable of a credential plugin."""

    name: str
    value: str


class Plugin(msgspec.Struct, frozen=True, rename="camel"):
    """A command that prints credentials (kubernetes.io, "client-go credential plugins")."""

    command: str
    api_version: str
    args: list[str] | None = None
    env: list[Variable] | None = None
    install_hint: str = ""
    interactive_mode: str = "IfAvailable"
    provide_cluster_info: bool = False


class Access(msgspec.Struct, frozen=True):
    """An API server, and who we are to it. `repr` shows no secret.

    Attributes:
        url: Where it listens, with the path that a proxy may have put before the API.
        ca: PEM certificates of who signed its certificate; empty for this machine's authorities.
        insecure: Whether its certificate is not checked.
        server_name: The name to expect in its certificate; empty for the URL's.
        proxy: URL of a proxy on the way; empty for what the environment says.
        token: A bearer token; empty for none.
        token_file: A file that holds the token, renewed in place.
        username: For basic authentication, with `password`.
        password: A secret.
        certificate: PEM, ours, with `key`.
        key: PEM, a secret.
        plugin: What to ask for the credentials.
    """

    url: str
    ca: str = ""
    insecure: bool = False
    server_name: str = ""
    proxy: str = ""
    token: str = ""
    token_file: Path | None = None
    username: str = ""
    password: str = ""
    certificate: str = ""
    key: str = ""
    plugin: Plugin | None = None

    def __repr__(self) -> str:
        return f"Access({self.url})"

    def bearer(self) -> str:
        """The bearer token as it stands now, a secret; empty for none.

        Raises:
            NotFound: its file cannot be read.
        """
        return _read(self.token_file).strip() if self.token_file else self.token

    @property
    def in_pod(self) -> bool:
        """Whether it is a pod's own account: then the cluster's own names lead somewhere."""
        return self.token_file == _MOUNT / "token"

    def trust(self) -> ssl.SSLContext:
        """A TLS context that trusts whom `ca` names and nobody else.

        Raises:
            InvalidInput: the CA is no PEM certificate.
        """
        try:
            context = client_context(self.ca)
        except ssl.SSLError as error:
            raise InvalidInput(
                f"the CA of the API server {self.url} is no PEM certificate", next_step="correct the kubeconfig"
            ) from error
        if self.insecure:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


def access(context: str = "") -> Access:
    """The way that kubectl would take: the files that KUBECONFIG names, else ~/.kube/config, else the pod's account.

    Args:
        context: A context of those files; empty for the current one.

    Raises:
        InvalidInput: there is no configuration, or none that names a cluster and a user.
        NotFound: a file that it names is not there.
    """
    named = os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())
    files = [Path(file) for file in named.split(os.pathsep) if file and _is_there(Path(file))]
    if files:
        return read_files(files, context)
    if _HOST in os.environ:
        return mounted_account()
    raise InvalidInput(f"there is no kubeconfig {named}", next_step=_NEXT)


def _is_there(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it cannot be read, which is said when it is
        return True
    return True


def mounted_account() -> Access:
    """The pod's ServiceAccount.

    Raises:
        NotFound: this is no pod, or nothing is mounted.
    """
    host, port = os.environ.get(_HOST, ""), os.environ.get(_PORT, "443")
    if not host:
        raise NotFound(
            f"no kubeconfig is configured, and this is no pod: {_HOST} is not set",
            next_step="give a kubeconfig, or run it in a cluster",
        )
    address = f"[{host}]" if ":" in host else host
    return Access(f"https://{address}:{port}", _read(_MOUNT / "ca.crt"), token_file=_MOUNT / "token")


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(msgspec.Struct, rename="kebab"):
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    exec: Plugin | None = None
    auth_provider: dict[str, object] | None = None


class _Context(msgspec.Struct):
    cluster: str
    user: str = ""


class _NamedCluster(msgspec.Struct):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct):
    name: str
    user: _User


class _NamedContext(msgspec.Struct):
    name: str
    context: _Context


class _File(msgspec.Struct, rename="kebab"):
    current_context: str = ""
    clusters: list[_NamedCluster] | None = None
    users: list[_NamedUser] | None = None
    contexts: list[_NamedContext] | None = None


T = TypeVar("T", _NamedCluster, _NamedUser, _NamedContext)


def read_files(paths: list[Path], context: str = "") -> Access:
    """Kubeconfig files, read as one.

    Raises:
        InvalidInput: they do not name a cluster and a user, or the user logs in by what is not known here.
        NotFound: a file that they name is not there.
    """
    files = [(path.absolute().parent, _parse(path)) for path in paths]
    shown = os.pathsep.join(map(str, paths))
    wanted = context or next((file.current_context for _, file in files if file.current_context), "")
    if not wanted:
        raise _unusable(shown, "it has no current context")
    chosen = _first(wanted, "context", ((base, file.contexts) for base, file in files), shown)[1].context
    base, cluster = _first(chosen.cluster, "cluster", ((base, file.clusters) for base, file in files), shown)
    home, user = Path(), _User()
    if chosen.user:
        home, named = _first(chosen.user, "user", ((base, file.users) for base, file in files), shown)
        user = named.user
    return _access(base, cluster.cluster, home, user, shown)


def _parse(path: Path) -> _File:
    try:
        content, _ = read_whole(path)
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", next_step=_NEXT) from error
    with contextlib.suppress(*NOT_JSON):
        return msgspec.json.decode(content, type=_File)
    import yaml  # noqa: PLC0415 - JSON is YAML too, and needs no 10 ms for this

    try:
        return msgspec.convert(yaml.safe_load(content), _File)
    except (yaml.YAMLError, *NOT_JSON) as error:
        raise _unusable(str(path), validation_words(error)) from error


def _first(name: str, kind: str, files: Iterable[tuple[Path, list[T] | None]], shown: str) -> tuple[Path, T]:
    """The first of that name, with the folder of its file."""
    for base, items in files:
        for item in items or ():
            if item.name == name:
                return base, item
    raise _unusable(shown, f"there is no {kind} {name!r} in it")


def _access(base: Path, cluster: _Cluster, home: Path, user: _User, shown: str) -> Access:
    if user.auth_provider is not None:
        raise _unusable(shown, "its user has an auth-provider, which kubectl no longer knows either")
    return Access(
        url=cluster.server.rstrip("/"),
        ca=_content(cluster.certificate_authority_data, base, cluster.certificate_authority, shown),
        insecure=cluster.insecure_skip_tls_verify,
        server_name=cluster.tls_server_name,
        proxy=cluster.proxy_url,
        token=user.token,
        token_file=home / user.token_file if user.token_file else None,
        username=user.username,
        password=user.password,
        certificate=_content(user.client_certificate_data, home, user.client_certificate, shown),
        key=_content(user.client_key_data, home, user.client_key, shown),
        plugin=_beside(home, user.exec) if user.exec else None,
    )


def _beside(home: Path, plugin: Plugin) -> Plugin:
    """A command with a relative path is relative to its file; a bare name is looked up on the PATH."""
    if "/" not in plugin.command:
        return plugin
    return msgspec.structs.replace(plugin, command=str(home / plugin.command))


def _content(data: str, base: Path, file: str, shown: str) -> str:
    """What is embedded in base64, else what the file holds, else nothing."""
    if not data:
        return _read(base / file) if file else ""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _unusable(shown, "a certificate or key in it is not base64") from error


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", next_step=_NEXT) from error
    except ValueError as error:
        # Also of a path with a NUL in it.
        raise InvalidInput(f"{path} is not text", next_step=_NEXT) from error


def _unusable(files: str, why: str) -> InvalidInput:
    return InvalidInput(f"the kubeconfig {files} is not usable: {why}", next_step=_NEXT)
