"""Look at a fleet that others run: nothing is changed, so it serves on production too."""

from __future__ import annotations

from fleet.contract.objects import Device, FleetDeployment
from harness.scenario.command import Result
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks

look = Scenario(
    id="look",
    title="Look at a fleet without touching it",
    chapter="Observe",
    why="After an upgrade, or when somebody asks: is the fleet server at work, and does it say so of everything? "
    "Nothing is written, so it may be typed on production at any time.",
)


@look.step("List the devices", "fleet device list", look_at=("operator",))
def devices_listed(run: Run, listed: Result) -> None:
    """Each device that Kubernetes holds is listed, and of each the operator says whether it hears it."""
    for device in run.world.kube.devices():
        assert device.metadata.name in listed.stdout, f"{device.metadata.name} is not listed"
    wait_until(
        lambda: _unheard(run.world.kube.devices()), "every device is judged", timeout=checks.ROLLOUT, until=_is_empty
    )


@look.step("List the deployments", "fleet deployment list", look_at=("operator",))
def deployments_listed(run: Run, listed: Result) -> None:
    """Each is listed; the operator has seen its last change, and says why where it is not ready."""
    for deployment in run.world.kube.deployments():
        assert deployment.metadata.name in listed.stdout, f"{deployment.metadata.name} is not listed"
    wait_until(
        lambda: _unseen(run.world.kube.deployments()),
        "every deployment is judged",
        timeout=checks.ROLLOUT,
        until=_is_empty,
    )


@look.step("Look with kubectl", "kubectl get devices,fleetdeployments --namespace {namespace} --output wide")
def kubectl_looks(run: Run, listed: Result) -> None:
    """The same, for a user without the fleet command."""
    for held in (*run.world.kube.devices(), *run.world.kube.deployments()):
        assert held.metadata.name in listed.stdout, f"{held.metadata.name} is not listed"


def _unheard(devices: list[Device]) -> list[str]:
    return [held.metadata.name for held in devices if checks.condition(held, "Online") is None]


def _unseen(deployments: list[FleetDeployment]) -> list[str]:
    lines: list[str] = []
    for held in deployments:
        ready = checks.condition(held, "Ready")
        if held.status.observed_generation != held.metadata.generation or ready is None or not ready.reason:
            lines.append(held.metadata.name)
    return lines


def _is_empty(lines: list[str]) -> bool:
    return not lines
