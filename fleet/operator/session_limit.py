"""How many sessions one device may hold: a few, for each costs the NATS server memory, and a listing of it time.

And how often it may begin one. What a session does is seen from its second listing on, so a device that begins a new
one every second would do unseen whatever NATS does not count.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fleet.contract.limits import SESSION_BURST, SESSION_RATE
from fleet.operator.meter import BEGAN, Flood

MAX_SESSIONS = 8
"""Of one device: an agent has one, an upgrade two, and some may be lost without NATS knowing it yet."""


class Session(msgspec.Struct, frozen=True):
    """One connection of one NATS server."""

    server: str
    cid: int


class SessionLimit:
    """The sessions of every device, the oldest first."""

    def __init__(self) -> None:
        self._held: dict[str, dict[Session, None]] = {}
        self._ending: dict[Session, str] = {}
        self._ended: set[Session] = set()
        """NATS says that they ended. It still lists them for a while, and we may hear only later that they began."""
        self._ended_before: frozenset[Session] = frozenset()

    def begun(self, device: str, session: Session) -> list[Session]:
        """A session began; returns those to end. The oldest go, for among them are those that were lost.

        One that is to end already was listed before we heard that it began: it does not count as a new one.
        """
        if session in self._ended:
            return []
        if session in self._ending:
            return [session]
        held = self._held.setdefault(device, {})
        held[session] = None
        surplus = list(held)[: max(0, len(held) - MAX_SESSIONS)]
        for one in surplus:
            del held[one]
            self._ending[one] = device
        return surplus

    def ended(self, device: str, session: Session) -> None:
        """NATS says that a session ended."""
        self._ended.add(session)
        self._forget(device, session)

    def _forget(self, device: str, session: Session) -> None:
        self._ending.pop(session, None)
        held = self._held.get(device, {})
        held.pop(session, None)
        if not held:
            self._held.pop(device, None)

    def held(self, device: str) -> list[Session]:
        """The sessions that a device holds, the oldest first; not those that are to end."""
        return list(self._held.get(device, ()))

    def owner(self, session: Session) -> str:
        """The device that holds a session; empty where it is not known."""
        return next((device for device, sessions in self._held.items() if session in sessions), "")

    def known(self) -> frozenset[tuple[str, Session]]:
        """Every session, with its device; also those that are to end."""
        held = ((device, session) for device, sessions in self._held.items() for session in sessions)
        return frozenset((*held, *((device, session) for session, device in self._ending.items())))

    def count(self) -> frozenset[tuple[str, Session]]:
        """NATS is about to be asked for every session: what is `known` before."""
        self._ended_before = frozenset(self._ended)
        return self.known()

    def recounted(self, before: frozenset[tuple[str, Session]], found: Iterable[tuple[str, Session]]) -> list[Session]:
        """NATS listed every session; returns those to end. An event may have been missed, by us or by NATS.

        Args:
            before: As `count` gave it before NATS was asked: of these, what it does not list has ended.
            found: What it lists, the oldest first. Among it may be what is to end and has not ended yet.
        """
        listed = list(found)
        self._ended -= self._ended_before - {session for _, session in listed}
        listed = [(device, session) for device, session in listed if session not in self._ended]
        for device, session in before - frozenset(listed):
            self._forget(device, session)
        known = self.known()
        again = [session for _, session in listed if session in self._ending]
        new = [(device, session) for device, session in listed if (device, session) not in known]
        return [*again, *(old for device, session in new for old in self.begun(device, session))]


class _Begun(msgspec.Struct):
    """A bucket that empties at `SESSION_RATE`; `number` sessions since it last was empty."""

    at: float
    since: float
    level: float = 0
    number: int = 0


class SessionPace:
    """How often each device begins a session."""

    def __init__(self) -> None:
        self._devices: dict[str, _Begun] = {}

    def begun(self, device: str, now: float) -> Flood | None:
        """A session began at `now`, in monotonic seconds; what to say of the device if that was one too many."""
        bucket = self._devices.setdefault(device, _Begun(now, now))
        bucket.level -= (now - bucket.at) * SESSION_RATE
        bucket.at = now
        if bucket.level <= 0:
            bucket.since, bucket.level, bucket.number = now, 0, 0
        bucket.level += 1
        bucket.number += 1
        if bucket.level <= SESSION_BURST:
            return None
        del self._devices[device]
        return Flood(device, bucket.number, 0, bucket.since, now - bucket.since, did=BEGAN)
