"""Which store keeps a server's secrets: the place's own, or OpenBao where the environment chooses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fleet.secrets.mark import Mark
from fleet.secrets.openbao_config import openbao_of
from fleet.secrets.store import SecretStore

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient


def chosen_store(environ: Mapping[str, str], kube: KubeClient, namespace: str, own: SecretStore) -> SecretStore:
    """The store for the server in a namespace; nothing is contacted yet.

    Raises:
        NotFound, InvalidInput: see `openbao_of`.
    """
    credentials = openbao_of(environ)
    if credentials is None:
        return own
    from fleet.secrets.openbao import OpenBaoSecretStore  # noqa: PLC0415 - few have it, and its HTTP client costs 0.1 s

    return OpenBaoSecretStore(credentials, namespace, Mark(kube, namespace))
