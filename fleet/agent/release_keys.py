"""The release keys that a device trusts: lists that the server carries are proven and written before they count.

The server cannot make such a list: a key of the list that the device has must have signed it (decision 074).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import structlog

from fleet.agent.child import call
from fleet.agent.read_trigger import ReadTrigger
from fleet.agent.upgrade.device.take_keys import Request, Verdict
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.contract.buckets import RELEASE_KEYS, TRUST_KEY
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.contract.release_keys import HeldKeys, SignedKeys
from fleet.contract.upgrade import TrustedKeys
from fleet.contract.versions import digest_of
from fleet.contract.wire import decode
from fleet.nats.bus import Bus, Entry
from fleet.process.plain_file import read_file

_log = structlog.stdlib.get_logger()
_WORKER = "fleet.agent.upgrade.device.take_keys"
_WITHIN = 120.0
"""Seconds: the smallest of our devices need several to start a process."""
_LONGEST = 512
"""Characters of a reason that is reported."""


class ReleaseKeyRotation:
    """The list of one device. `changed` takes which one it has, whenever that may have changed."""

    def __init__(self, store: VersionStore, resync: float, changed: Callable[[HeldKeys], None]) -> None:
        """Contact nothing yet; `resync` is in seconds: how often the list is looked at without a cause."""
        self._store = store
        self._changed = changed
        self._trigger = ReadTrigger(resync)
        self._last_error = ""
        changed(_held(store))

    def missed(self) -> None:
        """The lists may have changed without our hearing of it."""
        self._trigger.fire()

    async def serve(self, bus: Bus) -> None:
        """Take every list that the server offers and that can be proven, for as long as the connection lives."""
        await bus.subscribe(RELEASE_KEYS.notify_subject(TRUST_KEY), self._trigger.fire)
        async for _ in self._trigger.times():
            try:
                refused = await self._read(bus)
            except FleetError as error:
                self._trigger.failed()
                self._log_error(error.what)
            else:
                self._log_error(refused)

    async def _read(self, bus: Bus) -> str:
        """Take what is offered; why a list was not taken."""
        before = await asyncio.to_thread(_held, self._store)
        entry = await bus.kv(RELEASE_KEYS).get(TRUST_KEY)
        if entry is not None and not isinstance(entry, Entry):
            raise InvalidInput(entry.why, next_step="repeat `fleet secrets rotate release_key`")
        newer = tuple(signed for signed in entry.value.lists if _number(signed) > before.number) if entry else ()
        if before.refused or not before.digest or not newer:
            self._changed(before)
            return before.refused
        refused = await self._take(newer)
        held = await asyncio.to_thread(_held, self._store)
        self._changed(msgspec.structs.replace(held, refused=refused[:_LONGEST]))
        if held.digest != before.digest:
            _log.info("the device trusts another list of release keys", number=held.number, digest=held.digest)
        return refused

    async def _take(self, lists: tuple[SignedKeys, ...]) -> str:
        request = msgspec.json.encode(Request(str(self._store.root), lists))
        try:
            _, answer = await call(_WORKER, stdin=request, within=_WITHIN)
            return msgspec.json.decode(answer, type=Verdict).refused
        except (TimeoutError, *NOT_JSON) as error:
            why = validation_words(error) or "no answer in time"
            raise FleetError(
                f"the process that proves lists of release keys failed: {why}",
                next_step="see its traceback in the agent's log",
            ) from error

    def _log_error(self, why: str) -> None:
        if why and why != self._last_error:
            _log.warning("a list of release keys is not taken; the one before still counts", why=why)
        self._last_error = why


def _held(store: VersionStore) -> HeldKeys:
    """The list that is on the disk."""
    try:
        data = read_file(store.trusted_keys)
    except FileNotFoundError:
        return HeldKeys()
    except OSError as error:
        return HeldKeys(refused=f"{store.trusted_keys}: {error.strerror}")
    digest = digest_of(data)
    try:
        return HeldKeys(decode(data, TrustedKeys).number, digest)
    except InvalidInput as error:
        return HeldKeys(0, digest, f"{store.trusted_keys} does not parse: {error.what}"[:_LONGEST])


def _number(offered: SignedKeys) -> float:
    """That of a list; what is none is handed on, and refused in words."""
    try:
        return decode(offered.payload.encode(), TrustedKeys).number
    except InvalidInput:
        return float("inf")
