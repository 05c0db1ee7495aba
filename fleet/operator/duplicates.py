"""Two devices with one identity, such as a cloned SD card: their heartbeats alternate."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.operator.reconcile.snapshot import Alternation, ReceivedHeartbeat


def alternates(
    others: Mapping[str, ReceivedHeartbeat], before: ReceivedHeartbeat | None, heard: ReceivedHeartbeat
) -> bool:
    """Whether an agent sends a heartbeat again after another boot of the same device did.

    A boot ends for good: after a reboot only the new one beats. Two agents of an upgrade beat at the same time, and
    belong to one boot.
    """
    if before is None or not before.at < heard.at:
        return False
    boot = heard.heartbeat.boot_id
    return any(other.heartbeat.boot_id != boot and before.at < other.at < heard.at for other in others.values())


def counted(known: Alternation | None, at: float, lasting: float) -> Alternation:
    """One more alternation; one that is older than `lasting` seconds is forgotten."""
    recent = known is not None and at - known.at <= lasting
    return Alternation(known.times + 1 if known is not None and recent else 1, at)
