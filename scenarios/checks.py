"""What scenarios look at, beyond what a command printed: containers, states, conditions; and predicates on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from fleet.contract.buckets import APP_BUCKETS, DEVICE_HEARTBEAT, DEVICE_STATE
from fleet.contract.containers import DEPLOYMENT_LABEL
from fleet.contract.objects import Condition, Device, FleetDeployment
from fleet.contract.states import state_of
from fleet.contract.wire import DeviceState, Heartbeat, Phase, Reason
from harness.devices import HasEngine, Killable
from harness.errors import Misused, Unanswered
from harness.probes.engine import EngineProbe, image_name
from harness.probes.services import sessions
from harness.scenario.run import Run
from harness.scenario.setup import is_online
from harness.wait import wait_until

ROLLOUT = 20.0
"""Seconds from a changed desired state until it runs, on a machine that is busy with something else."""
SERVER = ("operator", "callout", "nats")
"""The components of a fleet server."""


@dataclass(frozen=True)
class Running:
    """A container as the engine lists it."""

    id: str
    state: str
    image: str


@dataclass(frozen=True)
class Container:
    """The one container of a deployment, as the engine shows it."""

    id: str
    name: str
    since: str
    image: str
    command: tuple[str, ...]
    env: frozenset[str]
    ports: Mapping[str, tuple[str, ...]]
    """By port and protocol inside, the ports of the device."""
    restart: str
    health_check: tuple[str, ...]
    user: str
    mounts: Mapping[str, str]
    """By path inside, what is mounted there: volume or bind."""
    memory: int
    """The most that it gets, in bytes; 0 for no limit."""
    read_only: bool

    @property
    def life(self) -> str:
        """Another one after every start."""
        return f"{self.id} since {self.since}"


def container(run: Run, deployment: str = "deployment", device: str = "device") -> Container:
    """The deployment's container on a device, now, without waiting: there must be one, no second one, and it runs."""
    name, host = run.name(deployment), with_engine(run, device)
    with closing(EngineProbe(host.engine_socket)) as engine:
        listed = [it for it in engine.containers(run.name(device)) if deployment_of(it) == name]
        assert [it["State"] for it in listed] == ["running"], f"containers of {name}: {_described(listed)}"
        shown = engine.inspect(listed[0]["Id"])
    config, host_config = shown["Config"], shown["HostConfig"]
    bindings: dict[str, list[dict[str, str]] | None] = host_config.get("PortBindings") or {}
    check: dict[str, Any] = config.get("Healthcheck") or {}
    return Container(
        id=shown["Id"],
        name=shown["Name"].lstrip("/"),
        since=shown["State"]["StartedAt"],
        image=image_name(config["Image"]),
        command=(*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ())),
        env=frozenset(config.get("Env") or ()),
        ports={inside: tuple(binding["HostPort"] for binding in bound or ()) for inside, bound in bindings.items()},
        restart=host_config["RestartPolicy"]["Name"],
        health_check=tuple(check.get("Test") or ()),
        user=config.get("User") or "",
        mounts={mount["Destination"]: mount["Type"] for mount in shown.get("Mounts") or ()},
        memory=host_config.get("Memory") or 0,
        read_only=bool(host_config.get("ReadonlyRootfs")),
    )


def containers(run: Run, device: str = "device") -> dict[str, Running]:
    """What runs for a device, by deployment; `device` is a placeholder."""
    with closing(EngineProbe(with_engine(run, device).engine_socket)) as engine:
        listed = engine.containers(run.name(device))
    return {
        deployment_of(item): Running(item["Id"], item["State"], image_name(item["Image"]))
        for item in listed
        if deployment_of(item)
    }


def with_engine(run: Run, device: str = "device") -> HasEngine:
    """A device whose engine can be looked at from here.

    Raises:
        Misused: it cannot be.
    """
    host = run.world.device(run.name(device))
    if not isinstance(host, HasEngine):
        raise Misused(f"{host.id} has no engine that can be asked from here", next_step="use a device that has")
    return host


def deployment_of(listed: Mapping[str, Any]) -> str:
    """The deployment of a container that the engine lists; '' for one that is not ours."""
    labels: dict[str, str] = listed["Labels"] or {}
    return labels.get(DEPLOYMENT_LABEL, "")


def _described(listed: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{it['Id'][:12]} {it['State']}" for it in listed) or "none"


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
        lambda: state_of(run.world.nats.get(DEVICE_STATE, run.name("device")), run.name(deployment)),
        f"{key} reports {phase.value} ({reason.value})",
        timeout=ROLLOUT,
        until=as_wanted,
    )
    assert state is not None
    return state


def says_of(run: Run, deployment: str, device: str = "device") -> DeviceState:
    """What the device says of a deployment now, without waiting: that it runs."""
    key = f"{run.name(device)}.{run.name(deployment)}"
    state = state_of(run.world.nats.get(DEVICE_STATE, run.name(device)), run.name(deployment))
    assert state is not None, f"{key} was never reported"
    assert state.phase is Phase.RUNNING, f"{key} reports {state}"
    return state


def answers(run: Run, component: str, page: str) -> None:
    """A component of the server answers now, without waiting."""
    try:
        run.world.fetch(component, page)
    except Unanswered as error:
        raise AssertionError(f"{component} does not answer yet: {error.what}") from error


def nats_answers(run: Run) -> None:
    """NATS answers now, without waiting; its monitor can be asked by nobody outside (decision 046)."""
    try:
        run.world.sessions.ask_servers("$SYS.REQ.SERVER.PING.VARZ", {})
    except Unanswered as error:
        raise AssertionError(f"nats does not answer yet: {error.what}") from error


def device(run: Run, placeholder: str = "device") -> Device:
    """A device as Kubernetes holds it; it must exist."""
    found = run.world.kube.device(run.name(placeholder))
    assert found is not None, f"there is no device {run.name(placeholder)}"
    return found


def online(run: Run, placeholder: str = "device") -> None:
    """Wait until the operator says that it hears a device."""
    name = run.name(placeholder)
    wait_until(lambda: run.world.kube.device(name), f"{name} is online", timeout=ROLLOUT, until=is_online)


def offline(run: Run, placeholder: str = "device") -> None:
    """Wait until the operator says that it does not hear a device."""
    wait_until(
        lambda: device(run, placeholder),
        f"{run.name(placeholder)} is shown as offline",
        timeout=ROLLOUT,
        until=lambda held: says(held, "Online", "False", "HeartbeatMissed"),
    )


def killable(run: Run, placeholder: str = "device") -> Killable:
    """A device as something whose power can be cut, and whose agent can be killed.

    Raises:
        Misused: it cannot be, from here.
    """
    host = run.world.device(run.name(placeholder))
    if not isinstance(host, Killable):
        raise Misused(f"{host.id} cannot be switched off from here", next_step="use a device that can")
    return host


def deployment(run: Run, placeholder: str = "deployment") -> FleetDeployment:
    """A deployment as Kubernetes holds it; it must exist."""
    item = run.world.kube.deployment(run.name(placeholder))
    assert item is not None, f"there is no deployment {run.name(placeholder)}"
    return item


def condition(held: Device | FleetDeployment, kind: str) -> Condition | None:
    """One of an object's conditions; None while it has none of that type."""
    return next((it for it in held.status.conditions if it.type == kind), None)


def says(held: Device | FleetDeployment | None, kind: str, status: str, reason: str) -> bool:
    """Whether an object has a condition with this status and reason."""
    current = condition(held, kind) if held is not None else None
    return current is not None and (current.status, current.reason) == (status, reason)


def ready(run: Run, placeholder: str = "deployment", *, devices: int = 1) -> FleetDeployment:
    """A deployment that runs on so many devices now, in the generation that was last asked for; without waiting."""
    held = deployment(run, placeholder)
    assert is_ready(held), f"{held.metadata.name} is not ready: {held.status}"
    assert held.status.ready == devices, f"{held.status.ready} devices run {held.metadata.name}"
    return held


def is_ready(held: FleetDeployment | None) -> bool:
    """Whether the operator has seen the present generation, and every device runs it, as far as it was heard."""
    return (
        held is not None
        and held.status.observed_generation == held.metadata.generation
        and held.status.ready == held.status.matched == held.status.updated
        and any(says(held, "Ready", "True", reason) for reason in ("AllReady", "ReadyWhenLastHeard"))
    )


def settled(run: Run, placeholder: str = "deployment") -> FleetDeployment:
    """A deployment that every device runs; waits for it, where no command has."""
    name = run.name(placeholder)
    found = wait_until(
        lambda: run.world.kube.deployment(name), f"{name} is ready everywhere", timeout=ROLLOUT, until=is_ready
    )
    assert found is not None
    return found


def event(run: Run, placeholder: str, text: str) -> str:
    """The message of an event of an object that says this; they are written a moment after what they are about."""
    name = run.name(placeholder)
    found = wait_until(
        lambda: [one["message"] for one in run.world.kube.events() if one["involvedObject"]["name"] == name],
        f"an event of {name} says: {text}",
        timeout=ROLLOUT,
        until=lambda messages: any(text in message for message in messages),
    )
    return next(message for message in found if text in message)


def dropped(run: Run) -> None:
    """The device has no session any more; without waiting, for the command that drops them has returned."""
    live = sessions(run.world, run.name("device"))
    assert not live, f"{run.name('device')} still has sessions: {live}"


def keys(run: Run, placeholder: str = "device") -> list[str]:
    """Every key of a device, in every bucket that the operator and the devices share."""
    name, nats = run.name(placeholder), run.world.nats
    return [
        f"{bucket.name}/{key}"
        for bucket in APP_BUCKETS
        for key in (*nats.keys(bucket, name), *nats.keys(bucket, f"{name}.>"))
    ]


def beat(run: Run, placeholder: str = "device") -> Heartbeat:
    """The last heartbeat of a device; there must be one."""
    entry = run.world.nats.get(DEVICE_HEARTBEAT, run.name(placeholder))
    assert entry is not None, f"{run.name(placeholder)} was never heard"
    return entry


def next_beat(run: Run, placeholder: str = "device", *, timeout: float = ROLLOUT) -> Heartbeat:
    """Wait until a device is heard again."""
    name = run.name(placeholder)
    before = run.world.nats.get(DEVICE_HEARTBEAT, name)
    wait_until(
        lambda: run.world.nats.get(DEVICE_HEARTBEAT, name),
        f"{name} is heard again",
        timeout=timeout,
        until=lambda heard: heard is not None and heard != before,
        interval=0.02,
    )
    return beat(run, placeholder)
