"""What a process uses, by /proc."""

from __future__ import annotations

import os
import re
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time since its start, of all its threads and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICK


def memory_mib(pid: int, field: str = "VmRSS") -> float:
    """A memory field of its status: `VmRSS` is what is resident now, `VmHWM` the most that ever was."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(found.group(1)) / 1024 if found else 0.0


def voluntary_switches(pid: int) -> int:
    """How often its threads went to sleep by themselves: an idle process that is really idle has few wake-ups."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.MULTILINE)
        total += int(found.group(1)) if found else 0
    return total
