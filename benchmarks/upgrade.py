"""Upgrades and rollbacks of agents, one after the other on a device or several, while agents are killed at random."""

from __future__ import annotations

import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from benchmarks.place import installed
from benchmarks.report import Table
from fleet.contract.config import OperatorConfig, UpgradeRules, load_config, render_config
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradePhase
from harness.world.world import World
from tests.upgrade.matrix.lab import INTERVAL, Lab
from tests.upgrade.matrix.shelf import publish_all, stage_all

CYCLES = 1000
DEVICES = 1
"""More than one measure how two cores are shared: a cycle needs three to four seconds of one."""
SEED = 20_261_125
_KILLED = 0.3
"""The part of the cycles in which an agent is killed."""
_WINDOW = 4.0
"""Seconds after the order within which that happens."""
VERSIONS = (AgentVersion("v0.1.1"), AgentVersion("v0.1.2"))


@dataclass
class Tally:
    """What one device went through. Times in seconds."""

    took: list[float] = field(default_factory=list[float])
    kills: list[float] = field(default_factory=list[float])
    undone: int = 0
    silences: list[float] = field(default_factory=list[float])
    after_kills: list[float] = field(default_factory=list[float])
    touched: int = 0
    grew: int = 0

    def hear(self, silences: list[tuple[float, float]]) -> None:
        """Tell the silences in which somebody was killed from the others."""
        for earlier, later in silences:
            killed = any(earlier <= moment <= later for moment in self.kills)
            (self.after_kills if killed else self.silences).append(later - earlier)


def run(cycles: int = CYCLES, devices: int = DEVICES) -> Table:
    """Do `cycles` orders in all, spread over `devices`."""
    with installed() as world, tempfile.TemporaryDirectory() as folder:
        _allow(world, devices)
        shelf = stage_all(Path(folder) / "shelf", VERSIONS)
        publish_all(world, VERSIONS)
        labs = [Lab(world, Path(folder), world.unique("cycle")) for _ in range(devices)]
        with ThreadPoolExecutor(devices) as pool:
            jobs = [pool.submit(_device, lab, shelf, cycles // devices, n) for n, lab in enumerate(labs)]
            tallies = [job.result() for job in jobs]
    took = sorted(second for tally in tallies for second in tally.took)
    return Table(
        "upgrade",
        ("what", "measured"),
        (
            ("orders carried out", str(len(took))),
            ("orders that were reverted and given again", str(sum(tally.undone for tally in tallies))),
            ("agents killed meanwhile", str(sum(len(tally.kills) for tally in tallies))),
            ("workloads touched", str(sum(tally.touched for tally in tallies))),
            ("order to committed, median s", f"{statistics.median(took):.2f}"),
            ("order to committed, p99 s", f"{took[int(len(took) * 0.99)]:.2f}"),
            (f"longest silence, s (heartbeats every {INTERVAL} s)", _longest(tally.silences for tally in tallies)),
            ("the same, in which an agent was killed", _longest(tally.after_kills for tally in tallies)),
            ("growth of a device's disk, bytes", str(max(tally.grew for tally in tallies))),
        ),
        (
            f"{devices} at once; seed {SEED}; in {_KILLED:.0%} of the cycles an agent is killed within "
            f"{_WINDOW:g} s of the order. One that was killed alone is silent until its unit has started it again.",
        ),
    )


def _longest(silences: Iterable[list[float]]) -> str:
    return f"{max((one for each in silences for one in each), default=0):.2f}"


def _allow(world: World, devices: int) -> None:
    """Let the operator upgrade them all at once."""
    path = next(world.root.rglob("operator.json"))
    config = load_config(path, OperatorConfig)
    path.write_bytes(render_config(msgspec.structs.replace(config, upgrade=UpgradeRules(at_once=devices, soak=2))))
    world.kill("operator")


def _device(lab: Lab, shelf: Path, cycles: int, number: int) -> Tally:
    chance, tally = random.Random(SEED + number), Tally()
    try:
        lab.set_up(VERSIONS[0], shelf, VERSIONS[1])
        before = _size(lab.disk.store.folder)
        for cycle in range(cycles):
            _cycle(lab, VERSIONS[(cycle + 1) % 2], chance, tally)
            if (cycle + 1) % 25 == 0:
                median = statistics.median(tally.took)
                so_far = f"median {median:.2f} s, longest silence {lab.watch.longest_silence:.2f} s"
                print(f"{lab.name}: {cycle + 1} of {cycles} cycles, {so_far}", file=sys.stderr)
        tally.hear(lab.watch.silences())
        tally.touched = sum(lab.containers().get(name) != facts for name, facts in lab.before.items())
        tally.grew = _size(lab.disk.store.folder) - before
    finally:
        lab.close()
    return tally


def _cycle(lab: Lab, version: AgentVersion, chance: random.Random, tally: Tally) -> None:
    while True:
        started = time.monotonic()
        killer = threading.Timer(chance.uniform(0, _WINDOW), _kill, (lab, chance, tally))
        lab.order(version)
        if chance.random() < _KILLED:
            killer.start()
        phase = lab.ended().phase
        killer.cancel()
        if phase is UpgradePhase.COMMITTED:
            tally.took.append(time.monotonic() - started)
            lab.runs(version)
            return
        tally.undone += 1


def _kill(lab: Lab, chance: random.Random, tally: Tally) -> None:
    if running := lab.units():
        lab.host.run(["systemctl", "kill", f"--signal={signal.SIGKILL.name}", f"fleet-agent@{chance.choice(running)}"])
        tally.kills.append(time.monotonic())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
