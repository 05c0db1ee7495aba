"""Takes an engine's log apart: frames of its stream, and lines of what is in them. Pure, and bounded in memory.

A frame is eight bytes, the first of which names the stream (1 standard output, 2 standard error) and the last four the
size of what follows (Docker Engine API, "Attach to a container", stream format).
"""

from __future__ import annotations

from fleet.contract.logs import MAX_LINE

_HEADER = 8
_STREAMS = (0, 1, 2)


class NoFrames(ValueError):  # noqa: N818 - says what it is
    """What the engine sends is no stream of frames."""


class Lines:
    """Lines out of frames; a line may come in several of them, and in another stream meanwhile."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._stream = 1
        self._begun: dict[int, bytes] = {}

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes, each without its end, cut after `MAX_LINE` bytes and one.

        Raises:
            NoFrames: it is not what an engine sends.
        """
        lines: list[bytes] = []
        place = 0
        while place < len(data):
            if not self._left:
                taken = data[place : place + _HEADER - len(self._header)]
                place += len(taken)
                self._header += taken
                if len(self._header) == _HEADER:
                    self._open()
                continue
            part = data[place : place + self._left]
            place += len(part)
            self._left -= len(part)
            self._split(part, lines)
        return lines

    def end(self) -> list[bytes]:
        """What was begun and not ended."""
        left, self._begun = [line for line in self._begun.values() if line], {}
        return left

    def _open(self) -> None:
        if self._header[0] not in _STREAMS or self._header[1:4] != b"\0\0\0":
            raise NoFrames(f"it begins with {self._header!r}")
        self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
        self._header = b""

    def _split(self, part: bytes, lines: list[bytes]) -> None:
        *whole, rest = part.split(b"\n")
        begun = self._begun.get(self._stream, b"")
        if whole:
            whole[0] = begun + whole[0]
            begun = b""
            lines += [line[: MAX_LINE + 1].removesuffix(b"\r") for line in whole]
        self._begun[self._stream] = (begun + rest)[: MAX_LINE + 1]
