"""What scenarios look at, beyond what a command printed: containers, states, conditions; and predicates on them."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from fleet.contract.buckets import DEVICE_STATE
from fleet.contract.objects import Condition, Device, FleetDeployment
from fleet.contract.wire import DeviceState, Phase, Reason
from harness.devices import HasEngine
from harness.errors import Misused
from harness.preparation import is_online
from harness.probes.engine import EngineProbe, image_name
from harness.probes.services import sessions
from harness.runbook import Run
from harness.wait import wait_until

DROPPED = 1.0
"""Seconds after a revocation has returned until the device has no session."""
ROLLOUT = 20.0
"""Seconds from a changed wish to what it asks for, on a machine that is busy with something else."""
SERVER = ("operator", "callout", "nats")
"""The parts of a fleet server."""
DEPLOYMENT_LABEL = "io.fleet.deployment"


@dataclass(frozen=True)
class Running:
    """A container as the engine lists it."""

    id: str
    state: str
    image: str


def containers(run: Run, device: str = "device") -> dict[str, Running]:
    """What runs for a device, by deployment; `device` is a placeholder."""
    host = run.world.device(run.name(device))
    if not isinstance(host, HasEngine):
        raise Misused(f"{host.id} has no engine that can be asked from here", next_step="use a device that has")
    with closing(EngineProbe(host.engine_socket)) as engine:
        listed = engine.containers(host.id)
    return {
        item["Labels"][DEPLOYMENT_LABEL]: Running(item["Id"], item["State"], image_name(item["Image"]))
        for item in listed
        if DEPLOYMENT_LABEL in (item["Labels"] or {})
    }


def running(run: Run, deployment: str = "deployment", device: str = "device") -> Running:
    """The running container of a deployment; waits until the engine says that it runs."""
    name = run.name(deployment)

    def is_running(found: dict[str, Running]) -> bool:
        return name in found and found[name].state == "running"

    return wait_until(
        lambda: containers(run, device), f"{name} runs on {run.name(device)}", timeout=ROLLOUT, until=is_running
    )[name]


def gone(run: Run, deployment: str = "deployment", device: str = "device") -> None:
    """Wait until the engine has no container of a deployment."""
    name = run.name(deployment)
    wait_until(
        lambda: containers(run, device),
        f"no container of {name} on {run.name(device)}",
        timeout=ROLLOUT,
        until=lambda found: name not in found,
    )


def reported(
    run: Run, phase: Phase, reason: Reason, deployment: str = "deployment", *, since: float = 0
) -> DeviceState:
    """What the device says of a deployment; waits until it says so, later than `since` by its own clock."""
    key = f"{run.name('device')}.{run.name(deployment)}"

    def as_wanted(state: DeviceState | None) -> bool:
        return state is not None and state.at > since and (state.phase, state.reason) == (phase, reason)

    state = wait_until(
        lambda: run.world.nats.get(DEVICE_STATE, key),
        f"{key} reports {phase.value} ({reason.value})",
        timeout=ROLLOUT,
        until=as_wanted,
    )
    assert state is not None
    return state


def device(run: Run, placeholder: str = "device") -> Device:
    """A device as Kubernetes holds it; it must exist."""
    found = run.world.kube.device(run.name(placeholder))
    assert found is not None, f"there is no device {run.name(placeholder)}"
    return found


def online(run: Run, placeholder: str = "device") -> None:
    """Wait until the operator says that it hears a device."""
    name = run.name(placeholder)
    wait_until(lambda: run.world.kube.device(name), f"{name} is online", timeout=ROLLOUT, until=is_online)


def deployment(run: Run, placeholder: str = "deployment") -> FleetDeployment:
    """A deployment as Kubernetes holds it; it must exist."""
    found = run.world.kube.deployment(run.name(placeholder))
    assert found is not None, f"there is no deployment {run.name(placeholder)}"
    return found


def condition(held: Device | FleetDeployment, kind: str) -> Condition | None:
    """One of an object's conditions; None while it has none of that type."""
    return next((it for it in held.status.conditions if it.type == kind), None)


def says(held: Device | FleetDeployment | None, kind: str, status: str, reason: str) -> bool:
    """Whether an object has a condition with this status and reason."""
    found = condition(held, kind) if held is not None else None
    return found is not None and (found.status, found.reason) == (status, reason)


def settled(run: Run, placeholder: str = "deployment") -> FleetDeployment:
    """A deployment whose current generation the operator has seen and every device runs; waits for it."""

    def done(held: FleetDeployment | None) -> bool:
        return (
            held is not None
            and held.status.observed_generation == held.metadata.generation
            and held.status.ready == held.status.matched == held.status.updated
            and says(held, "Ready", "True", "AllReady")
        )

    name = run.name(placeholder)
    found = wait_until(
        lambda: run.world.kube.deployment(name), f"{name} is ready everywhere", timeout=ROLLOUT, until=done
    )
    assert found is not None
    return found


def dropped(run: Run) -> None:
    """The device that was revoked has no session any more, `DROPPED` seconds after the command at the latest."""
    wait_until(
        lambda: sessions(run.world, run.name("device")),
        f"every live session of {run.name('device')} is dropped",
        timeout=DROPPED,
        until=lambda live: not live,
        interval=0.02,
    )
