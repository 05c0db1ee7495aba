"""Workloads on devices for `show`: each with its phase and reason, and the devices that fail or wait."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fleet.cli.output import table
from fleet.cli.standing import seen, status_of
from fleet.contract.labels import labels_of
from fleet.contract.objects import Device, FleetDeployment, WorkloadStatus
from fleet.contract.wire import Phase

_NAMED = 20
"""How many devices are named in text; JSON has all of them."""


class Blocker(msgspec.Struct, frozen=True, omit_defaults=True):
    """A device that does not run a deployment as it should, and why."""

    device: str
    phase: str
    reason: str
    message: str = ""

    def __str__(self) -> str:
        """It in one line."""
        return f"{self.device}: {self.phase} ({self.reason}) {self.message}".rstrip()


def workload_lines(item: Device) -> list[str]:
    """The workloads of a device, as a table."""
    rows = [row for workload in item.status.workloads for row in _rows(workload)]
    hidden = item.status.deployments - len(item.status.workloads)
    more = [f"and {hidden} more"] if hidden > 0 else []
    return [*table(["WORKLOAD", "PHASE", "REASON", "SINCE", "IMAGE", "MESSAGE"], rows), *more] if rows else []


def _rows(workload: WorkloadStatus) -> list[list[object]]:
    """A workload, and the containers of a pod below it."""
    whole: list[object] = [
        workload.name,
        workload.phase,
        workload.reason,
        workload.since,
        workload.image or "-",
        workload.message,
    ]
    return [whole, *([f"  {part.name}", part.phase, part.reason, "", "", ""] for part in workload.containers)]


def blockers(item: FleetDeployment, devices: Iterable[Device]) -> list[Blocker]:
    """The selected devices that fail, wait, or report something notable; those that fail come first."""
    selected = [one for one in devices if not one.spec.revoked and item.spec.selector.selects(labels_of(one))]
    found = [blocker for device in selected if (blocker := _blocker(item, device)) is not None]
    return sorted(found, key=lambda row: (row.phase == Phase.PENDING.value, row.device))


def _blocker(item: FleetDeployment, device: Device) -> Blocker | None:
    name = device.metadata.name
    known = next((workload for workload in device.status.workloads if workload.name == item.metadata.name), None)
    online = status_of(device, "Online")
    if known is not None and known.generation == item.metadata.generation:
        if known.runs and not known.troubled:
            return None
        return _pending(name, known, online)
    if known is not None and known.generation == 0 and known.message:
        # Nothing could be ordered, and this is why.
        return Blocker(
            name, known.phase, online[1] if known.waits and online[0] != "True" else known.reason, known.message
        )
    if known is None and device.status.deployments > len(device.status.workloads):
        return None  # its status has no room for all of them, and the deployment's own counts it
    message = f"its order is of generation {known.generation}" if known else ""
    reason = "NotBegun" if online[0] == "True" else online[1]
    return Blocker(name, Phase.PENDING.value, reason, message)


def _pending(name: str, known: WorkloadStatus, online: tuple[str, str]) -> Blocker:
    if known.waits and online[0] != "True":
        return Blocker(name, known.phase, online[1], f"it said {known.reason} last")
    return Blocker(name, known.phase, known.reason, known.message)


def running_images(item: FleetDeployment) -> list[tuple[str, object]]:
    """Which images run, and on how many devices each."""
    return [("runs", f"{image.image} on {image.devices}") for image in item.status.images] if seen(item) else []


def named(found: Sequence[Blocker]) -> list[str]:
    """The first of them, and how many more there are."""
    lines = [str(row) for row in found[:_NAMED]]
    more = len(found) - len(lines)
    return [*lines, f"and {more} more: see --output json"] if more > 0 else lines
