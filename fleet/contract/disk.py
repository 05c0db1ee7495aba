"""What a device tells of its disk: what uses it."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleet.contract.limits import MAX_VOLUMES_SHOWN, Count
from fleet.contract.volumes import VolumeUsage


class DiskUsage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What uses the disk that the engine keeps its data on, in bytes; below `floor` no image is fetched.

    `volumes` counts every volume of the engine; `named_volumes` are those of the device's deployments, the largest
    first.
    """

    free: Count
    floor: Count
    images: Count = 0
    containers: Count = 0
    volumes: Count = 0
    named_volumes: Annotated[tuple[VolumeUsage, ...], msgspec.Meta(max_length=MAX_VOLUMES_SHOWN)] = ()
