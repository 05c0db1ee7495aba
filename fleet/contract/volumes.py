"""Volumes on a device: what it tells of them, the order to remove one, and what became of the order."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import msgspec

from fleet.contract.limits import MAX_VOLUME_ORDERS, Count, GivenChangeId, Id, Message, Word

REMOVE_VOLUME = "fleet device remove-volume"
"""The command that gives such an order, as a change of the device names it."""
VOLUME_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}"
VolumeName = Annotated[str, msgspec.Meta(max_length=63, pattern=rf"^{VOLUME_NAME}\Z")]
Former = Annotated[str, msgspec.Meta(max_length=80, pattern=r"^([a-z0-9-]{1,63}@[0-9a-f]{1,16})?\Z")]
"""`Owner.text` of an identity that a device had before; empty for its present one."""


class VolumeUsage(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A volume that was made for a deployment, by its name there. `size` is in bytes, rounded down to a power of two.

    The deployment may be gone. It is a text, as is the name: neither is parsed, so that an odd one costs no report.
    `id` tells the volume from another one that is made under its name later; agents of former releases give none.
    `former` is the identity that it was made under, where that is not the device's present one (`Owner.text`).
    `containers` is how many of the fleet's containers have it mounted, whether they run or not.
    """

    name: Word
    deployment: Word
    size: Count = 0
    id: Id = ""
    former: Word = ""
    containers: Count = 0


class VolumeOrder(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An admin's order to remove a volume: the one that has the id, and no other one of the name.

    `order` tells this order from others of the same volume, and is the id of the change that gave it.
    """

    deployment: Annotated[str, msgspec.Meta(max_length=63, pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")]
    name: VolumeName
    id: Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[0-9A-Za-z:.+-]{1,64}\Z")]
    order: GivenChangeId
    former: Former = ""

    def __str__(self) -> str:
        """The volume, for people."""
        return f"{self.name} of {self.deployment}{f' of the former identity {self.former}' if self.former else ''}"


VolumeOrders = Annotated[tuple[VolumeOrder, ...], msgspec.Meta(max_length=MAX_VOLUME_ORDERS)]


class RemovalReason(Enum):
    """What became of an order to remove a volume. Each is an end: a device tries no order twice."""

    REMOVED = "Removed"
    NOT_FOUND = "NotFound"
    """There is no such volume, or another one that was made under its name since."""
    IN_USE = "InUse"
    ENGINE_ERROR = "EngineError"


class VolumeOutcome(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What became of an order. The reason is a text, so that one of a newer agent costs no report."""

    order: Id
    reason: Word
    message: Message = ""


VolumeOutcomes = Annotated[tuple[VolumeOutcome, ...], msgspec.Meta(max_length=MAX_VOLUME_ORDERS)]
