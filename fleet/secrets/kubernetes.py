"""Secrets in one Kubernetes Secret. Each write names the state it was decided on, so two installs at once agree.

While a secret is rotated, its other version stands beside it, as `NAME.next` or `NAME.previous`; one write of the API
server moves both. An annotation of each name tells when its current version was made.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleet.contract.errors import Conflict, InvalidInput
from fleet.secrets.mark import NAME, require_unmarked
from fleet.secrets.store import Change, Kept, changed
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import MANAGED, meta

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

_NEXT, _PREVIOUS = ".next", ".previous"
_MADE = "made.fleet.nationtech.io/"


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
            Conflict: a Secret of that name is somebody else's, or says that the secrets are in OpenBao.
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

    def versions(self, name: str) -> Kept | None:
        """All versions. See `SecretStore`."""
        found = self._read()
        if found is None or name not in self._seen:
            return None
        about = found["metadata"]
        made: str = about.get("annotations", {}).get(f"{_MADE}{name}") or about["creationTimestamp"]
        return Kept(
            self._seen[name],
            next=self._seen.get(f"{name}{_NEXT}"),
            previous=self._seen.get(f"{name}{_PREVIOUS}"),
            made=_time(made),
            revision=about["resourceVersion"],
        )

    def change(self, name: str, seen: Kept, change: Change, value: bytes = b"") -> None:
        """Take a step of a rotation. See `SecretStore`."""
        after = changed(seen, change, value)
        data = {
            name: _text(after.current),
            f"{name}{_NEXT}": _text(after.next),
            f"{name}{_PREVIOUS}": _text(after.previous),
        }
        about: Json = {"resourceVersion": seen.revision}
        if change is Change.PROMOTE:
            about["annotations"] = _made_now(name)
        elif change is Change.DEMOTE:
            about["annotations"] = {f"{_MADE}{name}": None}
        self._kube.patch("Secret", NAME, self._namespace, {"metadata": about, "data": data})
        self._seen = {}

    def clear(self) -> None:
        """Remove every secret. See `SecretStore`."""
        self._found()  # those of somebody else stay
        self._kube.delete([self._object({})])
        self._seen = {}

    def _read(self) -> Json | None:
        """The Secret as it is now."""
        found = self._found()
        if found is None:
            return None
        data: dict[str, str] = found.get("data") or {}
        self._seen = {name: base64.b64decode(value) for name, value in data.items()}
        for name, value in self._seen.items():
            if not value:
                raise InvalidInput(
                    f"the secret {name} in {self._namespace}/{NAME} is empty",
                    next_step="restore it from a backup; it is never made anew",
                )
        return found

    def _found(self) -> Json | None:
        found = self._kube.find("Secret", NAME, self._namespace)
        if found is None:
            return None
        if not MANAGED.items() <= found["metadata"].get("labels", {}).items():
            raise Conflict(
                f"the Secret {NAME} in {self._namespace} is not ours: it lacks our labels",
                next_step="rename or remove it, or install into another namespace",
            )
        require_unmarked(found, self._namespace)
        return found

    def _write(self, name: str, value: bytes, before: Json | None) -> None:
        data = {name: base64.b64encode(value).decode()}
        if before is None:
            item = self._object(data)
            item["metadata"]["annotations"] = _made_now(name)
            self._kube.create(item)
        elif name not in self._seen:
            about = {"resourceVersion": before["metadata"]["resourceVersion"], "annotations": _made_now(name)}
            self._kube.patch("Secret", NAME, self._namespace, {"metadata": about, "data": data})

    def _object(self, data: dict[str, str]) -> Json:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": meta(NAME, self._namespace), "data": data}


def _text(value: bytes | None) -> str | None:
    """As a merge patch has it: null takes a name away."""
    return None if value is None else base64.b64encode(value).decode()


def _made_now(name: str) -> dict[str, str]:
    return {f"{_MADE}{name}": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else None  # what somebody wrote without a zone is no moment
