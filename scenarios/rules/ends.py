"""What is true when the operator is away, or ends at the worst moment."""

from __future__ import annotations

from fleet.contract.buckets import APP_BUCKETS, DEVICE_INFO
from harness.probes.services import sessions
from harness.scenario.command_line import refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import web

_KEYS = 300
"""So many take the operator a while to delete."""

deleted_for_good = Scenario(
    id="deleted-for-good",
    title="Delete a device while the operator is killed",
    chapter="Rules",
    why="The Device goes last: as long as something of it is left, Kubernetes shows that.",
    devices=1,
)


@deleted_for_good.step(
    "Delete a device that has written much",
    "kubectl get device {device} --namespace {namespace}",
    look_at=("operator",),
)
def written(run: Run) -> None:
    """It has keys in every bucket, and very many in one."""
    for bucket in APP_BUCKETS:
        run.world.nats.put_raw(bucket, f"{run.name('device')}.something", b"{}")
    for number in range(_KEYS):
        run.world.nats.put_raw(DEVICE_INFO, f"{run.name('device')}.deployment-{number}", b"{}")


@deleted_for_good.step(
    "Kill the operator when it has begun, and again when the Device is gone",
    "kubectl delete device {device} --namespace {namespace} --wait=false",
    look_at=("operator",),
)
def killed(run: Run) -> None:
    """The operator that comes after goes on with it; once the Device is gone, no key and no session is left."""
    run.world.kill("operator")
    wait_until(
        lambda: run.world.kube.device(run.name("device")),
        "the Device is gone",
        timeout=checks.ROLLOUT,
        until=lambda held: held is None,
        interval=0.002,
    )
    run.world.kill("operator")
    left = checks.keys(run)
    assert not left, f"the Device is gone, and {len(left)} keys are left: {', '.join(left[:3])}"
    checks.dropped(run)


waits = Scenario(
    id="commands-wait",
    title="Type commands while the operator is away",
    chapter="Rules",
    why="A command that says that something is done has seen it; one that has not says so, and what to do.",
    devices=1,
)


@waits.step("Run a workload", web())
def runs(run: Run) -> None:
    """It runs; from here on the operator is away, and nobody carries out what is asked for."""
    checks.ready(run)
    run.world.stop("operator")


@waits.step(
    "Ask for something all the same",
    refused(f"{web(2).template} --timeout 1", 8, contains="{deployment}"),
    refused("fleet deployment delete {deployment} --timeout 1", 8, contains="{deployment}"),
    refused("fleet device revoke {device} --timeout 1", 8, contains=("fleet server status", "repeat")),
    refused("fleet device delete {device} --timeout 1", 8, contains=("fleet server status", "repeat")),
)
def nothing_done(run: Run) -> None:
    """Each ends with exit code 8 after its time: what it waited for has not come."""
    assert sessions(run.world, run.name("device")), "its session is gone, and nobody has ended it"


@waits.step("The operator comes back", look_at=("operator",))
def carried_out(run: Run) -> None:
    """All of it is carried out: both objects and the device's session go."""
    run.world.start("operator")
    wait_until(
        lambda: (run.world.kube.device(run.name("device")), run.world.kube.deployment(run.name("deployment"))),
        "the Device and the FleetDeployment are gone",
        timeout=checks.ROLLOUT,
        until=lambda held: held == (None, None),
    )
    checks.dropped(run)
    left = checks.keys(run)
    assert not left, f"keys are left: {left}"
