"""What an idle agent costs its machine: bytes on the disk, for SD cards die of writes; memory, processor, time to boot.

Ten minutes, so nobody runs it without asking: `pytest e2e/test_machine_rest.py -m libvirt`.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path

import msgspec
import pytest

from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import prepared
from harness.wait import wait_until
from harness.world.world import World
from scenarios import checks
from scenarios.machine_faults import as_root, heard_again, order

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]
_log = logging.getLogger("fleet.rest")
_DEVICE = Scenario(id="machine-rest", title="A device at rest", chapter="Rules", why="", devices=1)
_IDLE = 600.0
"""Seconds of the machine's own time."""
_MOST_WRITTEN = 100 * 1024
"""Bytes an hour."""
_MOST_MEMORY = 96 * 2**20
_LOOK = r"""
import json, pathlib, subprocess
show = lambda name: subprocess.run(
    ["systemctl", "show", "--value", "--property", name, "fleet-agent.service"], capture_output=True, text=True
).stdout.strip()
group = pathlib.Path("/sys/fs/cgroup") / show("ControlGroup").strip("/")
pids = (group / "cgroup.procs").read_text().split()
def written(pid):
    lines = pathlib.Path("/proc", pid, "io").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("write_bytes", "cancelled_write_bytes")))
print(json.dumps({
    "uptime": float(pathlib.Path("/proc/uptime").read_text().split()[0]),
    "written": sum(map(written, pids)),
    "disk": int(pathlib.Path("/sys/block/vda/stat").read_text().split()[6]) * 512,
    "memory": int((group / "memory.current").read_text()),
    "processor": int((group / "cpu.stat").read_text().split()[1]) / 1e6,
}))
"""
"""proc(5), cgroups(7), and Documentation/block/stat.rst of Linux; run on the machine, as its administrator."""


class _Seen(msgspec.Struct, frozen=True):
    """What a machine tells: seconds since its boot, bytes written by the agent and by all, bytes of memory, seconds of
    work."""

    uptime: float
    written: int
    disk: int
    memory: int
    processor: float


def test_an_idle_agent_costs_little(world: World, tmp_path: Path) -> None:
    with prepared(_DEVICE, world, tmp_path) as run:
        order(run, 1)
        checks.next_beat(run)
        as_root(run, "sync")  # what the set-up left to be written
        first = _look(run)
        last = wait_until(
            lambda: _look(run),
            f"{_IDLE:g} s have passed on the machine",
            timeout=4 * _IDLE,
            until=lambda seen: seen.uptime - first.uptime >= _IDLE,
            interval=30,
        )
        seconds = last.uptime - first.uptime
        an_hour = (last.written - first.written) * 3600 / seconds
        _log.info(
            "an idle agent writes %.1f KiB an hour (the machine %.0f), has %.1f MiB, and works %.2f %% of a core",
            an_hour / 1024,
            (last.disk - first.disk) * 3600 / seconds / 1024,
            last.memory / 2**20,
            (last.processor - first.processor) * 100 / seconds,
        )
        host, started = checks.killable(run), time.monotonic()
        host.power_off()
        host.power_on()
        heard_again(run)
        _log.info("from power to being heard: %.1f s", time.monotonic() - started)
        assert an_hour <= _MOST_WRITTEN
        assert last.memory <= _MOST_MEMORY


def _look(run: Run) -> _Seen:
    return msgspec.json.decode(as_root(run, f"python3 -c '{_LOOK}'"), type=_Seen)
