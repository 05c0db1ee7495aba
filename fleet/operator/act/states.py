"""A device's one value of states, where the operator changes it: an entry goes, or one of an earlier agent comes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection

from fleet.contract.buckets import DEVICE_STATE
from fleet.contract.errors import Conflict
from fleet.contract.states import DeviceStates, Entries, fitted
from fleet.nats.bus import Bus, Entry

Edit = Callable[[Entries], object]
"""Changes a device's entries in place."""
_TRIES = 8
"""Times that a device may report in between. One that never pauses holds up neither a pass nor its other changes."""


class States:
    """The values, each changed by one at a time, and never over what its device wrote meanwhile."""

    def __init__(self, app: Bus) -> None:
        self._kv = app.kv(DEVICE_STATE)
        self._changing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def change(self, device: str, edit: Edit) -> int:
        """Edit a device's value; the revision that it has then.

        Raises:
            Conflict: the device reports so often that each try was too late.
            FleetError: NATS did not acknowledge it.
        """
        async with self._changing[device]:
            for _ in range(_TRIES):
                try:
                    return await self._changed(device, edit)
                except Conflict:
                    # The device reported in between.
                    continue
        raise Conflict(f"{device} reports states without a pause, so none can be taken out", next_step="wait")

    async def remove(self, device: str, deployments: Collection[str]) -> None:
        """Take out what a device reports of these deployments, with one write; as `change` for errors."""

        def edit(entries: Entries) -> None:
            for deployment in deployments:
                entries.pop(deployment, None)

        await self.change(device, edit)

    async def _changed(self, device: str, edit: Edit) -> int:
        entry = await self._kv.get(device)
        before = entry.value.states if isinstance(entry, Entry) else Entries()
        after = dict(before)
        edit(after)
        if entry is not None and after == before:
            return entry.revision
        value = fitted(DeviceStates(after))
        if entry is None:
            # A deleted key has a revision, too: `create` writes over it.
            return await self._kv.create(device, value)
        return await self._kv.update(device, value, revision=entry.revision)

    def forget(self, device: str) -> None:
        """A device is gone."""
        self._changing.pop(device, None)
