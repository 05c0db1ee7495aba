"""An order to Kubernetes: it carries who gave it, by which command, and an id that is in every log that it passes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from fleet.cli.context import read
from fleet.contract.change import PATCHED, Change
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.wire import from_builtins

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

K = TypeVar("K", Device, FleetDeployment)

_ATTEMPTS = 10
"""Each attempt reads the object again, because another client wrote in between: for example the operator a status."""


def new_id() -> str:
    """The id of a change."""
    return secrets.token_hex(6)


def new_change(kube: KubeClient, command: str, generation: int, number: str = "") -> Change:
    """A change by the user who is logged in; `command` is what was typed, without its arguments."""
    return Change(number or new_id(), generation, command, kube.user())


def change_json(change: Change | None) -> Json:
    """What a program reads of it."""
    return {"changed": change is not None, "change": change.id if change else ""}


def order(
    kube: KubeClient,
    kind: type[K],
    where: tuple[str, str],
    command: str,
    changes: Callable[[K], Json | list[Json]],
    number: str = "",
) -> tuple[K, Change | None]:
    """Change the spec of an object. Returns the object afterwards, and the change; None if nothing had to change.

    Args:
        kube: Where the object is.
        kind: What it is.
        where: Its name and its namespace.
        command: What was typed, without its arguments.
        changes: Gives the fields of the spec to set in the object that was read, or the operations on that object
            (RFC 6902): a list is set as a whole by the former. It is called again if somebody else wrote in between.
        number: The change's id, where the spec itself says it.

    Raises:
        NotInstalled, NotFound: as `read`, which checks the name.
    """
    from fleet.kube.refusals import Outdated  # noqa: PLC0415

    name, namespace = where
    left = _ATTEMPTS
    while True:
        item = read(kube, kind, name, namespace)
        spec = changes(item)
        if not spec:
            return item, None
        left -= 1
        change = new_change(kube, command, item.metadata.generation + 1, number)
        # The last attempt writes over whatever is there: an order matters more than what a status says.
        noted = {PATCHED: change.annotation} if left else {}
        wanted = _operations(item, spec, noted) if isinstance(spec, list) else _merge(item, spec, noted)
        try:
            return from_builtins(kube.patch(kind.__name__, name, namespace, wanted), kind), change
        except Outdated:
            continue


def _merge(item: Device | FleetDeployment, spec: Json, annotations: dict[str, str]) -> Json:
    meta = {"annotations": annotations, "resourceVersion": item.metadata.resource_version}
    return {"spec": spec, **({"metadata": meta} if annotations else {})}


def _operations(item: Device | FleetDeployment, operations: list[Json], annotations: dict[str, str]) -> list[Json]:
    version = {"op": "replace", "path": "/metadata/resourceVersion", "value": item.metadata.resource_version}
    annotate = added("/metadata/annotations", item.metadata.annotations, annotations)
    return [*([version, *annotate] if annotations else []), *operations]


def added(path: str, before: Mapping[str, str], more: Mapping[str, str]) -> list[Json]:
    """The operations that put `more` into the map at a path (JSON pointer, RFC 6901), which holds `before` now."""
    if not before:
        return [{"op": "add", "path": path, "value": dict(more)}]
    keys = {key: key.replace("~", "~0").replace("/", "~1") for key in more}
    return [{"op": "add", "path": f"{path}/{keys[key]}", "value": text} for key, text in more.items()]


def hand_over(kube: KubeClient, name: str, namespace: str) -> None:
    """What an `order` has set of a deployment's workload belongs to who applied it: to nobody else, or to `fleet`.

    Kubernetes keeps what a patch owns where an apply leaves it out: a mark inside a container of a pod would keep that
    container for ever.
    """
    from fleet.kube.client import MANAGER  # noqa: PLC0415
    from fleet.kube.refusals import Outdated  # noqa: PLC0415

    for _ in range(_ATTEMPTS):
        found = kube.find(FleetDeployment.__name__, name, namespace)
        meta: Json = found["metadata"] if found else {}
        owners: list[Json] = meta.get("managedFields") or []
        ours = {
            owner["operation"]: owner
            for owner in owners
            if owner["manager"] == MANAGER and not owner.get("subresource")
        }
        patched: Json = ours.get("Update", {}).get("fieldsV1", {}).get("f:spec", {})
        if _WORKLOAD not in patched:
            return
        taken = {_WORKLOAD: patched.pop(_WORKLOAD)}
        if "Apply" in ours:
            ours["Apply"]["fieldsV1"] = _merged(ours["Apply"]["fieldsV1"], {"f:spec": taken})
        change: Json = {"metadata": {"resourceVersion": meta["resourceVersion"], "managedFields": owners}}
        try:
            kube.patch(FleetDeployment.__name__, name, namespace, change)
        except Outdated:
            continue
        return


_WORKLOAD = "f:workload"
"""Where the fields of the workload stand in `managedFields` (Kubernetes, `FieldsV1`)."""


def _merged(base: Json, other: Json) -> Json:
    shared = {name: _merged(base[name], other[name]) for name in base.keys() & other.keys()}
    return {**base, **other, **shared}
