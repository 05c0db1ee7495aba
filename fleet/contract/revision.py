"""Revisions of a deployment: what it was at a generation, kept by the operator as `ControllerRevision`s (apps/v1).

A revision has the number of the generation that brought it. Generations that change nothing of what runs where, such as
a pause or a restart, have none.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from fleet.contract.change import APPLIED, change_of
from fleet.contract.objects import API_VERSION, GROUP, DeploymentSpec, FleetDeployment
from fleet.contract.pod import Pod
from fleet.contract.wire import Container, decode
from fleet.contract.workload import ContainerFields

Json = dict[str, Any]

KEPT = 10
"""Revisions of one deployment, the newest ones, with the present one."""
DEPLOYMENT = f"{GROUP}/deployment"
"""The label of a revision that names its deployment."""
RESTARTED = f"{GROUP}/restarted-at"
"""The label of a workload that `fleet deployment restart` sets: its containers are replaced because it differs."""


class _Owner(msgspec.Struct, frozen=True):
    uid: str


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    creation_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[_Owner, ...] = ()


class _Data(msgspec.Struct, frozen=True):
    spec: DeploymentSpec


class Revision(msgspec.Struct, frozen=True):
    """A `ControllerRevision` of ours."""

    metadata: _Meta
    revision: int
    data: _Data

    @property
    def owner(self) -> str:
        """The uid of its deployment."""
        return self.metadata.owner_references[0].uid if self.metadata.owner_references else ""

    @property
    def deployment(self) -> str:
        """The name of its deployment."""
        return self.metadata.labels.get(DEPLOYMENT, "")

    @property
    def spec(self) -> DeploymentSpec:
        """The deployment as it was."""
        return self.data.spec


def parse_revision(data: bytes) -> Revision:
    """A revision as the API server has it.

    Raises:
        InvalidInput: it is none of ours.
    """
    return decode(data, Revision)


def revision_of(deployment: FleetDeployment) -> Json:
    """The object that keeps a deployment as it is now. Its name tells apart two deployments that had one name."""
    meta = deployment.metadata
    change = change_of(meta)
    owner = {"apiVersion": API_VERSION, "kind": deployment.kind, "name": meta.name, "uid": meta.uid, "controller": True}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": f"{meta.name}-{meta.uid[:8]}-{meta.generation}",
            "namespace": meta.namespace,
            "labels": {DEPLOYMENT: meta.name, "app.kubernetes.io/part-of": "fleet"},
            "annotations": {APPLIED: change.annotation} if change else {},
            "ownerReferences": [owner],
        },
        "revision": meta.generation,
        "data": {"spec": msgspec.to_builtins(deployment.spec, enc_hook=str)},
    }


def same_revision(spec: DeploymentSpec, other: DeploymentSpec) -> bool:
    """Whether they run the same in the same places in the same way."""
    return spec.selector == other.selector and runs_same(spec, other)


def runs_same(spec: DeploymentSpec, other: DeploymentSpec) -> bool:
    """Whether they run the same in the same way, wherever: what going back to a revision brings back."""
    return (never_restarted(spec.workload), spec.strategy) == (never_restarted(other.workload), other.strategy)


def never_restarted(workload: Container | Pod) -> Container | Pod:
    """The workload without what a restart has left in it."""
    if isinstance(workload, Container):
        return _without_mark(workload)
    return msgspec.structs.replace(
        workload,
        containers=tuple(_without_mark(container) for container in workload.containers),
        init_containers=tuple(_without_mark(container) for container in workload.init_containers),
    )


C = TypeVar("C", bound=ContainerFields)


def _without_mark(container: C) -> C:
    labels = {key: text for key, text in container.labels.items() if key != RESTARTED}
    return msgspec.structs.replace(container, labels=labels)
