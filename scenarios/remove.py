"""Take workloads and devices out of the fleet."""

from __future__ import annotations

from typing import Any

from fleet.contract.buckets import DESIRED_INDEX, DEVICE_HEARTBEAT, DEVICE_INFO, DEVICE_STATE, Bucket
from harness.commands import Result
from harness.probes.services import sessions
from harness.runbook import Run
from harness.scenario import Scenario, refused
from harness.wait import wait_until
from scenarios import looks
from scenarios.workloads import job, web

remove = Scenario(
    id="remove",
    title="Remove a workload, then the device",
    chapter="Remove",
    why="What is no longer wanted disappears everywhere: from the device, from Kubernetes, from NATS and from the "
    "identity provider.",
    devices=1,
)


@remove.step("Run two workloads", web(), job(), look_at=("operator", "agent:device"))
def two_run(run: Run, *_results: Result) -> None:
    """Both run."""
    looks.settled(run)
    looks.settled(run, "deployment2")
    looks.running(run)
    run.keep(job=looks.running(run, "deployment2").id)


@remove.step("Delete one of them", "fleet deployment delete {deployment}", look_at=("operator", "agent:device"))
def workload_gone(run: Run, _result: Result) -> None:
    """Its container is removed from the device, and its state from NATS; the other one is untouched."""
    looks.gone(run)
    key = f"{run.name('device')}.{run.name('deployment')}"
    wait_until(
        lambda: run.world.nats.raw(DEVICE_STATE, key),
        f"{key} is gone",
        timeout=looks.ROLLOUT,
        until=lambda it: it is None,
    )
    assert looks.running(run, "deployment2").id == run.kept("job", str)


@remove.step(
    "See that it is gone",
    refused("fleet deployment show {deployment}", 4, contains="{deployment}"),
    "fleet deployment list",
)
def not_listed(run: Run, _show: Result, listed: Result) -> None:
    """It is no longer found; the other deployment is still listed."""
    assert run.name("deployment") not in listed.stdout
    assert run.name("deployment2") in listed.stdout


_OF_DEVICE: tuple[Bucket[Any], ...] = (DESIRED_INDEX, DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT)


@remove.step("Delete the device", "fleet device delete {device}", look_at=("operator", "callout"))
def device_gone(run: Run, _result: Result) -> None:
    """Its session is dropped and no key of it is left in any bucket."""
    name = run.name("device")
    assert sessions(run.world, name) == [], "its session lives on"
    left = {bucket.name: _keys_of(run, bucket, name) for bucket in _OF_DEVICE}
    assert not any(left.values()), f"keys are left: {left}"


@remove.step(
    "See that it is gone from the fleet",
    refused("fleet device show {device}", 4, contains="{device}"),
    "fleet device list",
)
def device_not_listed(run: Run, _show: Result, listed: Result) -> None:
    """It is no longer found."""
    assert run.name("device") not in listed.stdout


def _keys_of(run: Run, bucket: Bucket[Any], device: str) -> list[str]:
    return [*run.world.nats.keys(bucket, device), *run.world.nats.keys(bucket, f"{device}.*")]
