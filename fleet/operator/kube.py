"""Kubernetes' API as the operator uses it: what everybody reads, and patches of an object that has not changed."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from fleet.contract.objects import API_VERSION, FINALIZER
from fleet.contract.sealed import SEALABLE_LABEL
from fleet.contract.wire import encode
from fleet.kube.kubeconfig import Access
from fleet.kube.reading import KubeReader, parsed
from fleet.operator.reconcile.actions import Kind, Note
from fleet.operator.reconcile.secrets import SecretSeen
from fleet.operator.status import timestamp

Json = dict[str, Any]


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What identifies one state of one object."""

    name: str
    uid: str
    resource_version: str
    finalizers: tuple[str, ...] = ()


class Times(msgspec.Struct, frozen=True):
    """How often something happened, and when for the first and the last time, in Unix seconds."""

    first: float
    last: float
    count: int = 1

    def and_at(self, moment: float) -> Times:
        """The same, and once more."""
        return Times(self.first, moment, self.count + 1)


class _SecretMeta(msgspec.Struct, rename="camel"):
    uid: str
    resource_version: str
    labels: dict[str, str] = {}


class _Secret(msgspec.Struct):
    metadata: _SecretMeta
    type: str = "Opaque"
    data: dict[str, bytes] | None = None


class _TokenStatus(msgspec.Struct):
    token: str


class _TokenAnswer(msgspec.Struct):
    status: _TokenStatus


class KubeApi(KubeReader):
    """The API server as one namespace's operator sees it. Raises only `FleetError`s."""

    def __init__(self, read: Callable[[], Access], namespace: str) -> None:
        super().__init__(read, namespace, "fleet-operator")

    async def patch_status(self, kind: Kind, meta: Meta, status: msgspec.Struct) -> bytes:
        """Replace the status of exactly this state of the object; returns the object as it is then.

        Raises:
            Conflict: the object has changed, so the status is out of date.
            NotFound: the object is gone.
        """
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": meta.resource_version},
            {"op": "add", "path": "/status", "value": msgspec.Raw(encode(status))},
        ]
        path = self.path(kind, meta.name, "status")
        return await self.request("PATCH", path, patch, content="application/json-patch+json")

    async def set_finalizers(self, kind: Kind, meta: Meta, *, held: bool) -> bytes:
        """Put our finalizer on exactly this state of the object, or take it off; returns the object as it is then.

        Raises:
            Conflict: the object has changed.
            NotFound: the object is gone.
        """
        others = [name for name in meta.finalizers if name != FINALIZER]
        finalizers = [*others, FINALIZER] if held else others
        return await self.merge(kind, meta, {"metadata": {"finalizers": finalizers}})

    async def merge(self, kind: Kind, meta: Meta, change: Json) -> bytes:
        """Merge a change into exactly this state of the object; returns the object as it is then.

        Raises:
            Conflict: the object has changed.
            NotFound: the object is gone.
        """
        patch: Json = {**change, "metadata": {**change["metadata"], "resourceVersion": meta.resource_version}}
        path = self.path(kind, meta.name)
        return await self.request("PATCH", path, patch, content="application/merge-patch+json")

    async def create_event(self, kind: Kind, meta: Meta, note: Note, times: Times) -> None:
        """Write a Kubernetes Event about an object."""
        reference = {"apiVersion": API_VERSION, "kind": kind, "name": meta.name, "namespace": self._namespace}
        event: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            # Events are named as client-go does: the object's name and something unique.
            "metadata": {"name": f"{meta.name}.{uuid.uuid4().hex[:16]}", "namespace": self._namespace},
            "involvedObject": {**reference, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "type": note.type,
            "reason": note.reason,
            # The API server's own limit for an event's message.
            "message": note.message[:1024],
            "source": {"component": "fleet-operator"},
            "firstTimestamp": timestamp(times.first),
            "lastTimestamp": timestamp(times.last),
            "count": times.count,
        }
        await self.request("POST", self.path("Event"), event)

    async def token(self, account: str, seconds: int) -> str:
        """A token of a ServiceAccount of the namespace (TokenRequest API); a secret.

        Raises:
            NotFound: there is no such account.
            NotPermitted, ServerError, Unreachable: as `list`.
        """
        path = self.path("ServiceAccount", account, "token")
        body: Json = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        return parsed(await self.request("POST", path, body), _TokenAnswer).status.token

    async def secret(self, name: str) -> SecretSeen:
        """A Secret of the namespace.

        Raises:
            NotFound: there is none of the name.
            NotPermitted, ServerError, Unreachable: as `list`.
        """
        found = await self._secret(name)
        sealable = found.metadata.labels.get(SEALABLE_LABEL) == "true"
        return SecretSeen(
            found.metadata.uid,
            found.metadata.resource_version,
            found.type,
            sealable,
            found.data or {} if sealable else {},  # what is not for devices is not kept
        )

    async def values(self, name: str) -> Mapping[str, bytes]:
        """What a Secret of the operator's own holds; raises as `secret`."""
        return (await self._secret(name)).data or {}

    async def _secret(self, name: str) -> _Secret:
        return parsed(await self.request("GET", self.path("Secret", name)), _Secret)
