"""Counts the starts that ended badly with what is on disk: what kills an agent again and again is not restored again.

The counter lies beside the desired state. It is raised before what is on disk is used, and set back when the agent has
worked for a quiet time, or ends in order; a boot begins anew, for a power cut is no crash.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleet.agent.record import read_record, write_record

ENOUGH = 5
"""Crashes in a row after which an agent waits for NATS to tell what to run."""
QUIET = 60.0
"""Seconds of work after which a start counts as a good one."""


class _Count(msgspec.Struct):
    boot_id: str = ""
    starts: int = 0


class Crashes:
    """The counter of one device, in one file; a disk that cannot be written counts nothing."""

    def __init__(self, path: Path, boot_id: str) -> None:
        self.path = path
        self._boot_id = boot_id

    def begin(self) -> int:
        """Another start with what is on disk; how many before it, in a row, did not end well."""
        before = self._read()
        self._write(before + 1)
        return before

    def over(self) -> None:
        """The start was a good one."""
        if self._read():
            self._write(0)

    def _read(self) -> int:
        count = read_record(self.path, _Count)
        return max(0, count.starts) if count.boot_id == self._boot_id else 0

    def _write(self, starts: int) -> None:
        write_record(self.path, _Count(self._boot_id, starts))
