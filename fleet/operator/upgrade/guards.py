"""What counts as proof for the operator: each predicate is a guard of the protocol."""

from __future__ import annotations

from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from fleet.contract.wire import AgentTarget, Heartbeat
from fleet.operator.upgrade.view import Artifact, DeviceView

_BEFORE_THE_SWAP = frozenset({UpgradePhase.DOWNLOADING, UpgradePhase.STAGED, UpgradePhase.SELF_TESTED})
_NOBODYS_FAULT = frozenset({UpgradeReason.SUPERSEDED, UpgradeReason.WITHDRAWN})


def answers(target: AgentTarget, view: DeviceView, artifact: Artifact | None) -> bool:
    """Whether `target` is an attempt at the present order."""
    if (target.withdrawn and not target.expired) or (target.version, target.order) != (view.wanted, view.order):
        return False
    if view.status is not None and view.status.generation > target.generation:
        # NATS was restored from a backup: the device would take such an order for a late one.
        return False
    return artifact is None or target.digest == artifact.digest


def reported(view: DeviceView) -> UpgradePhase | None:
    """The phase of the present attempt, as the device reported it."""
    status, target = view.status, view.target
    return status.phase if status and target and status.generation == target.generation else None


def ended(view: DeviceView) -> bool:
    """The present attempt has come to an end."""
    phase = reported(view)
    return phase is not None and phase.terminal


def overdue(view: DeviceView) -> bool:
    """The present attempt held the lock too long: it was ordered to roll back, or will be."""
    target = view.target
    if target is None:
        return False
    return target.expired or (view.grant_over and not target.withdrawn and not ended(view))


def failed(view: DeviceView) -> bool:
    """The present attempt has failed, or held the lock too long, and was not cancelled by another order."""
    status = view.status
    if overdue(view):
        return reported(view) is not UpgradePhase.COMMITTED
    return status is not None and ended(view) and _bad(status.phase, status.reason)


def _bad(phase: UpgradePhase, reason: UpgradeReason) -> bool:
    return phase is not UpgradePhase.COMMITTED and reason not in _NOBODYS_FAULT


def holds_lock(view: DeviceView) -> bool:
    """The device counts among those that may be upgraded at once."""
    target = view.target
    if target is None or not target.granted or ended(view) or view.barred or view.grant_over:
        return False
    # One that was withdrawn before it began anything never says that it ended.
    return not target.withdrawn or reported(view) is not None


def lapsed(view: DeviceView) -> bool:
    """It got the lock, went offline, and has not begun as far as is known: others do not wait for it."""
    return not view.online and (reported(view) is None or reported(view) in _BEFORE_THE_SWAP)


def waits_for_lock(view: DeviceView) -> bool:
    """It has everything it needs but the lock."""
    return view.online and reported(view) is UpgradePhase.SELF_TESTED and not overdue(view)


def impostor(view: DeviceView, target: AgentTarget) -> Heartbeat | None:
    """A heartbeat of this attempt that says another version."""
    return next((beat for beat in view.beats if _of(beat, target) and beat.agent_version != target.version), None)


def proof(view: DeviceView, target: AgentTarget) -> Heartbeat | None:
    """A fresh heartbeat of the candidate: this attempt, the version wanted, and the boot that the writer is of."""
    for beat in reversed(view.beats):
        if _of(beat, target) and beat.agent_version == target.version and _same_boot(view, beat):
            return beat
    return None


def _of(beat: Heartbeat, target: AgentTarget) -> bool:
    return beat.generation == target.generation


def _same_boot(view: DeviceView, beat: Heartbeat) -> bool:
    return view.lease is not None and beat.boot_id == view.lease.boot_id


def to_stop(view: DeviceView, target: AgentTarget) -> str:
    """The instance that must hand over: the writer, when another instance has proven to be the candidate. Or empty."""
    beat, lease = proof(view, target), view.lease
    if beat is None or lease is None or lease.instance_id == beat.instance_id:
        return ""
    return lease.instance_id


def to_confirm(view: DeviceView, target: AgentTarget, soak: float) -> str:
    """The instance that has proven itself as the writer for `soak` seconds, with healthy workloads. Or empty."""
    beat = proof(view, target)
    if beat is None or not view.healthy or not _is_writer(view, beat):
        return ""
    return beat.instance_id if view.lease_held_for >= soak else ""


def _is_writer(view: DeviceView, beat: Heartbeat) -> bool:
    return view.lease is not None and view.lease.instance_id == beat.instance_id
