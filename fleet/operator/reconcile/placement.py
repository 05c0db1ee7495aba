"""Which device is to run what: deployments and devices in, wanted desired state and counts out."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fleet.contract.objects import Device, Selector
from fleet.contract.wire import Desired, DeviceState, Phase, encode
from fleet.operator.reconcile.rollout import Member, updated
from fleet.operator.reconcile.snapshot import Snapshot, deleting, held, live

LARGEST = 512 * 1024
"""Bytes of a desired-state entry: half of what nats-server takes in a message by default."""

_FAILED = {Phase.FAILED, Phase.UNHEALTHY, Phase.RESTARTING}


class Failure(msgspec.Struct, frozen=True):
    """The first device, by name, on which a deployment does not run, and why."""

    device: str
    why: str


class Tally(msgspec.Struct):
    """A deployment counted over its devices. `oversized` is its size in bytes when that is too much to send."""

    matched: int = 0
    updated: int = 0
    ready: int = 0
    failed: int = 0
    failure: Failure | None = None
    oversized: int = 0


Wanted = dict[str, dict[str, Desired]]
"""By device and deployment."""


def place(snapshot: Snapshot) -> tuple[Wanted, dict[str, Tally]]:
    """The desired state of every live device, and a tally of every deployment that stays.

    A revoked device keeps what it has (decision 011), but a deleted deployment goes from there too. What does
    not parse stays where it is.
    """
    alive = {name for name, deployment in snapshot.deployments.items() if not deleting(deployment)}
    wanted: Wanted = {name: {} for name, device in snapshot.devices.items() if live(device)}
    unread = snapshot.unread_deployments - snapshot.deployments.keys()
    for name in wanted:
        kept = alive | unread if snapshot.devices[name].spec.revoked else unread
        if kept:
            wanted[name] = {key: told for key, told in _told(snapshot, name).items() if key in kept}
    targets = [snapshot.devices[name] for name in sorted(wanted) if not snapshot.devices[name].spec.revoked]
    return wanted, {name: _place_one(snapshot, name, targets, wanted) for name in sorted(alive)}


def _told(snapshot: Snapshot, device: str) -> dict[str, Desired]:
    """What a device runs by its keys: entries that its index names."""
    index, entries = snapshot.indexes.get(device), snapshot.desired.get(device, {})
    return {name: entries[name] for name in index.deployments if name in entries} if index else {}


def _current(snapshot: Snapshot, device: str, deployment: str) -> Desired | None:
    index = snapshot.indexes.get(device)
    named = index is not None and deployment in index.deployments
    return snapshot.desired.get(device, {}).get(deployment) if named else None


def _place_one(snapshot: Snapshot, name: str, targets: Iterable[Device], wanted: Wanted) -> Tally:
    deployment = snapshot.deployments[name]
    new = Desired(deployment.metadata.generation, deployment.spec.workload)
    members = [
        _member(snapshot, device.metadata.name, name) for device in targets if selects(deployment.spec.selector, device)
    ]
    size = len(encode(new))
    oversized = size if size > LARGEST else 0
    frozen = oversized or not held(deployment)
    chosen = set[str]() if frozen else updated(members, new.generation, deployment.spec.strategy)
    tally = Tally(matched=len(members), oversized=oversized)
    for member in members:
        if member.name in chosen:
            wanted[member.name][name] = new
            _count(tally, member.name, new, snapshot.states.get(member.name, {}).get(name))
        elif kept := _current(snapshot, member.name, name):
            wanted[member.name][name] = kept
    return tally


def selects(selector: Selector, device: Device) -> bool:
    """Whether the device's `spec.labels` contain every pair of the selector."""
    return selector.match_labels.items() <= device.spec.labels.items()


def _member(snapshot: Snapshot, device: str, deployment: str) -> Member:
    current = _current(snapshot, device, deployment)
    state = snapshot.states.get(device, {}).get(deployment)
    ready = current is not None and state is not None and _ready(current, state)
    return Member(device, current.generation if current else None, ready, snapshot.online(device))


def _ready(desired: Desired, state: DeviceState) -> bool:
    return state.generation == desired.generation and state.phase is Phase.RUNNING


def _count(tally: Tally, device: str, new: Desired, state: DeviceState | None) -> None:
    tally.updated += 1
    if state is None or state.generation != new.generation:
        return
    if state.phase is Phase.RUNNING:
        tally.ready += 1
    elif state.phase in _FAILED:
        tally.failed += 1
        if tally.failure is None:
            tally.failure = Failure(device, f"{state.reason.value}: {state.message}".rstrip(": "))
