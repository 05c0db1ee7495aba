"""What waits to be sent of one answer: bounded, and where there is no room, lines are counted instead of kept."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from fleet.contract.logs import MAX_LINE, MAX_TEXT

_ROOM = 128 * 1024
"""Bytes that wait, at most."""


class Taken(msgspec.Struct, frozen=True):
    """The next lines of an answer, and what is missing before the first of them."""

    lines: tuple[str, ...] = ()
    size: int = 0
    dropped: int = 0
    skipped: bool = False
    touched: bool = False
    """Whether it is to be sent also without any line."""

    @property
    def due(self) -> bool:
        """Whether there is anything to be sent."""
        return bool(self.lines or self.dropped or self.skipped or self.touched)


class Outbox:
    """The lines of one answer. While it is full, `put` drops and counts lines with `drops`, or else waits."""

    def __init__(self, *, drops: bool) -> None:
        self._drops = drops
        self._waiting: deque[tuple[str, int] | int] = deque()
        self._size = 0
        self._skipped = False
        self._touched = True
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.closed = False

    async def put(self, lines: Sequence[bytes]) -> None:
        """Add lines, as the program wrote them."""
        for number, line in enumerate(lines):
            if self._size >= _ROOM:
                if self._drops:
                    self.drop(len(lines) - number)
                    return
                self._room.clear()
                await self._room.wait()
            text = shown(line)
            size = len(msgspec.json.encode(text)) + 1
            self._waiting.append((text, size))
            self._size += size
            self._changed.set()

    def drop(self, count: int) -> None:
        """So many lines are missing here."""
        last = self._waiting.pop() if self._waiting and isinstance(self._waiting[-1], int) else 0
        assert isinstance(last, int)
        self._waiting.append(last + count)
        self._changed.set()

    def skip(self) -> None:
        """Lines are missing, and their number is unknown."""
        self._skipped = True
        self._changed.set()

    def touch(self) -> None:
        """The reader is to have a piece, though it may be an empty one."""
        self._touched = True
        self._changed.set()

    def close(self) -> None:
        """Nothing comes any more."""
        self.closed = True
        self._changed.set()

    @property
    def plenty(self) -> bool:
        """Whether a piece would be full."""
        return self._size >= MAX_TEXT

    async def ready(self) -> None:
        """Wait until something is there to be sent, or nothing comes any more."""
        while not (self._waiting or self._skipped or self._touched or self.closed):
            self._changed.clear()
            await self._changed.wait()

    def take(self) -> Taken:
        """The next lines: what fits into a piece."""
        skipped, self._skipped = self._skipped, False
        touched, self._touched = self._touched, False
        dropped, lines, size = 0, list[str](), 0
        while self._waiting:
            first = self._waiting[0]
            if isinstance(first, int):
                if lines:
                    break
                dropped += first
            elif lines and size + first[1] > MAX_TEXT:
                break
            else:
                lines.append(first[0])
                size += first[1]
            self._waiting.popleft()
        self._size -= size
        self._room.set()
        return Taken(tuple(lines), size, dropped, skipped, touched)


def shown(line: bytes) -> str:
    """A line as text: what is no UTF-8 is written as Python escapes it, and what is too long is cut."""
    cut = line if len(line) <= MAX_LINE else line[: MAX_LINE - 3] + b"..."
    return cut.decode("utf-8", "backslashreplace")
