"""Where workloads run, and what an agent leaves alone."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from harness.devices import HasEngine
from harness.engine.client import EngineClient
from harness.errors import Misused
from harness.probes.engine import DEVICE_LABEL
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from harness.world.world import World
from scenarios import checks
from scenarios.workloads import EVERYWHERE, web

selector = Scenario(
    id="selector",
    title="Move a device to another site",
    chapter="Rules",
    why="A deployment runs on the devices that its selector matches now, not on those it once matched.",
    devices=1,
)

_MOVE = "kubectl label device {device%s} --namespace {namespace} --overwrite site=elsewhere"


@selector.step("Run a workload on a site", web(), look_at=("operator", "agent:device"))
def runs(run: Run) -> None:
    """It runs on the site's one device."""
    checks.container(run)


@selector.step("Move the device away", _MOVE % "", look_at=("operator", "agent:device"))
def moved(run: Run) -> None:
    """Its container goes, and the deployment says that it matches no device."""
    checks.gone(run)
    name = run.name("deployment")
    wait_until(
        lambda: run.world.kube.deployment(name),
        f"{name} matches no device",
        timeout=checks.ROLLOUT,
        until=lambda held: checks.says(held, "Ready", "False", "NoDevices"),
    )


@selector.step(
    "Move it back", "fleet device label {device} site={site} --overwrite", look_at=("operator", "agent:device")
)
def moved_back(run: Run) -> None:
    """The workload runs again."""
    checks.running(run)


everywhere = Scenario(
    id="everywhere",
    title="Run one workload on a site, and another on every device",
    chapter="Rules",
    why="A selector that names nothing selects every device; one that names a site selects no other.",
    devices=2,
)


@everywhere.step("Move the second device away", _MOVE % "2", look_at=("operator",))
def two_sites(run: Run) -> None:
    """Each site has one device."""
    assert checks.device(run, "device2").metadata.labels.get("site") == "elsewhere"


@everywhere.step(
    "Apply a deployment for one site, and one without a selector",
    web(),
    "kubectl apply --filename everywhere.yaml",
    "kubectl wait --namespace {namespace} --for=condition=Ready fleetdeployment/{deployment2} --timeout=20s",
    files={"everywhere.yaml": EVERYWHERE},
    look_at=("operator", "agent:device", "agent:device2"),
)
def both(run: Run) -> None:
    """The first runs on its site's device alone, the second on both."""
    assert checks.ready(run).status.matched == 1
    assert checks.ready(run, "deployment2", devices=2).status.matched == 2
    checks.container(run)
    for device in ("device", "device2"):
        checks.container(run, "deployment2", device)
    assert run.name("deployment") not in checks.containers(run, "device2"), "it runs on a device of another site"


foreign_containers = Scenario(
    id="foreign-containers",
    title="Leave other containers alone",
    chapter="Rules",
    why="Somebody else may use the device's engine too; the agent touches nothing that it did not create.",
    devices=1,
)


@dataclass(frozen=True)
class Foreign:
    """The lives of somebody else's containers."""

    lives: list[str]


@foreign_containers.step("Look at other people's containers", look_at=("agent:device",))
def others(run: Run) -> None:
    """One is managed by nobody, one by another device; both run."""
    lives = _lives(run)
    assert all(life.startswith("running") for life in lives), f"somebody else's containers: {lives}"
    run.keep(Foreign(lives))


@foreign_containers.step(
    "Run and remove a workload beside them",
    web(),
    "fleet deployment delete {deployment}",
    look_at=("agent:device",),
)
def untouched(run: Run) -> None:
    """The others have run all the time."""
    checks.gone(run)
    assert _lives(run) == run.kept(Foreign).lives, "somebody else's container was touched"


def _lives(run: Run) -> list[str]:
    with engine(run.world, run.name("device")) as client:
        shown = [client.call("GET", f"/containers/{name}/json").json() for name in foreign(run.world)]
    states = [details.get("State", {}) for details in shown]
    return [f"{state.get('Status', 'gone')} since {state.get('StartedAt')}" for state in states]


def foreign(world: World) -> dict[str, dict[str, str]]:
    """The names of other people's containers, and their labels."""
    mark = f"{world.run_id[:8]}-{world.worker}"
    return {
        f"somebody-elses-{mark}": {},
        f"another-devices-{mark}": {DEVICE_LABEL: f"another-{mark}", checks.DEPLOYMENT_LABEL: "web"},
    }


def engine(world: World, device: str) -> closing[EngineClient]:
    """The engine of a device."""
    host = world.device(device)
    if not isinstance(host, HasEngine):
        raise Misused(f"{host.id} has no engine that can be asked from here", next_step="use a device that has")
    return closing(EngineClient(host.engine_socket))
