"""A device's labels: those of its metadata, and those that former releases kept in its spec (decision 037).

Former releases, and what was written for them, know `spec.labels` alone. What is new there goes into `metadata.labels`
once; an annotation keeps what went, so that a label that is changed or taken away in the metadata stays so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fleet.contract.objects import GROUP, Device

CARRIED = f"{GROUP}/labels-from-spec"
"""The annotation: `spec.labels`, as JSON, when they went into the metadata last."""
_NOTHING = "{}"
NONE_CARRIED = {CARRIED: _NOTHING}
"""Of a device whose labels began in its metadata: whatever its spec says is newer."""


def labels_of(device: Device) -> Mapping[str, str]:
    """The labels by which it is selected."""
    held, wanted = device.metadata.labels, device.spec.labels
    text = device.metadata.annotations.get(CARRIED)
    if not wanted and (text is None or text == _NOTHING):
        return held
    carried = _parsed(text)
    if carried is None:  # never yet: who wrote into the metadata knew that it counts
        return {**wanted, **held}
    dropped = {key for key, value in carried.items() if key not in wanted and held.get(key) == value}
    kept = {key: value for key, value in held.items() if key not in dropped}
    return {**kept, **{key: value for key, value in wanted.items() if carried.get(key) != value}}


def relabelled(device: Device, labels: Mapping[str, str]) -> dict[str, Any]:
    """The merge patch of its metadata that makes these its labels for good; empty when they are."""
    held, wanted = device.metadata.labels, device.spec.labels
    changes: dict[str, str | None] = {key: value for key, value in labels.items() if held.get(key) != value}
    changes |= {key: None for key in held if key not in labels}
    text = device.metadata.annotations.get(CARRIED)
    patch: dict[str, Any] = {"labels": changes} if changes else {}
    if _parsed(text) != wanted and (wanted or text is not None or changes):
        patch["annotations"] = {CARRIED: msgspec.json.encode(wanted, order="sorted").decode()}
    return patch


def carried_over(device: Device) -> dict[str, Any]:
    """The merge patch of its metadata by which what its spec says anew goes there; empty when nothing is new."""
    if not device.spec.labels and device.metadata.annotations.get(CARRIED, _NOTHING) == _NOTHING:
        return {}
    return relabelled(device, labels_of(device))


def _parsed(text: str | None) -> dict[str, str] | None:
    try:
        return None if text is None else msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        return None
