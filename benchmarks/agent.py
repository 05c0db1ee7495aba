"""What an agent with nothing to do costs its device: memory, CPU and wake-ups."""

from __future__ import annotations

import time

from benchmarks.place import installed, set_up
from benchmarks.report import Table
from benchmarks.rollout import apply, ready
from benchmarks.usage import cpu_seconds, memory_mib, voluntary_switches
from harness.devices.process import ProcessDevice
from harness.wait import wait_until

SECONDS = 300.0
"""How long the agent is watched."""


def run(seconds: float = SECONDS) -> Table:
    """Watch an agent that keeps one running container, with the default heartbeat of 10 s."""
    with installed() as world:
        name = world.unique("idle")
        device = set_up(world, name)
        apply(world, name, name)
        wait_until(lambda: ready(world, name), "the workload runs", timeout=30)
        assert isinstance(device, ProcessDevice)
        pid = world.components()[device.agent].pid
        assert pid is not None
        started, cpu, woken = time.monotonic(), cpu_seconds(pid), voluntary_switches(pid)
        time.sleep(seconds)
        watched = time.monotonic() - started
        used, woken = cpu_seconds(pid) - cpu, voluntary_switches(pid) - woken
        row = (
            f"{watched:.0f}",
            f"{memory_mib(pid):.1f}",
            f"{memory_mib(pid, 'VmHWM'):.1f}",
            f"{used:.2f}",
            f"{used / watched:.3%}",
            f"{woken / watched:.1f}",
        )
    columns = ("seconds", "resident MiB", "most ever MiB", "CPU s", "of one core", "wake-ups/s")
    return Table(
        "agent", columns, (row,), ("One agent, one running container, a heartbeat every 10 s, nothing to do.",)
    )
