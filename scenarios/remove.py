"""Take workloads and devices out of the fleet."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE, DEVICE_STATE, IDENTITIES
from fleet.contract.objects import Device
from harness.probes.engine import EngineProbe
from harness.scenario.command import Result
from harness.scenario.command_line import Command, refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks, logins
from scenarios.workloads import job, web_with_a_volume

remove = Scenario(
    id="remove",
    title="Remove a workload, then the device",
    chapter="Remove",
    why="What is no longer wanted disappears everywhere: from the device, from Kubernetes, from NATS and from the "
    "identity provider.",
    devices=1,
)


@dataclass(frozen=True)
class Before:
    """The containers of the two deployments, and the device's identity."""

    web: str
    job: str
    token: str
    subject: str


@remove.step(
    "Run two workloads, one of them with a volume", web_with_a_volume(), job(), look_at=("operator", "agent:device")
)
def two_run(run: Run) -> None:
    """Both run. Within 20 s the device tells of the volume."""
    checks.ready(run)
    checks.ready(run, "deployment2")
    run.keep(
        Before(
            web=checks.container(run).life,
            job=checks.container(run, "deployment2").life,
            token=logins.token(run),
            subject=checks.device(run).spec.subject,
        )
    )
    wait_until(
        lambda: checks.device(run),
        f"{run.name('device')} tells of its volume",
        timeout=checks.ROLLOUT,
        until=_reports_volume,
    )


def _reports_volume(device: Device) -> bool:
    info = device.status.info
    used = info.disk_usage if info else None
    return used is not None and [volume.name for volume in used.named_volumes] == ["data"]


@remove.step(
    "Remove a volume that is used",
    refused("fleet device remove-volume {device} data", 5, contains="{deployment} is to run here, and mounts it"),
    look_at=("agent:device", "operator"),
)
def volume_stays(run: Run) -> None:
    """The command says who uses it. The volume stays, and its container is untouched; the order is over."""
    assert _volumes(run) == [f"fleet-{run.name('device')}-{run.name('deployment')}-data"]
    assert checks.container(run).life == run.kept(Before).web, "the container that uses it was touched"
    checks.event(run, "device", f"data of {run.name('deployment')} is not removed: InUse")
    _no_order(run)


def _volumes(run: Run) -> list[str]:
    """The volumes that were made for the device, as its engine names them."""
    with closing(EngineProbe(checks.with_engine(run).engine_socket)) as engine:
        return engine.volumes(run.name("device"))


def _no_order(run: Run) -> None:
    wait_until(
        lambda: checks.device(run).spec.remove_volumes,
        f"no order for {run.name('device')} is left",
        timeout=checks.ROLLOUT,
        until=lambda orders: not orders,
    )


@remove.step("Delete one of them", "fleet deployment delete {deployment}", look_at=("operator", "agent:device"))
def workload_gone(run: Run) -> None:
    """When the command returns, no device has the order to run it any more.

    Within 20 s its container is removed from the device, and its state from NATS; the other one is untouched.
    """
    assert run.world.kube.deployment(run.name("deployment")) is None
    key = f"{run.name('device')}.{run.name('deployment')}"
    index = run.world.nats.get(DESIRED_INDEX, run.name("device"))
    assert index is not None
    assert set(index.deployments) == {run.name("deployment2")}
    assert run.world.nats.raw(DESIRED_STATE, key) is None, f"{key} is still ordered"
    checks.gone(run)
    wait_until(
        lambda: run.world.nats.get(DEVICE_STATE, run.name("device")),
        f"{run.name('device')} reports nothing of {run.name('deployment')}",
        timeout=checks.ROLLOUT,
        until=lambda states: states is not None and run.name("deployment") not in states.states,
    )
    assert checks.container(run, "deployment2").life == run.kept(Before).job


@remove.step(
    "See that it is gone",
    refused("fleet deployment show {deployment}", 4, contains="{deployment}"),
    "fleet deployment list",
)
def not_listed(run: Run, _show: Result, listed: Result) -> None:
    """It is no longer found; the other deployment is still listed."""
    assert run.name("deployment") not in listed.stdout
    assert run.name("deployment2") in listed.stdout


@remove.step(
    "Remove its volume",
    Command("fleet device remove-volume {device} data", contains=("is removed",), deadline=70),
    look_at=("agent:device", "operator"),
)
def volume_gone(run: Run) -> None:
    """When the command returns, the volume is gone from the device. An event says who ordered it."""
    assert _volumes(run) == []
    message = checks.event(run, "device", f"data of {run.name('deployment')} is removed")
    assert "with `fleet device remove-volume`" in message
    _no_order(run)


@remove.step("Delete the device", "fleet device delete {device}", look_at=("operator", "callout"))
def device_gone(run: Run) -> None:
    """When the command returns, its session is dropped and no key of it is left in any bucket.

    You are logged in at the identity provider, so its machine user is gone; a token that it was given earlier lets
    nobody in.
    """
    assert run.world.kube.device(run.name("device")) is None
    checks.dropped(run)
    left = checks.keys(run)
    assert not left, f"keys are left: {left}"
    subject = run.kept(Before).subject
    assert run.world.registry.raw(IDENTITIES, subject) is None, "its identity is left in the registry"
    assert logins.machine_users(run) == {}, "its machine user is left at the identity provider"
    assert not logins.visit(run, run.kept(Before).token).let_in, "a token of a deleted device was let in"


@remove.step(
    "See that it is gone from the fleet",
    refused("fleet device show {device}", 4, contains="{device}"),
    "fleet device list",
)
def device_not_listed(run: Run, _show: Result, listed: Result) -> None:
    """It is no longer found."""
    assert run.name("device") not in listed.stdout
