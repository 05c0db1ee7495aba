"""Revoking a device in the first second of a flood: how long the command takes, and how long a session outlives it."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from benchmarks.place import fleet, installed
from benchmarks.report import Table
from harness.devices import Killable
from harness.devices.hostile.floods import FLOODS
from harness.errors import Misused
from harness.probes.services import sessions
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.scenario.setup import prepared
from harness.siege.play import attack
from harness.wait import WaitTimeout, wait_until
from harness.world.world import World

_SECONDS = 12.0
"""How long the device attacks: well beyond the command."""
_LOGGED_OUT = 20.0
"""Seconds until the device's own session has ended."""
_BEGUN = 4.0
"""Seconds after which every attack has begun."""
RIGHT = 1.0
"""Seconds after the command within which the last session must have ended."""


def run() -> Table:
    """Play every flood, each with a device of its own, in one world."""
    with installed() as world:
        rows = [_row(world, name) for name in sorted(FLOODS)]
    worst = max(float(row[2]) for row in rows)
    return Table(
        "flooded",
        ("flood", "command s", "outlived s", "sent MB", "log-ins", "refused"),
        tuple(rows),
        (
            "A device floods, and is revoked as soon as it has a session. `outlived` is from the end of the command to "
            f"the end of its last session: at most {worst:.2f} s, and {RIGHT:g} s is right.",
        ),
    )


@contextmanager
def _stolen(world: World) -> Generator[Run]:
    """A device that somebody has taken home."""
    scenario = Scenario(id="flooded", title="A flood", chapter="Rules", why="", devices=1)
    with tempfile.TemporaryDirectory() as folder, prepared(scenario, world, Path(folder)) as made:
        host = world.device(made.name("device"))
        if not isinstance(host, Killable):
            raise Misused(f"{host.id} cannot be taken away", next_step="use a device that can be switched off")
        host.power_off()
        yield made


def _row(world: World, name: str) -> tuple[str, ...]:
    with _stolen(world) as made:
        device = made.name("device")
        wait_until(
            lambda: sessions(world, device), "its own session ends", timeout=_LOGGED_OUT, until=lambda it: not it
        )
        with closing(attack(made, (), seed=1, seconds=_SECONDS, only=(name,))) as attacker:
            with suppress(WaitTimeout):  # some hold no session for long enough to be seen
                wait_until(lambda: sessions(world, device), f"{name} begins", timeout=_BEGUN, until=bool, interval=0.02)
            started = time.monotonic()
            fleet(world, "device", "revoke", device)
            ended = time.monotonic()
            done = attacker.outcome()
    outlived = max(0.0, done.alive_at - ended)
    print(f"{name}: {ended - started:.2f} s, outlived by {outlived:.2f} s", file=sys.stderr)
    return (
        name,
        f"{ended - started:.2f}",
        f"{outlived:.2f}",
        f"{done.sent / 1e6:,.1f}",
        f"{done.logins:,}",
        f"{done.refusals:,}",
    )
