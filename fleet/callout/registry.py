"""The identity registry in memory: followed, and read whole again at every reconnect and by a timer."""

from __future__ import annotations

import asyncio

import structlog

from fleet.bus import KV, BadEntry, Deleted, Entry
from fleet.callout.metrics import Metrics
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.names import TokenSubject
from fleet.contract.wire import Identity

REREAD = 30.0
"""Seconds between complete reads: the backstop for a change that was not heard."""
_RETRY = 0.5

log = structlog.get_logger()


class Registry:
    """Identities by token subject, from the bucket that the operator writes."""

    def __init__(self, metrics: Metrics) -> None:
        """Start empty, and not fresh."""
        self.identities: dict[str, Identity] = {}
        self.fresh = asyncio.Event()
        """Whether what was read is known to be current; not while, or just after, the connection was lost."""
        self._metrics = metrics
        self._bad: dict[str, str] = {}
        self._heard: list[Entry[Identity] | BadEntry | Deleted] | None = None
        self._wake = asyncio.Event()

    def lost(self) -> None:
        """The connection is gone: changes may be missed, so nothing known is certain until it was read again."""
        self.fresh.clear()

    def regained(self) -> None:
        """The connection is back: read everything now."""
        self.fresh.clear()
        self._wake.set()

    async def keep(self, kv: KV[Identity]) -> None:
        """Follow and re-read the bucket, for ever. Why it cannot be read is told once, and again when that changes."""
        followed, told = False, ""
        while True:
            self._wake.clear()
            try:
                if not followed:
                    await kv.follow(">", self._change)
                    followed = True
                await self._read(kv)
                wait, told = REREAD, ""
            except FleetError as error:
                if error.what != told:
                    log.warning("registry not read", why=error.what)
                wait, told = _RETRY, error.what
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _read(self, kv: KV[Identity]) -> None:
        """Replace what is known; what is heard during the read is newer than it, and is applied on top."""
        self._heard = []
        try:
            found = await kv.read_all()
            heard = self._heard
        finally:
            self._heard = None
        self.identities = {}
        for entry in (*found, *heard):
            self._apply(entry)
        self._metrics.identities.set(len(self.identities))
        if not self._wake.is_set():
            self.fresh.set()

    async def _change(self, change: Entry[Identity] | BadEntry | Deleted) -> None:
        if self._heard is not None:
            self._heard.append(change)
        self._apply(change)
        self._metrics.identities.set(len(self.identities))

    def _apply(self, entry: Entry[Identity] | BadEntry | Deleted) -> None:
        if isinstance(entry, Deleted):
            self.identities.pop(entry.key, None)
            self._bad.pop(entry.key, None)
        elif isinstance(entry, BadEntry):
            self._skip(entry.key, entry.why)
        elif why := _bad_key(entry.key):
            self._skip(entry.key, why)
        else:
            self.identities[entry.key] = entry.value
            self._bad.pop(entry.key, None)

    def _skip(self, key: str, why: str) -> None:
        """A value that does not parse lets nobody in; it is told once, and stops nothing."""
        self.identities.pop(key, None)
        if self._bad.get(key) != why:
            self._bad[key] = why
            self._metrics.bad_entries.inc()
            log.warning("registry entry skipped", key=key[:200], why=why[:500])


def _bad_key(key: str) -> str:
    try:
        TokenSubject(key)
    except InvalidInput as error:
        return error.what
    return ""
