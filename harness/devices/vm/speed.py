"""How slow a machine is now: the time of a piece of work on it, against that on the machine our limits are for."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.errors import TargetUnavailable
from harness.scenario.command import Result, run

_log = logging.getLogger("fleet.speed")

_WORK = """\
import hashlib, subprocess, sys, time
def work():
    started = time.monotonic()
    for _ in range(3):
        subprocess.run([sys.executable, "-c", "import asyncio, json, ssl, subprocess"], check=True)
    data = b"x" * 65536
    for _ in range(200):
        data = hashlib.sha256(data).digest() * 2048
    return time.monotonic() - started
print(min(work() for _ in range(2)))
"""
"""Starts of Python with what an agent imports, and digests: set-ups, upgrades and starts of agents consist of them.

The first of two times, with nothing of it in memory yet, does not count.
"""
_USUAL = 0.17
"""Seconds that it takes on an idle core of the machine that the limits of scenarios were measured on."""
_ROOM = 4.0
"""How many times as slow as usual a processor may be within the limits of scenarios: an upgrade takes 3.4 s of 45, a
set-up 2 s of 30, and the rest is for what is slow for another reason."""
_KERNEL = 3.0
"""Seconds that a kernel takes by emulation on that machine: the guest takes 13 s to boot then."""
SLOW = 300.0
"""Seconds for the work on any machine, and for a command on one whose speed is not known yet."""
_SLOWEST = 50.0
"""Beyond it nothing that is waited for says anything any more."""


def measured(run: Callable[[Sequence[str]], Result]) -> float:
    """The factor by which everything may take longer with a device, given what runs a command on it; 1 at least.

    Raises:
        TargetUnavailable: it has no Python that works, or is too slow for any scenario.
    """
    result = run(["python3", "-c", _WORK])
    try:
        seconds = float(result.stdout)
    except ValueError:
        raise TargetUnavailable(
            f"the device's speed cannot be measured: {result}", next_step="apt-get install python3 on it"
        ) from None
    return _factor(seconds, _USUAL)


def here() -> float:
    """That factor of the machine that tests run on; as `measured` for errors."""

    def started(argv: Sequence[str]) -> Result:
        argv = [sys.executable, *argv[1:]]
        return run(argv, "a piece of work", env={}, folder=Path("/"), deadline=SLOW, on_line=lambda _: None)

    return measured(started)


def booting(seconds: float) -> float:
    """That factor of a machine whose kernel took so many seconds to its end, for the boot of its guest.

    Raises:
        TargetUnavailable: it is too slow for any scenario.
    """
    return _factor(seconds, _KERNEL)


def _factor(seconds: float, usual: float) -> float:
    factor = max(1.0, seconds / usual / _ROOM)
    _log.info("what usually takes %g s took %.2f s: limits are %.1f times", usual, seconds, factor)
    if factor > _SLOWEST:
        raise TargetUnavailable(
            f"the device is {seconds / usual:.0f} times as slow as usual, so no limit says anything",
            next_step="run fewer things on this machine",
        )
    return factor
