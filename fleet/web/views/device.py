"""One device: what it is, how it stands, what it said last, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet.cli.trouble import Trouble, helpful_commands, last_heard, workloads_age
from fleet.contract.labels import labels_of
from fleet.contract.objects import Condition, Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.contract.upgrade import UpgradePhase, UpgradeStatus
from fleet.contract.volumes import VolumeUsage
from fleet.contract.wire import DeviceInfo
from fleet.web.objects import condition
from fleet.web.views.history import HistoryEntry
from fleet.web.views.row import Summary

_STEPS = (
    UpgradePhase.DOWNLOADING,
    UpgradePhase.STAGED,
    UpgradePhase.SELF_TESTED,
    UpgradePhase.SWAPPED,
    UpgradePhase.STARTING,
    UpgradePhase.HANDING_OVER,
    UpgradePhase.SOAKING,
    UpgradePhase.COMMITTED,
)
"""The way of an upgrade that goes well."""


class Step(msgspec.Struct, frozen=True):
    """One step of an upgrade. `state` is done, now, failed or ahead."""

    name: str
    state: str


class Container(msgspec.Struct, frozen=True):
    """What a device said of one container of a pod."""

    name: str
    phase: str
    reason: str


class Workload(msgspec.Struct, frozen=True):
    """What a device said of a deployment; `containers` are those of a pod, where there was room for them."""

    name: str
    phase: str
    reason: str
    message: str
    generation: int
    image: str
    since: str
    troubled: bool
    containers: tuple[Container, ...]


class Volume(msgspec.Struct, frozen=True):
    """A volume on the device. `size` is in words, rounded down; `containers` is empty where that is not known."""

    name: str
    deployment: str
    size: str
    containers: str
    former: str


class ConditionView(msgspec.Struct, frozen=True):
    """A condition, with its text as what it is."""

    type: str
    status: str
    reason: str
    message: str
    since: str


class DeviceScreen(msgspec.Struct, frozen=True):
    """The whole screen. `heard` is when it was heard last, RFC 3339, or in words.

    `workloads_age` is what to say of the age of `workloads`; empty where they are as they are now.
    """

    name: str
    online: str
    heard: str
    labels: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    troubles: tuple[Trouble, ...]
    upgrade: str
    steps: tuple[Step, ...]
    workloads: tuple[Workload, ...]
    hidden_workloads: int
    workloads_age: str
    volumes: tuple[Volume, ...]
    conditions: tuple[ConditionView, ...]
    commands: tuple[str, ...]
    history: tuple[HistoryEntry, ...]


def device_screen(
    device: Device,
    known: Summary,
    workloads: Sequence[WorkloadStatus],
    info: DeviceInfo | None,
    history: tuple[HistoryEntry, ...],
    namespace: str,
) -> DeviceScreen:
    """The screen; `workloads` and `info` are what the device said last."""
    return DeviceScreen(
        name=device.metadata.name,
        online=known.row.online,
        heard=one_line(last_heard(device)),
        labels=tuple(f"{key}={value}" for key, value in sorted(labels_of(device).items())),
        facts=_facts(device, info),
        troubles=tuple(msgspec.structs.replace(one, message=one_line(one.message)) for one in known.troubles),
        upgrade=_upgrade(device),
        steps=_steps(info.upgrade if info else None),
        workloads=tuple(map(_workload, sorted(workloads, key=lambda one: (not one.troubled, one.name)))),
        hidden_workloads=max(0, device.status.deployments - len(workloads)),
        workloads_age=workloads_age(device),
        volumes=tuple(map(_volume, info.disk_usage.named_volumes if info and info.disk_usage else ())),
        conditions=tuple(map(_condition, device.status.conditions)),
        commands=tuple(helpful_commands(device, known.troubles, workloads, namespace)),
        history=history,
    )


def _facts(device: Device, info: DeviceInfo | None) -> tuple[tuple[str, str], ...]:
    wanted = device.spec.agent_version
    if info is None:
        return (("Agent", "has not said anything yet"), *((("Agent wanted", wanted),) if wanted else ()))
    facts = [
        ("Agent", str(info.agent_version)),
        ("Agent wanted", wanted),
        ("System", f"{info.os}, kernel {info.kernel}, {info.arch}"),
        ("Memory", f"{info.memory / 2**20:.0f} MiB"),
        ("Disk", f"{info.disk / 2**30:.0f} GiB"),
        ("Engine", info.engine or "none"),
        ("Boot", info.boot_id),
    ]
    return tuple((name, one_line(value)) for name, value in facts if value)


def _upgrade(device: Device) -> str:
    known = condition(device, "Upgraded")
    return one_line(f"{known.reason}: {known.message}".rstrip(": ")) if known else ""


def _steps(upgrade: UpgradeStatus | None) -> tuple[Step, ...]:
    """Each step of the latest attempt, and where it stands or came to its end."""
    if upgrade is None:
        return ()
    if upgrade.phase not in _STEPS:
        return (Step(upgrade.phase.value, "now" if upgrade.phase is UpgradePhase.REVERTING else "failed"),)
    reached = _STEPS.index(upgrade.phase)
    done = upgrade.phase is UpgradePhase.COMMITTED
    return tuple(
        Step(phase.value, "done" if number < reached or done else "now" if number == reached else "ahead")
        for number, phase in enumerate(_STEPS)
    )


def _workload(one: WorkloadStatus) -> Workload:
    return Workload(
        name=one_line(one.name),
        phase=one_line(one.phase),
        reason=one_line(one.reason),
        message=one_line(one.message),
        generation=one.generation,
        image=one_line(one.image),
        since=one.since,
        troubled=one.troubled,
        containers=tuple(
            Container(one_line(part.name), one_line(part.phase), one_line(part.reason)) for part in one.containers
        ),
    )


def _volume(one: VolumeUsage) -> Volume:
    return Volume(
        name=one_line(one.name),
        deployment=one_line(one.deployment),
        size=f"{one.size / 2**20:.1f} MiB",
        containers=str(one.containers) if one.id else "",
        former=one_line(one.former),
    )


def _condition(known: Condition) -> ConditionView:
    return ConditionView(
        known.type, known.status, one_line(known.reason), one_line(known.message), known.last_transition_time
    )
