"""Orders to remove volumes from a device: which it is to be sent, what it answered, and which are over. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fleet.contract.change import PATCHED, Change, change_of
from fleet.contract.objects import Device
from fleet.contract.volumes import REMOVE_VOLUME, RemovalReason, VolumeOrder, VolumeOutcome
from fleet.contract.wire import DeviceInfo
from fleet.operator.new_condition import NewCondition
from fleet.operator.reconcile.actions import Note

_BY = "the operator"


def outcomes_of(info: DeviceInfo | None) -> Mapping[str, VolumeOutcome]:
    """What a device says of the last orders, by order."""
    return {outcome.order: outcome for outcome in info.volume_outcomes} if info else {}


def unanswered(device: Device, *infos: DeviceInfo | None) -> tuple[VolumeOrder, ...]:
    """The orders that no one of these answers."""
    known = {order for info in infos for order in outcomes_of(info)}
    return tuple(one for one in device.spec.remove_volumes if one.order not in known)


def condition(device: Device, info: DeviceInfo | None) -> NewCondition | None:
    """The condition of a device that has orders to answer."""
    left = unanswered(device, info)
    if not left:
        return None
    names = ", ".join(f"{order} (change {order.order})" for order in left)
    return NewCondition("VolumesOrdered", "True", "NotAnswered", f"to be removed, and not answered yet: {names}")


def removal_notes(device: Device, info: DeviceInfo | None) -> tuple[Note, ...]:
    """What became of orders that are answered for the first time, and who gave them."""
    before, now, change = outcomes_of(device.status.info), outcomes_of(info), change_of(device.metadata)
    return tuple(
        _note(order, now[order.order], change)
        for order in device.spec.remove_volumes
        if order.order in now and order.order not in before
    )


def _note(order: VolumeOrder, outcome: VolumeOutcome, change: Change | None) -> Note:
    by = str(change) if change and change.id == order.order else f"change {order.order}"
    if outcome.reason == RemovalReason.REMOVED.value:
        return Note("Normal", "VolumeRemoved", f"{order} is removed, as ordered {by}")
    why = f"{outcome.reason}: {outcome.message}"
    return Note("Warning", "VolumeNotRemoved", f"{order} is not removed: {why}; it was ordered {by}")


def over(device: Device) -> dict[str, Any]:
    """The merge patch that removes the orders with an outcome in the status; empty if there are none."""
    orders = device.spec.remove_volumes
    left = unanswered(device, device.status.info)
    if left == orders:
        return {}
    last = next(order.order for order in reversed(orders) if order not in left)
    change = Change(last, device.metadata.generation + 1, REMOVE_VOLUME, _BY)
    return {
        "metadata": {"annotations": {PATCHED: change.annotation}},
        "spec": {"removeVolumes": msgspec.to_builtins(left) or None},
    }
