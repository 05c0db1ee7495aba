"""A deployment whose spec does not parse, though Kubernetes took it: a pod whose containers wait in a circle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import DeploymentSpec, DeploymentStatus, Device, FleetDeployment, Metadata
from fleet.contract.wire import Container, from_builtins

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleet.topology.capabilities import Json

K = TypeVar("K", Device, FleetDeployment)

_NO_SPEC = DeploymentSpec(Container("invalid.invalid/spec"))
"""In place of one that does not parse; nothing that is printed or ordered is made of it."""


class InvalidDeployment(FleetDeployment, frozen=True, kw_only=True):
    """A deployment of which all but the spec is known, and why that does not parse. `raw` is what Kubernetes holds."""

    raw: dict[str, Any]
    why: str


def typed(raw: Json, kind: type[K]) -> K:
    """An object of Kubernetes; a deployment whose spec does not parse is an `InvalidDeployment`.

    Raises:
        InvalidInput: it is a device that does not parse.
    """
    try:
        return from_builtins(raw, kind)
    except InvalidInput as error:
        if kind is not FleetDeployment:
            raise
        return cast("K", _invalid(raw, error.what))


def _invalid(raw: Json, why: str) -> InvalidDeployment:
    try:
        status = from_builtins(raw.get("status") or {}, DeploymentStatus)
    except InvalidInput:
        status = DeploymentStatus()
    return InvalidDeployment(from_builtins(raw["metadata"], Metadata), _NO_SPEC, status, raw=raw, why=why)


def raw_json(item: InvalidDeployment, status: object) -> Json:
    """The object as a program reads it: the spec as Kubernetes holds it."""
    meta = msgspec.to_builtins(item.metadata)
    return {"apiVersion": item.api_version, "kind": item.kind, "metadata": meta, "spec": item.raw["spec"]} | {
        "status": status
    }


def invalid_details(item: InvalidDeployment, devices: Iterable[Device]) -> list[tuple[str, object]]:
    """What `show` says in place of the spec, and which generation devices go on running."""
    name = item.metadata.name
    kept = [one.generation for device in devices for one in device.status.workloads if one.name == name]
    runs = [("runs", f"generation {number} on {kept.count(number)} devices") for number in sorted(set(kept))]
    return [("deployment", name), ("spec", f"invalid: {item.why}"), *runs]
