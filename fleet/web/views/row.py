"""A device in one row, with the columns that `kubectl get devices` has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from fleet.cli.trouble import Trouble, device_troubles, online
from fleet.contract.labels import labels_of
from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.web.objects import Unreadable, condition
from fleet.web.views.unreadable import UNREADABLE, unreadable_trouble


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One device, as it travels to the page. `online` is yes, no, unknown or revoked.

    `since` (RFC 3339) is of the first trouble; of a device without one it is of `reason`.
    """

    name: str
    online: str
    reason: str
    version: str
    upgraded: str
    deployments: int
    trouble: str
    since: str
    labels: str


class Summary(msgspec.Struct, frozen=True):
    """What the lists need to know of a device; made anew when it changes, and only then."""

    row: Row
    troubles: tuple[Trouble, ...]
    labels: Mapping[str, str]

    @property
    def site(self) -> str:
        """Where it is, as far as a label says so."""
        return self.labels.get("site", "")


def summary(device: Device, workloads: Sequence[WorkloadStatus]) -> Summary:
    """A device's row and troubles; `workloads` are those that it said last."""
    connected, upgraded = condition(device, "Online"), condition(device, "Upgraded")
    labels = labels_of(device)
    troubles = device_troubles(device, workloads)
    info = device.status.info
    connected_since = connected.last_transition_time if connected else device.metadata.creation_timestamp
    row = Row(
        name=device.metadata.name,
        online=online(device),
        reason=one_line(connected.reason) if connected else "NotYetSeen",
        version=one_line(str(info.agent_version)) if info else "",
        upgraded=one_line(upgraded.reason) if upgraded else "",
        deployments=device.status.deployments,
        trouble=one_line(", ".join(dict.fromkeys(trouble.reason for trouble in troubles))),
        since=one_line(troubles[0].since if troubles else connected_since),
        labels=one_line(",".join(f"{key}={value}" for key, value in sorted(labels.items()))),
    )
    return Summary(row, troubles, labels)


def unreadable_summary(item: Unreadable) -> Summary:
    """The row and the trouble of a device that does not parse."""
    trouble = unreadable_trouble(item)
    row = Row(one_line(item.name), "unknown", UNREADABLE, "", "", 0, trouble.reason, item.since, "")
    return Summary(row, (trouble,), {})
