"""A mark in the cluster that a server's secrets are in OpenBao: a command that looks for them elsewhere is refused.

An install would find none, and make other ones, which no device knows. The mark has the name of the Secret that would
hold them, so it stays for as long as they would, and nobody has the one beside the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.contract.errors import Conflict
from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.secrets.openbao_config import VARIABLE
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import meta

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

NAME = "fleet-secrets"
_ID, _SHOWN = "openbao.fleet.nationtech.io/id", "openbao.fleet.nationtech.io/address"


class Mark:
    """The mark of the server in a namespace."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._written = False

    def require(self, identity: str, shown: str) -> None:
        """See that the server's secrets are there, or that there is no server yet.

        Args:
            identity: Of the engine and the path in it.
            shown: The same in words.

        Raises:
            Conflict: they are elsewhere.
        """
        found = self._kube.find("Secret", NAME, self._namespace)
        if found is None and self._kube.find("ConfigMap", SERVER_CONFIG_MAP, self._namespace) is None:
            return
        kept = _marks(found).get(_ID) if found else None
        if found is None or kept is None:
            raise Conflict(
                f"the secrets of the server in {self._namespace} are not in OpenBao",
                next_step=f"unset {VARIABLE}; an existing server is not moved there",
            )
        if kept != identity:
            raise Conflict(
                f"the secrets of the server in {self._namespace} are in another place of OpenBao "
                f"({_marks(found).get(_SHOWN)}) than the file of {VARIABLE} names ({shown})",
                next_step="correct url, mount or path there; after a move of OpenBao itself, correct the annotation "
                f"{_ID} of the Secret {NAME}",
            )
        self._written = True

    def write(self, identity: str, shown: str) -> None:
        """Write it, before the first secret is made.

        Raises:
            Conflict: somebody else has just installed a server here, with its secrets elsewhere.
        """
        if self._written:
            return
        about = {**meta(NAME, self._namespace), "annotations": {_ID: identity, _SHOWN: shown}}
        try:
            self._kube.create({"apiVersion": "v1", "kind": "Secret", "metadata": about})
        except Conflict:
            self.require(identity, shown)
        self._written = True

    def remove(self) -> None:
        """Remove it, after the last secret."""
        self._kube.delete([{"apiVersion": "v1", "kind": "Secret", "metadata": meta(NAME, self._namespace)}])
        self._written = False


def require_unmarked(found: Json, namespace: str) -> None:
    """See that the Secret that holds a server's secrets does not say that they are in OpenBao.

    Raises:
        Conflict: it does.
    """
    if _ID in _marks(found):
        raise Conflict(
            f"the secrets of the server in {namespace} are in OpenBao: {_marks(found).get(_SHOWN)}",
            next_step=f"set {VARIABLE} to the file that says how to log in there (docs/operations.md, Secrets in "
            "OpenBao)",
        )


def _marks(found: Json) -> dict[str, str]:
    return found["metadata"].get("annotations") or {}
