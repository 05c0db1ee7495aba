"""What is wrong with a device, each with its reason, since when, and what to do next: on the page and in `show`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet.cli.reasons import DEVICES, UPGRADES, WORKLOADS, Table
from fleet.cli.suggestions import for_device, has_logs
from fleet.contract.objects import Condition, Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.contract.upgrade import UpgradePhase

_LOGS = ": `fleet device logs ID --deployment NAME`"
"""Ends advice in words; the page offers the command itself, with the names in their places."""
_UNTOLD = "the server is newer than this program, and knows more of it"
_WAY = {
    "Enrolled": ("False", "enrolment"),
    "Quarantined": ("True", "quarantine"),
    "DuplicateIdentity": ("True", "identity"),
    "ClockDiffers": ("True", "clock"),
    "InfoAccepted": ("False", "report"),
}
"""Conditions that are trouble at a status, and what they are about."""
_AWAITED = frozenset({"BundleOutdated", "VolumesOrdered"})
"""Conditions that are no trouble while a device is on its way, and that a command may end."""
_FAILED_UPGRADES = frozenset(
    {UpgradePhase.REVERTED.value, UpgradePhase.REFUSED.value, "GrantExpired", "RolloutHalted", "DeviceOffline"}
)
_UNDER_WAY = frozenset({phase.value for phase in UpgradePhase if not phase.terminal}) | {
    "Ordered",
    "InProgress",
    "WaitingForLock",
    "WaitingForReconciles",
    "WaitingForHealth",
    "ControlPlaneUnreachable",
    "NotYetSeen",
    "DeviceOffline",
}


class Trouble(msgspec.Struct, frozen=True):
    """One thing that is wrong. `about` is what the trouble is with; `since` is RFC 3339.

    `workload` is the name of the workload that it is with, empty for all else; `version` is that of the agent which is
    wanted, where it is with its upgrade.
    """

    about: str
    reason: str
    message: str
    since: str
    means: str
    next_step: str
    workload: str = ""
    version: str = ""


_LAST_WORDS = "as they were when the device was last heard"
_NO_WORDS = "as they are ordered: the device was never heard"
_LAST_WORD_OF_ONE = ", when last heard"


def device_troubles(device: Device, workloads: Sequence[WorkloadStatus]) -> tuple[Trouble, ...]:
    """Everything that is wrong with a device, what keeps it from being heard first."""
    if device.spec.revoked:
        return ()
    found = [*_connection(device), *(_of(DEVICES, about, known) for about, known in _wrong(device))]
    age = _LAST_WORD_OF_ONE if workloads_age(device) == _LAST_WORDS else ""
    found += [_workload(one, age) for one in workloads if one.troubled]
    upgraded = _condition(device, "Upgraded")
    if upgraded is not None and upgrade_failed(upgraded):
        trouble = _of(UPGRADES, "agent upgrade", upgraded)
        found.append(msgspec.structs.replace(trouble, version=device.spec.agent_version))
    return tuple(found)


def online(device: Device) -> str:
    """Whether a device is online: yes, no, unknown or revoked."""
    if device.spec.revoked:
        return "revoked"
    known = _condition(device, "Online")
    return {"True": "yes", "False": "no"}.get(known.status if known else "", "unknown")


def workloads_age(device: Device) -> str:
    """How old what is known of the workloads of a device is; empty where it is online."""
    if online(device) == "yes":
        return ""
    heard = device.status.last_heartbeat or device.status.info
    return _LAST_WORDS if heard else _NO_WORDS


def last_heard(device: Device) -> str:
    """When a device was last heard (RFC 3339), or a word: Kubernetes stores a heartbeat only together with a change."""
    if online(device) == "yes":
        return "recently"
    return device.status.last_heartbeat or "never"


def helpful_commands(
    device: Device, troubles: Sequence[Trouble], workloads: Sequence[WorkloadStatus], namespace: str
) -> list[str]:
    """What to type about a device, the most helpful first; `workloads` are those that it said last."""
    reasons = [one.reason for one in troubles] + (["Revoked"] if device.spec.revoked else [])
    awaited = [known.reason for known in device.status.conditions if known.type in _AWAITED and known.status == "True"]
    # A device that is online takes a new authority by itself, and is left behind by mistake at best.
    reasons += [reason for reason in awaited if reason != "NotTakenYet" or online(device) != "yes"]
    answered = {one.order for one in device.status.info.volume_outcomes} if device.status.info else set[str]()
    return for_device(
        device.metadata.name,
        tuple(reasons),
        namespace,
        tuple(one.name for one in workloads if has_logs(one.name, one.reason)),
        version=device.spec.agent_version,
        unanswered=[one for one in device.spec.remove_volumes if one.order not in answered],
    )


def upgrade_failed(upgraded: Condition) -> bool:
    """Whether an upgrade of the agent came to an end that somebody should look at."""
    if upgraded.status == "True" or upgraded.reason in _UNDER_WAY:
        return False
    return upgraded.reason in _FAILED_UPGRADES or upgraded.reason not in {"NotWanted", "Withdrawn", "Superseded"}


def _connection(device: Device) -> list[Trouble]:
    known = _condition(device, "Online")
    if known is None:
        created = device.metadata.creation_timestamp
        known = Condition("Online", "Unknown", "NotYetSeen", "the operator has said nothing of it yet", created)
    return [] if known.status == "True" else [_of(DEVICES, "connection", known)]


def _wrong(device: Device) -> list[tuple[str, Condition]]:
    return [
        (_WAY[known.type][1], known)
        for known in device.status.conditions
        if known.type in _WAY and known.status == _WAY[known.type][0]
    ]


def _of(table: Table, about: str, known: Condition) -> Trouble:
    advice = table.get(known.reason)
    means, step = (advice.means, advice.next_step) if advice else (_UNTOLD, "read the message")
    return Trouble(about, one_line(known.reason), known.message, known.last_transition_time, means, step)


def _workload(one: WorkloadStatus, age: str) -> Trouble:
    advice = WORKLOADS.get(one.reason)
    means, step = (advice.means, advice.next_step) if advice else (_UNTOLD, "read the message")
    about = f"workload {one_line(one.name)}{age}"
    return Trouble(about, one_line(one.reason), one.message, one.since, means, step.removesuffix(_LOGS), one.name)


def _condition(device: Device, kind: str) -> Condition | None:
    return next((known for known in device.status.conditions if known.type == kind), None)
