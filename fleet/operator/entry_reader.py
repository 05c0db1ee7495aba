"""Reads what Secrets stand for in OpenBao, in a task of its own: one that hangs delays no other Secret."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Container
from typing import Protocol

import structlog

from fleet.contract.errors import FleetError, NotPermitted
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.secrets import OPENBAO_AWAY, SecretProblem, SecretSeen
from fleet.secrets.openbao_connection import RENEW, Token, when

_SHARE = 10
"""To read all entries again takes at most one part in so many of the time."""
_LONGEST = 60.0
"""Seconds for which they are not read again because that takes long."""
_SUBJECT, _OPENBAO, _TOKEN = "get the Secret fleet-openbao", "get secrets in OpenBao", "log in at OpenBao"

_DEFECT = "this is a defect of Fleet; the operator's log has it"
log = structlog.get_logger()

Tell = Callable[[str, SecretSeen | SecretProblem, int], None]
"""Takes a Secret's name, what it stands for or why that cannot be had, and the mark of when it was asked for."""


class Entries(Protocol):
    """Where entries are read."""

    async def entry(self, name: str, pointer: SecretSeen) -> SecretSeen | SecretProblem:
        """What a Secret stands for, or why it cannot be had. Raises FleetError for what Kubernetes refuses."""
        ...

    async def token(self) -> Token | None:
        """What OpenBao says of the token that somebody gave the operator; None where nobody did, or it is not known."""
        ...


class EntryReader:
    """Entries that are to be read: first those that somebody waits for, then all others, round after round."""

    def __init__(
        self, entries: Entries, tell: Tell, readiness: Readiness, ends: Callable[[float | None], None]
    ) -> None:
        """Read nothing yet. `ends` is told when the operator's token ends, in Unix seconds."""
        self.away: dict[str, str] = {}
        """Why OpenBao did not say what a Secret stands for, by the Secret's name."""
        self._entries = entries
        self._tell = tell
        self._readiness = readiness
        self._ends = ends
        self._urgent: dict[str, tuple[SecretSeen, int]] = {}
        self._routine: dict[str, tuple[SecretSeen, int]] = {}
        self._pointers: dict[str, SecretSeen] = {}
        self._at_work = ""
        self._asked = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._spent = 0.0
        self._rests_until = 0.0

    @property
    def pending(self) -> set[str]:
        """The Secrets whose entries are still to be read."""
        return {*self._urgent, *self._routine, self._at_work} - {""}

    def offer(self, name: str, pointer: SecretSeen, mark: int, *, urgent: bool) -> None:
        """A Secret stands for an entry. One that has changed is read at once, and others if it is their turn."""
        if urgent or self._pointers.get(name) != pointer:
            self._urgent[name] = (pointer, mark)
            self._routine.pop(name, None)
        elif name not in self._urgent and asyncio.get_running_loop().time() >= self._rests_until:
            self._routine[name] = (pointer, mark)
        else:
            return
        self._pointers[name] = pointer
        self._idle.clear()
        self._asked.set()

    def forget(self, name: str) -> None:
        """A Secret stands for no entry, or not any more; what is being read for it is out of date."""
        if self._pointers.pop(name, None) is not None:
            self._urgent.pop(name, None)
            self._routine.pop(name, None)
            self.away.pop(name, None)

    def keep(self, wanted: Container[str]) -> None:
        """Forget the Secrets that no deployment names any more."""
        for name in [pointer for pointer in self._pointers if pointer not in wanted]:
            self.forget(name)
        self._report()

    async def idle(self, seconds: float) -> None:
        """Wait until all is read, but not longer."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), seconds)

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            wrong = ""
            while queue := self._urgent or self._routine:
                self._at_work = next(iter(queue))
                wrong = await self._read(self._at_work, *queue.pop(self._at_work)) or wrong
                self._at_work = ""
            self._rest()
            if wrong:
                self._readiness.wrong(_SUBJECT, wrong)
            else:
                self._readiness.settled(_SUBJECT)
            self._report()
            self._idle.set()
            self._check_token(await self._token())

    async def _read(self, name: str, pointer: SecretSeen, mark: int) -> str:
        """Read one; returns what was wrong with Kubernetes, or nothing."""
        clock = asyncio.get_running_loop().time
        began, wrong = clock(), ""
        try:
            entry = await self._entries.entry(name, pointer)
        except NotPermitted as error:
            wrong = error.what
            entry = SecretProblem("SecretForbidden", f"the operator may not read what the Secret {name} needs: {wrong}")
        except FleetError as error:
            return error.what
        except Exception as error:
            # Not its text, which may hold a secret. One entry ends neither the others nor the operator.
            log.warning("an entry was not read", secret=name, error=type(error).__name__)
            entry = SecretProblem("SecretUnusable", f"what the Secret {name} stands for cannot be read: {_DEFECT}")
        if self._pointers.get(name) != pointer:
            return wrong  # it stands for something else by now
        if isinstance(entry, SecretProblem) and entry.reason == OPENBAO_AWAY:
            # The time that it took counts for nothing: it is asked less and less often anyway.
            self.away[name] = entry.message
        else:
            self.away.pop(name, None)
            self._spent += clock() - began
        self._tell(name, entry, mark)
        return wrong

    async def _token(self) -> Token | None:
        try:
            return await self._entries.token()
        except Exception as error:
            log.warning("the operator's token was not looked at", error=type(error).__name__)
            return None

    def _rest(self) -> None:
        clock = asyncio.get_running_loop().time
        self._rests_until, self._spent = clock() + min(_SHARE * self._spent, _LONGEST), 0.0

    def _report(self) -> None:
        if self.away:
            self._readiness.remark(_OPENBAO, self.away[min(self.away)])
        else:
            self._readiness.settled(_OPENBAO)

    def _check_token(self, token: Token | None) -> None:
        end = token.end(time.time()) if token else None
        self._ends(end)
        if token and end and token.ends_soon:
            self._readiness.remark(_TOKEN, f"the operator's token ends on {when(end)}: {RENEW}")
        else:
            self._readiness.settled(_TOKEN)
