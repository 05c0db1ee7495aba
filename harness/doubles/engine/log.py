"""A container's log: what its process writes into a file, read as the engines let it be read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec

_LOOK = 0.02
"""Seconds between looks at the file."""
_AT_ONCE = 16 * 1024
"""Bytes of a frame, as dockerd has it."""


class Wanted(msgspec.Struct, frozen=True):
    """The last so many lines, None for all, from a Unix time on; and with `follow` what comes after."""

    tail: int | None
    since: float
    follow: bool


class Log:
    """One file. `running` says whether more may come."""

    def __init__(self, file: Path, running: Callable[[], bool]) -> None:
        """Read nothing yet."""
        self.file = file
        self._running = running
        self._sizes: list[tuple[float, int]] = []

    async def note(self) -> None:
        """Remember when the file had which size: the lines in it bear no time."""
        try:
            while True:
                self._note()
                await asyncio.sleep(_LOOK)
        finally:
            self._note()

    async def frames(self, wanted: Wanted) -> AsyncIterator[bytes]:
        """The multiplexed stream; all of it is standard output, in which standard error is, too."""
        self._note()  # `note` may have seen nothing of it yet
        # What was written up to the last look before that time is older than it.
        place = max((size for at, size in self._sizes if at <= wanted.since), default=0)
        data = self._read(place)
        place += len(data)
        if wanted.tail is not None:
            data = b"".join(data.splitlines(keepends=True)[-wanted.tail :]) if wanted.tail else b""
        while True:
            for begin in range(0, len(data), _AT_ONCE):
                part = data[begin : begin + _AT_ONCE]
                yield b"\x01\0\0\0" + len(part).to_bytes(4, "big") + part
            ended = not self._running()
            data = self._read(place)
            place += len(data)
            if data:
                continue
            if ended or not wanted.follow:
                return
            await asyncio.sleep(_LOOK)

    def _note(self) -> None:
        size = self._size()
        if size != (self._sizes[-1][1] if self._sizes else 0):
            self._sizes.append((time.time(), size))

    def _size(self) -> int:
        return self.file.stat().st_size if self.file.exists() else 0

    def _read(self, place: int) -> bytes:
        if not self.file.exists():
            return b""
        with self.file.open("rb") as file:
            file.seek(place)
            return file.read(64 * _AT_ONCE)
