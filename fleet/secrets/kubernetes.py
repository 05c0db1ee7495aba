"""Secrets in one Kubernetes Secret. Each write names the state it was decided on, so two installs at once agree."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleet.contract.errors import Conflict, InvalidInput
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import MANAGED, meta

if TYPE_CHECKING:
    from fleet.topology.kube import KubeClient

NAME = "fleet-secrets"


class KubernetesSecretStore:
    """A `SecretStore` in a namespace, which must be there when the first secret is made."""

    def __init__(self, kube: KubeClient, namespace: str) -> None:
        """Keep secrets there; nothing is contacted yet."""
        self._kube = kube
        self._namespace = namespace
        self._seen: dict[str, bytes] = {}

    def get(self, name: str) -> bytes | None:
        """The value, or None when it was never made.

        Raises:
            InvalidInput: what is kept is empty.
            Conflict: a Secret of that name is somebody else's.
        """
        if name not in self._seen:
            self._read()
        return self._seen.get(name)

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """The value; made and written only where there is none. See `SecretStore`."""
        made: bytes | None = None
        while True:
            found = self.get(name)
            if found is not None:
                return found
            made = made or make()
            try:
                self._write(name, made, self._read())
            except Conflict:  # somebody wrote in between, perhaps this very secret
                continue

    def clear(self) -> None:
        """Remove every secret. See `SecretStore`."""
        self._kube.delete([self._object({})])
        self._seen = {}

    def _read(self) -> Json | None:
        """The Secret as it is now."""
        found = self._kube.find("Secret", NAME, self._namespace)
        if found is None:
            return None
        if not MANAGED.items() <= found["metadata"].get("labels", {}).items():
            raise Conflict(
                f"the Secret {NAME} in {self._namespace} is not ours: it lacks our labels",
                next_step="rename or remove it, or install into another namespace",
            )
        data: dict[str, str] = found.get("data") or {}
        self._seen = {name: base64.b64decode(value) for name, value in data.items()}
        for name, value in self._seen.items():
            if not value:
                raise InvalidInput(
                    f"the secret {name} in {self._namespace}/{NAME} is empty",
                    next_step="restore it from a backup; it is never made anew",
                )
        return found

    def _write(self, name: str, value: bytes, before: Json | None) -> None:
        data = {name: base64.b64encode(value).decode()}
        if before is None:
            self._kube.create(self._object(data))
        elif name not in self._seen:
            version = {"resourceVersion": before["metadata"]["resourceVersion"]}
            self._kube.patch("Secret", NAME, self._namespace, {"metadata": version, "data": data})

    def _object(self, data: dict[str, str]) -> Json:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta(NAME, self._namespace), "data": data}
