"""The identity registry in memory: watched, and read completely at every reconnect and by a timer."""

from __future__ import annotations

import asyncio

import structlog

from fleet.callout.metrics import Metrics
from fleet.contract.errors import InvalidInput, why
from fleet.contract.names import TokenSubject
from fleet.contract.wire import Identity
from fleet.nats.bus import KV, BadEntry, Deleted, Entry
from fleet.process.backoff import Backoff

REREAD = 30.0
"""Seconds between complete reads, which find changes that the watch missed."""
_FIRST_RETRY, _LONGEST_RETRY = 0.25, 2.0

log = structlog.get_logger()


class Registry:
    """Identities by token subject, from the bucket that the operator writes."""

    def __init__(self, metrics: Metrics) -> None:
        self.identities: dict[str, Identity] = {}
        self.fresh = asyncio.Event()
        """Whether the content is known to be current; it is not during and just after a lost connection."""
        self._metrics = metrics
        self._bad: dict[str, str] = {}
        self._heard: list[Entry[Identity] | BadEntry | Deleted] | None = None
        self._wake = asyncio.Event()

    def lost(self) -> None:
        """The connection is lost: changes may be missed, so nothing is certain until the next complete read."""
        self.fresh.clear()

    def regained(self) -> None:
        """The connection is back: read everything now."""
        self.fresh.clear()
        self._wake.set()

    async def keep(self, kv: KV[Identity]) -> None:
        """Watch and re-read the bucket until cancelled. The reason of a failure is logged when it changes."""
        followed, reason = False, ""
        backoff = Backoff(_FIRST_RETRY, _LONGEST_RETRY)
        while True:
            self._wake.clear()
            try:
                if not followed:
                    await kv.follow(">", self._change)
                    followed = True
                await self._read(kv)
                wait, reason = REREAD, ""
                backoff.reset()
            except Exception as error:
                if why(error) != reason:
                    log.warning("registry not read", why=why(error))
                wait, reason = backoff.next(), why(error)
            try:
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _read(self, kv: KV[Identity]) -> None:
        """Replace the content; changes that arrive during the read are newer, and are applied after it."""
        self._heard = []
        try:
            entries = await kv.read_all()
            heard = self._heard
        finally:
            self._heard = None
        self.identities = {}
        for entry in (*entries, *heard):
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
        """A value that does not parse allows no login; it is logged once, and stops nothing."""
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
