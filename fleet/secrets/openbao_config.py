"""The file that FLEET_OPENBAO names: which OpenBao keeps a server's secrets, where in it, and how to log in there.

An admin chooses all of this, and nothing of it is taken from the cluster: a user who may write there would choose to
whom the admin's token is sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from fleet.contract.config import read_whole
from fleet.contract.errors import InvalidInput, NotFound
from fleet.contract.written import parse_written
from fleet.process.failures import in_words
from fleet.secrets.openbao_names import Role, Segments, is_address
from fleet.topology.admin import read_token

VARIABLE = "FLEET_OPENBAO"
_SEE = "see docs/operations.md, Secrets in OpenBao"


class KubernetesLogin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A login as a ServiceAccount: the role and the mount of OpenBao's auth method, and the account's token."""

    role: Role
    mount: Segments = "kubernetes"
    token_file: str = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - where it is


class OpenBao(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The content of the file; the files that it names are relative to its own folder.

    `mount` is that of a key-value engine of version 2. `path` is for one cluster alone; a server's secrets are below
    it, under the name of its namespace. One of `token_file` (mode 0600) and `kubernetes` is given.
    """

    url: str
    path: Segments
    mount: Segments = "secret"
    ca_file: str = ""
    token_file: str = ""
    kubernetes: KubernetesLogin | None = None


class Credentials(msgspec.Struct, frozen=True):
    """A parsed and checked file."""

    config: OpenBao
    ca: str
    folder: Path

    def token(self) -> str:
        """The token of `token_file`, a secret; read anew at each call, for somebody else may renew it.

        Raises:
            NotFound, InvalidInput: see `read_token`.
        """
        return read_token(_located(self.folder, self.config.token_file), "a token of OpenBao")

    def account_token(self, login: KubernetesLogin) -> str:
        """The ServiceAccount's token, a secret.

        Raises:
            NotFound: it is not there.
        """
        path = _located(self.folder, login.token_file)
        try:
            return path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotFound(
                f"cannot read the ServiceAccount's token in {path}: {in_words(error)}",
                next_step=f"a pod has one; elsewhere set kubernetes.tokenFile or tokenFile in the file of {VARIABLE}",
            ) from error


def openbao_of(environ: Mapping[str, str]) -> Credentials | None:
    """What the environment chooses; None where it chooses no OpenBao.

    Raises:
        NotFound: the file, or the CA that it names, cannot be read.
        InvalidInput: its content is not as `OpenBao` has it.
    """
    if not (name := environ.get(VARIABLE, "")):
        return None
    path = Path(name).expanduser()
    config = parse_written(_read(path), OpenBao, f"{VARIABLE}={name}", next_step=_SEE)
    if bool(config.token_file) == (config.kubernetes is not None):
        raise InvalidInput(f"{path}: give tokenFile or kubernetes, and only one of them", next_step=_SEE)
    _require_url(path, config.url)
    ca = _read(_located(path.parent, config.ca_file)).decode("ascii", "replace") if config.ca_file else ""
    if config.ca_file and not ca.strip():
        raise InvalidInput(
            f"{path}: caFile {config.ca_file} is empty", next_step="give PEM certificates, or leave it out"
        )
    return Credentials(msgspec.structs.replace(config, url=config.url.rstrip("/")), ca, path.parent)


def _require_url(path: Path, url: str) -> None:
    if not is_address(url):
        raise InvalidInput(
            f"{path}: url is not the address of an OpenBao",
            next_step="use https://HOST:PORT; http only on this machine: elsewhere secrets would be sent in clear",
        )


def _located(folder: Path, name: str) -> Path:
    return folder / Path(name).expanduser()


def _read(path: Path) -> bytes:
    try:
        return read_whole(path)[0]
    except OSError as error:
        raise NotFound(f"cannot read {path}: {error.strerror}", next_step=f"correct {VARIABLE}; {_SEE}") from error
