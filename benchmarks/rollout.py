"""From a `FleetDeployment` in Kubernetes to a running container, with the engine's own time told apart."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from benchmarks.place import installed, set_up
from benchmarks.report import Table
from fleet.contract.names import DeviceId
from fleet.contract.objects import DEPLOYMENTS, DeploymentSpec, FleetDeployment, Metadata, Selector
from fleet.contract.wire import Container, encode
from harness.devices import HasEngine
from harness.engine.client import EngineClient
from harness.images import IMAGE
from harness.wait import wait_until
from harness.world.world import World

_RUNS = 10

Json = dict[str, Any]


@dataclass(frozen=True)
class Rollout:
    """One roll-out; Unix times in seconds, all by this machine's clock."""

    applied: float
    created: float
    running: float
    reported: float

    @property
    def ours(self) -> float:
        """Seconds until the container ran, without those that the engine took to create and start it."""
        return self.created - self.applied

    @property
    def engine(self) -> float:
        """Seconds that the engine took."""
        return self.running - self.created

    @property
    def told(self) -> float:
        """Seconds from the running container to `Ready` in Kubernetes."""
        return self.reported - self.running


def run() -> Table:
    """Roll out one container after another to one device."""
    with installed() as world:
        name = world.unique("rollout")
        set_up(world, name)
        rollouts = [_roll_out(world, name) for _ in range(_RUNS)]
    return Table(
        "rollout",
        ("from", "to", "median ms", "slowest ms"),
        (
            _row("object accepted by Kubernetes", "engine told to create", [one.ours for one in rollouts]),
            _row("engine told to create", "container runs (engine time)", [one.engine for one in rollouts]),
            _row("container runs", "Ready in Kubernetes", [one.told for one in rollouts]),
            _row(
                "object accepted by Kubernetes", "Ready in Kubernetes", [one.reported - one.applied for one in rollouts]
            ),
        ),
        (f"{_RUNS} roll-outs to one device, one after another; engine: {world.engine}.",),
    )


FOR_EVER = Container(image=IMAGE, command=("sleep",), args=("86400",))


def apply(world: World, name: str, device: str, workload: Container = FOR_EVER) -> None:
    """Ask Kubernetes for a container on one device."""
    spec = DeploymentSpec(workload, Selector({"device": device}))
    wanted = FleetDeployment(Metadata(name, world.namespace), spec)
    body: Json = {"apiVersion": wanted.api_version, "kind": wanted.kind, **msgspec.json.decode(encode(wanted))}
    world.kube.create(world.kube.path(DEPLOYMENTS), body)


def ready(world: World, name: str) -> bool:
    """Whether Kubernetes says that the deployment runs everywhere."""
    found = world.kube.deployment(name)
    return found is not None and any(it.type == "Ready" and it.status == "True" for it in found.status.conditions)


def _roll_out(world: World, device: str) -> Rollout:
    name = world.unique("bench")
    apply(world, name, device)
    applied = time.time()
    wait_until(lambda: ready(world, name), f"{name} is ready", timeout=30, interval=0.01)
    reported = time.time()
    container = _inspect(world, DeviceId(device), name)
    return Rollout(applied, _time(container["Created"]), _time(container["State"]["StartedAt"]), reported)


def _inspect(world: World, device: DeviceId, deployment: str) -> Json:
    machine = world.device(device)
    assert isinstance(machine, HasEngine)
    engine = EngineClient(machine.engine_socket)
    try:
        return engine.call("GET", f"/containers/fleet-{device}-{deployment}/json").json()
    finally:
        engine.close()


def _time(text: str) -> float:
    """The engine's time stamp has nanoseconds, of which Python takes six digits."""
    head, _, fraction = text.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{head}.{fraction[:6].ljust(6, '0')}+00:00").timestamp()


def _row(start: str, end: str, values: list[float]) -> tuple[str, ...]:
    return (start, end, f"{statistics.median(values) * 1000:.0f}", f"{max(values) * 1000:.0f}")
