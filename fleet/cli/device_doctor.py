"""`fleet device doctor`: the problems of one device that the server knows, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from fleet.cli.context import DeviceArgument, NamespaceOption, cluster, installed, read
from fleet.cli.doctor import report
from fleet.cli.output import Output, OutputOption
from fleet.cli.reasons import DEVICES, UPGRADES, WORKLOADS, next_step
from fleet.cli.trouble import online
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.names import DeviceId
from fleet.contract.objects import Condition, Device
from fleet.contract.upgrade import UpgradePhase

if TYPE_CHECKING:
    from fleet.doctor.findings import Finding, State

_GOOD = {"Enrolled": "True", "Online": "True", "InfoAccepted": "True"}
"""The conditions that are True on a healthy device; the others are False or missing."""
_MILD = frozenset({"Cordoned", "ClockDiffers", "InfoAccepted", "BundleOutdated", "VolumesOrdered"})
"""Conditions that do not stop a device's work."""
_ELSE = "see `fleet device show`, and `fleet device events`"


def doctor(
    device: DeviceArgument,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say what is wrong with a device as the server knows it, each with its next step; ends with code 1 where it fails.

    What only the device can know (its names, its disk, its units) `fleet-agent doctor` says there.

    \b
    Examples:
      fleet device doctor pi-1
      fleet device doctor pi-1 --output json
    """  # noqa: D301
    kube = cluster()
    server = installed(kube, namespace)
    report(examine(read(kube, Device, DeviceId(device), namespace), server.version), output)


def examine(item: Device, release: str) -> list[Finding]:
    """The findings about a device, for a server of a release."""
    said = [*_workloads(item), *_agent(item, release)]
    if online(item) != "yes" and item.status.info is not None:
        said = [msgspec.structs.replace(finding, says=f"when last heard: {finding.says}") for finding in said]
    return [*_conditions(item), *said]


def _conditions(item: Device) -> Iterator[Finding]:
    from fleet.doctor.findings import Finding, State  # noqa: PLC0415

    known = {condition.type: condition for condition in item.status.conditions}
    for name in ("Enrolled", "Online"):
        if name not in known:
            yield Finding(name, State.FAILED, "the operator has not said", "see `fleet server status`")
    for condition in item.status.conditions:
        if condition.type in {"WorkloadTrouble", "Upgraded"}:
            continue
        good = _GOOD.get(condition.type, "False") == condition.status
        what = f"{condition.reason} since {condition.last_transition_time}: {condition.message}"
        if good:
            yield Finding(condition.type, State.OK, what)
        else:
            yield Finding(
                condition.type, _state(condition), what, next_step({**WORKLOADS, **DEVICES}, condition.reason, _ELSE)
            )


def _state(condition: Condition) -> State:
    from fleet.doctor.findings import State  # noqa: PLC0415

    return State.WARNING if condition.type in _MILD or condition.status == "Unknown" else State.FAILED


def _workloads(item: Device) -> Iterator[Finding]:
    from fleet.doctor.findings import Finding, State  # noqa: PLC0415

    for workload in item.status.workloads:
        what = f"{workload.phase} ({workload.reason}) since {workload.since}: {workload.message}".rstrip(": ")
        step = next_step(WORKLOADS, workload.reason, _ELSE)
        name = f"deployment {workload.name}"
        if workload.troubled:
            yield Finding(name, State.WARNING if workload.runs else State.FAILED, what, step)
        else:
            yield Finding(name, State.WARNING if workload.waits else State.OK, what, step if workload.waits else "")
    hidden = item.status.deployments - len(item.status.workloads)
    if hidden > 0:
        yield Finding("deployments", State.OK, f"{hidden} more, none of them in trouble as far as there is room for it")


def _agent(item: Device, release: str) -> Iterator[Finding]:
    from fleet.doctor.findings import Finding, State  # noqa: PLC0415

    info = item.status.info
    if info is None:
        yield Finding("agent", State.FAILED, "it has never said what it is", "set it up with `fleet device setup`")
        return
    version = str(info.agent_version)
    if version == release:
        yield Finding("agent", State.OK, f"it is of the server's release, {version}")
    else:
        step = "publish an agent of the server's release, then `fleet device upgrade`"
        yield Finding("agent", State.WARNING, f"it is {version}, and the server is of release {release}", step)
    if not info.engine:
        yield Finding("engine", State.FAILED, "no engine answers on it", "is docker or podman running on the device?")
    if (used := info.disk_usage) is not None:
        free = f"{used.free // 2**20} MiB are free for the engine"
        if used.free < used.floor:
            step = f"free space on the device: below {used.floor // 2**20} MiB no image is fetched"
            yield Finding("disk", State.WARNING, free, step)
        else:
            yield Finding("disk", State.OK, free)
    upgrade = info.upgrade
    if upgrade is not None and upgrade.phase.terminal and upgrade.phase is not UpgradePhase.COMMITTED:
        what = f"{upgrade.candidate} is {upgrade.phase.value} ({upgrade.reason.value}): {upgrade.message}"
        yield Finding("upgrade", State.WARNING, what, next_step(UPGRADES, upgrade.reason.value, _ELSE))
