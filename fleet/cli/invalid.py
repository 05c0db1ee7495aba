"""Objects whose spec does not parse, though Kubernetes took it: a pod whose containers wait in a circle.

A device's spec can be such a one only where its definition is another than ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import (
    Condition,
    DeploymentSpec,
    DeploymentStatus,
    Device,
    DeviceSpec,
    DeviceStatus,
    FleetDeployment,
    Metadata,
)
from fleet.contract.wire import Container, from_builtins

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fleet.topology.capabilities import Json

K = TypeVar("K", Device, FleetDeployment)
S = TypeVar("S", DeviceStatus, DeploymentStatus)

_NO_SPEC = DeploymentSpec(Container("invalid.invalid/spec"))
"""In place of one that does not parse; nothing that is printed or ordered is made of it."""


class InvalidDeployment(FleetDeployment, frozen=True, kw_only=True):
    """A deployment of which all but the spec is known, and why that does not parse. `raw` is what Kubernetes holds."""

    raw: dict[str, Any]
    why: str


class InvalidDevice(Device, frozen=True, kw_only=True):
    """A device of which all but the spec is known; its condition `Online` says why that does not parse."""

    raw: dict[str, Any]
    why: str


Invalid = InvalidDeployment | InvalidDevice


def typed(raw: Json, kind: type[K]) -> K:
    """An object of Kubernetes: an `Invalid` one where its spec does not parse. A status that does not counts as none.

    Raises:
        InvalidInput: its metadata do not parse.
    """
    try:
        return from_builtins(raw, kind)
    except InvalidInput as error:
        why = error.what
    try:
        return from_builtins({**raw, "status": {}}, kind)
    except InvalidInput:
        meta = from_builtins(raw["metadata"], Metadata)
    if kind is FleetDeployment:
        return cast("K", InvalidDeployment(meta, _NO_SPEC, _status(raw, DeploymentStatus), raw=raw, why=why))
    said = _status(raw, DeviceStatus)
    told = Condition("Online", "Unknown", "InvalidSpec", why, meta.creation_timestamp, meta.generation)
    others = (one for one in said.conditions if one.type != told.type)
    status = msgspec.structs.replace(said, conditions=(told, *others))
    return cast("K", InvalidDevice(meta, DeviceSpec(), status, raw=raw, why=why))


def _status(raw: Json, kind: type[S]) -> S:
    try:
        return from_builtins(raw.get("status") or {}, kind)
    except InvalidInput:
        return kind()


def refuse_invalid(items: Iterable[K]) -> None:
    """Refuse to decide about objects of which one is unknown.

    Raises:
        InvalidInput: the spec of one does not parse.
    """
    for item in items:
        if isinstance(item, Invalid):
            raise refusal(item)


def parted(items: Iterable[K]) -> tuple[list[K], list[Invalid]]:
    """Those whose spec parses, and those of which a command that changes several says that it left them out."""
    every = list(items)
    bad = [one for one in every if isinstance(one, Invalid)]
    return [one for one in every if not isinstance(one, Invalid)], bad


def left_out(items: Sequence[Invalid]) -> InvalidInput:
    """The error of a command that did its work without them."""
    return InvalidInput(
        f"{len(items)} left out, since the spec does not parse; the others are done",
        next_step="correct it with `kubectl edit`, then repeat the command for it",
        more=[refusal(one).what for one in items],
    )


def refusal(item: Invalid) -> InvalidInput:
    """The error of a command that needs the spec."""
    meta = item.metadata
    correct = f"kubectl edit {item.kind.lower()} {meta.name} -n {meta.namespace}"
    return InvalidInput(f"the {item.kind} {meta.name!r} is invalid: {item.why}", next_step=f"correct it: {correct}")


def raw_json(item: Invalid, status: object) -> Json:
    """The object as a program reads it: the spec as Kubernetes holds it."""
    meta = msgspec.to_builtins(item.metadata, enc_hook=str)
    return {"apiVersion": item.api_version, "kind": item.kind, "metadata": meta, "spec": item.raw.get("spec")} | {
        "status": status
    }


def invalid_details(item: InvalidDeployment, devices: Iterable[Device]) -> list[tuple[str, object]]:
    """What `show` says in place of the spec, and which generation devices go on running."""
    name = item.metadata.name
    kept = [
        one.generation for device in devices for one in device.status.workloads if one.name == name and one.generation
    ]
    runs = [("runs", f"generation {number} on {kept.count(number)} devices") for number in sorted(set(kept))]
    return [("deployment", name), ("spec", f"invalid: {item.why}"), *runs]
