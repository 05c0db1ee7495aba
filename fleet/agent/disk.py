"""The disk that the engine keeps images, containers and volumes on: what uses it, and whether an image may come."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from fleet.agent.answers import Usage
from fleet.agent.volumes import OwnVolume
from fleet.contract.disk import DiskUsage
from fleet.contract.limits import MAX_VOLUMES_SHOWN
from fleet.contract.owner import Owner
from fleet.contract.volumes import VolumeUsage

_PART, _LEAST, _MOST = 0.05, 256 * 2**20, 2 * 2**30
_GRAINS = 64
"""What is reported is rounded to such a part of the disk: the status of a device is written when that changes."""


def floor(total: int) -> int:
    """Bytes of a disk of `total` bytes that stay free: below, no image is fetched.

    A twentieth, so that what runs can write, but at least 256 MiB and at most 2 GiB.
    """
    return int(min(max(total * _PART, _LEAST), _MOST))


def lacking(folder: Path) -> str:
    """Why no image may be fetched to the disk that a folder is on; empty where there is room."""
    disk = shutil.disk_usage(folder)
    least = floor(disk.total)
    if disk.free >= least:
        return ""
    return f"{disk.free // 2**20} MiB are free at {folder}, and an image is fetched only while {least // 2**20} MiB are"


class Volumes(NamedTuple):
    """Volumes that were made for deployments, and in how many containers each is, by its name in the engine."""

    there: Iterable[OwnVolume]
    mounted: Mapping[str, int]


def usage(folder: Path, engine_usage: Usage, volumes: Volumes, present: Owner) -> DiskUsage:
    """What uses the disk that a folder is on, rounded; `volumes` are those to report by name."""
    disk = shutil.disk_usage(folder)
    grain = max(disk.total // _GRAINS, 1)

    def rounded(size: int) -> int:
        return max(size, 0) // grain * grain

    return DiskUsage(
        free=rounded(disk.free),
        floor=floor(disk.total),
        images=rounded(engine_usage.images_size),
        containers=rounded(sum(container.size_rw for container in engine_usage.containers or ())),
        volumes=rounded(sum(volume.usage_data.size for volume in engine_usage.volumes or () if volume.usage_data)),
        named_volumes=_named(engine_usage, volumes, present),
    )


def _named(engine_usage: Usage, volumes: Volumes, present: Owner) -> tuple[VolumeUsage, ...]:
    sizes = {volume.name: volume.usage_data.size for volume in engine_usage.volumes or () if volume.usage_data}
    named = [
        VolumeUsage(
            volume.name,
            volume.deployment,
            _power_of_two(sizes.get(volume.engine.name, 0)),
            volume.engine.id,
            "" if volume.owner == present else volume.owner.text,
            volumes.mounted.get(volume.engine.name, 0),
        )
        for volume in volumes.there
    ]
    named.sort(key=lambda volume: (-volume.size, volume.former, volume.deployment, volume.name))
    return tuple(named[:MAX_VOLUMES_SHOWN])


def _power_of_two(size: int) -> int:
    """The largest that is not more; docker says -1 of a volume that it did not measure."""
    return 1 << size.bit_length() - 1 if size > 0 else 0
