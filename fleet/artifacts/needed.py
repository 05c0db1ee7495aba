"""Which versions devices may need: a pure function of the `Device` objects."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.contract.errors import Conflict
from fleet.contract.objects import Device


def needed_versions(devices: Iterable[Device]) -> set[str]:
    """What a device runs, has committed, has on trial, may go back to, or is ordered to run.

    Raises:
        Conflict: of a device nothing is known, so that anything may be needed.
    """
    known = list(devices)
    unclear = sorted(device.metadata.name for device in known if device.status.info is None and not device.spec.revoked)
    if unclear:
        raise Conflict(
            f"nothing is taken away: it is not known what {', '.join(unclear[:5])} runs",
            next_step="start the device, or delete it if it will never come",
        )
    needed: set[str] = set()
    for device in known:
        needed.add(device.spec.agent_version)
        if (info := device.status.info) is not None:
            needed.add(info.agent_version)
            if (status := info.upgrade) is not None:
                needed |= {
                    str(release)
                    for release in (status.running, status.committed, status.candidate, status.previous)
                    if release
                }
    return needed - {""}
