"""Kubernetes Events about transitions: told after the status, one at a time, and kept a while when they cannot be."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from fleet.contract.errors import FleetError, NotPermitted, Unreachable
from fleet.operator.kube import KubeApi, Meta, ServerError
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind, Note
from fleet.operator.strays import Strays

_KEPT = 1000
"""Events that wait to be told; the oldest go first when there are more."""
_RIGHT = "create events"
_AGAIN = 2.0
"""Seconds before what could not be told is tried again."""


class _Told(msgspec.Struct, frozen=True):
    kind: Kind
    meta: Meta
    note: Note
    at: float


class Events:
    """What is to be told."""

    def __init__(self, api: KubeApi, readiness: Readiness, strays: Strays) -> None:
        """A right that is missing makes the operator unready; an event that is refused is a stray."""
        self._api = api
        self._readiness = readiness
        self._strays = strays
        self._waiting: deque[_Told] = deque(maxlen=_KEPT)
        self._news = asyncio.Event()

    def put(self, kind: Kind, meta: Meta, note: Note, at: float) -> None:
        """Tell it soon; `at` is Unix time in seconds."""
        self._waiting.append(_Told(kind, meta, note, at))
        self._news.set()

    async def run(self) -> None:
        """Tell them until cancelled."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._waiting:
                told = self._waiting.popleft()
                if not await self._tell(told):
                    self._waiting.appendleft(told)
                    await asyncio.sleep(_AGAIN)

    async def _tell(self, told: _Told) -> bool:
        """Whether it is told, or never can be."""
        try:
            await self._api.tell(told.kind, told.meta, told.note, told.at)
        except NotPermitted as error:
            self._readiness.wrong(_RIGHT, error.what)
            return False
        except (Unreachable, ServerError):
            return False
        except FleetError as error:
            self._strays.note("Event", told.meta.name, error.what)
        self._readiness.settled(_RIGHT)
        return True
