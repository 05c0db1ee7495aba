"""Drive a siege: steal a device, let it attack, change what its neighbours run all the while, and revoke it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fleet.contract.containers import DEPLOYMENT_LABEL
from fleet.contract.objects import DEPLOYMENTS, DEVICES, FleetDeployment
from harness.devices import HasEngine, Killable
from harness.devices.hostile.assault import Assault
from harness.errors import HarnessError, Misused
from harness.probes.engine import EngineProbe
from harness.processes.spawn import spawn, terminate
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.setup import type_one
from harness.siege.findings import Findings
from harness.siege.read import read_meanwhile
from harness.siege.watch import watched
from harness.wait import WaitTimeout, wait_until

_AFTER = 12.0
"""Seconds that the attack goes on after the command to revoke began: it must not get in again."""
_LONGEST = 30.0
"""Seconds after which a change counts as lost."""
_QUIET = 2
"""Changes that are made before the attack."""
_HOPELESS = 3
"""Lost changes after which no more are made."""
_APPLY = Command(
    "fleet deployment apply --name {deployment} --image {image} --command 'sleep 1000000' --selector site={site}"
)
_REVOKE = Command("fleet device revoke {device}", deadline=60)


@dataclass(frozen=True)
class Siege:
    """What came of one: what was seen of the others, and what the attacker did."""

    seen: Findings
    assault: Assault


def besiege(
    run: Run, neighbours: int, *, seed: int, seconds: float, only: Sequence[str] = (), reads: bool = False
) -> Siege:
    """Let the run's first device attack for `seconds`, then revoke it, while `neighbours` more do their work.

    With `reads`, somebody reads logs meanwhile: that of the attacker, and one of a neighbour.

    Raises:
        AssertionError: what the neighbours run before the attack does not come up.
        HarnessError: the attacker itself failed, or the world.
    """
    names = [run.name(f"device{number}") for number in range(2, neighbours + 2)]
    host = run.world.device(run.name("device"))
    if not isinstance(host, Killable):
        raise Misused(f"{host.id} cannot be taken away", next_step="use a device that can be switched off")
    kube = run.world.kube
    kube.patch(kube.path(DEVICES, host.id), {"spec": {"labels": {"site": "stolen"}}})
    type_one(_APPLY, run.names, run.world.env, run.folder)
    seen = Findings()
    with closing(_Change(run, names)) as change:
        change.arrive(Findings())
        seen.before = _before(change)
        host.power_off()
        attacker = attack(run, names, seed=seed, seconds=seconds + _AFTER, only=only)
        reading = read_meanwhile(run, names[0], seen) if reads else contextlib.nullcontext()
        with closing(attacker), watched(run.world, names, seen), reading:
            until = time.monotonic() + seconds
            while time.monotonic() < until and len(seen.lost) < _HOPELESS:
                change.make(seen)
            revoked = _revoke(run, seen)
            change.make(seen)
            assault = attacker.outcome()
            seen.revoked = max(0.0, assault.alive_at - revoked)
    return Siege(seen, assault)


@dataclass(frozen=True)
class Attacker:
    """A thief at work, in a process that ends by itself."""

    process: subprocess.Popen[bytes]
    log: Path

    def outcome(self) -> Assault:
        """What the attack was, once it is over.

        Raises:
            HarnessError: it failed by itself.
        """
        try:
            self.process.wait(300)
            return msgspec.json.decode(self.log.read_text().splitlines()[-1], type=Assault)
        except (subprocess.TimeoutExpired, IndexError, msgspec.DecodeError) as error:
            raise HarnessError(
                f"the hostile device ended with code {self.process.returncode}", next_step=f"see {self.log}"
            ) from error

    def close(self) -> None:
        """End it before its time."""
        terminate(self.process, 1)


def attack(run: Run, neighbours: Sequence[str], *, seed: int, seconds: float, only: Sequence[str] = ()) -> Attacker:
    """Let a thief use the configuration file of the run's first device."""
    argv = [sys.executable, "-m", "harness.devices.hostile", "--config", run.name("config")]
    argv += ["--seed", str(seed), "--seconds", str(seconds)]
    argv += [word for name in neighbours for word in ("--neighbour", name)]
    argv += [word for name in only for word in ("--attack", name)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    log = run.folder / "hostile.log"
    return Attacker(spawn(argv, log=log, env=env, cwd=run.folder), log)


def _before(change: _Change) -> tuple[float, float]:
    """The duration of changes without an attack."""
    quiet = Findings()
    for _ in range(_QUIET):
        change.make(quiet)
    return max(quiet.delivered, default=0.0), max(quiet.status, default=0.0)


def _revoke(run: Run, seen: Findings) -> float:
    """Revoke the stolen device; the monotonic time at which the command had ended."""
    started = time.monotonic()
    try:
        type_one(_REVOKE, run.names, run.world.env, run.folder)
    except AssertionError as error:
        seen.lost.append(f"the revocation failed: {error}")
    ended = time.monotonic()
    seen.revoking = ended - started
    return ended


class _Change:
    """A deployment on every neighbour, changed again and again."""

    def __init__(self, run: Run, neighbours: Sequence[str]) -> None:
        self._run = run
        self._name = run.name("deployment")
        self._neighbours = neighbours
        self._number = 0
        self._containers: dict[str, str] = {}
        self._closing = contextlib.ExitStack()
        self._engines = {name: self._engine(name) for name in neighbours}

    def close(self) -> None:
        """End the probes."""
        self._closing.close()

    def make(self, seen: Findings) -> None:
        """One change, from Kubernetes to every neighbour and back."""
        self._number += 1
        kube = self._run.world.kube
        env = {"RELEASE": str(self._number)}
        kube.patch(kube.path(DEPLOYMENTS, self._name), {"spec": {"workload": {"env": env}}})
        self.arrive(seen)

    def arrive(self, seen: Findings) -> None:
        """Wait until every neighbour runs it, and then until Kubernetes says so."""
        started = time.monotonic()
        try:
            self._containers = wait_until(
                self._fresh,
                f"change {self._number} runs on {len(self._neighbours)} neighbours",
                timeout=_LONGEST,
                until=lambda online: len(online) == len(self._neighbours),
                interval=0.1,
            )
            delivered = time.monotonic()
            wait_until(
                lambda: self._run.world.kube.deployment(self._name),
                f"change {self._number} is reported as ready",
                timeout=_LONGEST,
                until=self._is_ready,
                interval=0.1,
            )
        except WaitTimeout as error:
            seen.lost.append(str(error))
            return
        seen.rounds += 1
        seen.delivered.append(delivered - started)
        seen.status.append(time.monotonic() - delivered)

    def _fresh(self) -> dict[str, str]:
        """The one running container of each neighbour that has another than before."""
        found: dict[str, str] = {}
        for name, engine in self._engines.items():
            mine = [
                container
                for container in engine.containers(name)
                if container["Labels"].get(DEPLOYMENT_LABEL) == self._name
            ]
            running = [container["Id"] for container in mine if container["State"] == "running"]
            if len(running) == 1 and running[0] != self._containers.get(name):
                found[name] = running[0]
        return found

    def _is_ready(self, held: FleetDeployment | None) -> bool:
        return (
            held is not None
            and held.status.observed_generation == held.metadata.generation
            and held.status.ready == held.status.matched == held.status.updated == len(self._neighbours)
        )

    def _engine(self, name: str) -> EngineProbe:
        host = self._run.world.device(name)
        if not isinstance(host, HasEngine):
            raise Misused(f"{host.id} has no engine that can be asked from here", next_step="use a device that has")
        return self._closing.enter_context(closing(EngineProbe(host.engine_socket)))
