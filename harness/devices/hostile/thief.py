"""An attacker with a stolen configuration file: its content, and his connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from fleet.contract.buckets import APP_BUCKETS, Bucket
from fleet.contract.config import AgentConfig
from harness.devices.hostile.pace import Pace
from harness.devices.hostile.raw_connection import ConnectionEnded, RawConnection, message
from harness.probes.identity import machine_token

_SESSIONS = 64
"""Connections at once, at most."""
_PATIENT = 4096
"""Bytes that a patient one says at once."""


@dataclass
class Thief:
    """An attacker with a stolen device.

    Attributes:
        config: The whole of what he holds.
        chance: Where every choice of his comes from.
        neighbours: Ids that he guesses; ids are no secret.
        token: The last access token; empty before the first.
        sent: Bytes published so far.
        logins: How many sessions were let in.
        refusals: How many were not.
        pace: What keeps him below the rates of a flood; None while he does not care.
    """

    config: AgentConfig
    chance: random.Random
    neighbours: tuple[str, ...]
    token: str = ""
    sent: int = 0
    logins: int = 0
    refusals: int = 0
    pace: Pace | None = None
    _alive_at: float = 0
    _lines: list[RawConnection] = field(default_factory=list[RawConnection])

    @property
    def me(self) -> bytes:
        """His device's id, as it stands in subjects."""
        return str(self.config.device_id).encode()

    def victim(self) -> bytes:
        """The id of another device."""
        return self.chance.choice(self.neighbours or ("pi-1",)).encode()

    @property
    def alive_at(self) -> float:
        """The last monotonic time at which a session that was let in still stood."""
        return max([self._alive_at, *(line.ended_at or time.monotonic() for line in self._lines)])

    async def line(self) -> RawConnection:
        """A session that is logged in: an open one, or a new one.

        Raises:
            ConnectionEnded: the server lets us in no more.
        """
        self._forget()
        return self._lines[-1] if self._lines else await self.another()

    async def another(self, **options: object) -> RawConnection:
        """A further session; CONNECT says `options` too; as `line` for errors."""
        self._forget()
        if len(self._lines) >= _SESSIONS:
            self._lines[0].close()
            self._forget()
        line = await RawConnection.open(self.config.nats_url, self.config.auth.ca)
        if not self.token:
            self.token = await asyncio.to_thread(machine_token, self.config.auth)
        let_in = False
        try:
            let_in = await line.log_in(self.token, **options)
        finally:
            if not let_in:
                self.refusals += 1
                line.close()
        if not let_in:
            raise ConnectionEnded(f"not let in: {line.heard[-100:]!r}")
        self.logins += 1
        self._lines.append(line)
        return line

    async def put(self, subject: bytes, body: bytes = b"", *, reply: bytes = b"", headers: bytes = b"") -> None:
        """Publish; as `line` for errors."""
        await self.say(message(subject, body, reply=reply, headers=headers))

    async def say(self, data: bytes) -> None:
        """Send bytes as they are on some session; as `line` for errors."""
        line = await self.line()
        await self._paced(data.count(b"PUB "), len(data))
        await line.say(data)
        self.sent += len(data)

    async def repeat(self, data: bytes, times: int, *, seconds: float) -> None:
        """Send the same bytes again and again, up to `times`, for at most `seconds`; as `line` for errors."""
        line, until = await self.line(), time.monotonic() + seconds
        batch = max(1, min(times, (_PATIENT if self.pace else 65536) // len(data)))
        for _ in range(0, times, batch):
            if time.monotonic() > until:
                return
            await self._paced(batch, len(data) * batch)
            await line.say(data * batch)
            self.sent += len(data) * batch

    async def _paced(self, messages: int, size: int) -> None:
        if self.pace is not None:
            await self.pace.take(messages, size)

    def close(self) -> None:
        """End every session."""
        for line in self._lines:
            line.close()
        self._forget()

    def _forget(self) -> None:
        self._alive_at = self.alive_at
        self._lines = [line for line in self._lines if not line.over]

    @contextlib.asynccontextmanager
    async def apart(self, **options: object) -> AsyncGenerator[RawConnection]:
        """A session of its own, ended afterwards."""
        line = await self.another(**options)
        try:
            yield line
        finally:
            line.close()


def subject(bucket: Bucket[Any], key: bytes) -> bytes:
    """Of a key that may be any bytes."""
    return bucket.subject("").encode() + key


def every_subject(device: bytes) -> list[bytes]:
    """Keys of a device in every bucket, and the direct gets of them: granted or not."""
    keys = [(bucket, key) for bucket in APP_BUCKETS for key in (device, device + b".web")]
    kept = [subject(bucket, key) for bucket, key in keys]
    gets = [b"$JS.API.DIRECT.GET.%s.%s" % (b.stream.encode(), subject(b, key)) for b, key in keys]
    return kept + gets
