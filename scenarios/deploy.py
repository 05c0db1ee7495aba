"""Run a workload on devices."""

from __future__ import annotations

from fleet.contract.buckets import DESIRED_INDEX
from fleet.contract.wire import Phase, Reason
from harness.commands import Result
from harness.runbook import Run
from harness.scenario import Command, Scenario
from scenarios import looks
from scenarios.workloads import web

deploy = Scenario(
    id="deploy",
    title="Roll out a workload",
    chapter="Deploy",
    why="A FleetDeployment says what should run and on which devices; every device that matches makes it so.",
    devices=1,
)


@deploy.step("Apply a deployment", web(), look_at=("operator", "agent:device"))
def runs(run: Run, _result: Result) -> None:
    """The command returns once the device of the site runs the container, with the image that was asked for."""
    device, name = run.name("device"), run.name("deployment")
    index = run.world.nats.get(DESIRED_INDEX, device)
    assert index is not None
    assert set(index.deployments) == {name}
    assert looks.running(run).image == run.name("image")
    looks.reported(run, Phase.RUNNING, Reason.STARTED)
    run.keep(container=looks.running(run).id)


@deploy.step(
    "See the deployment",
    Command("fleet deployment list", contains=("{deployment}",)),
    Command("fleet deployment show {deployment}", contains=("AllReady",)),
    Command("kubectl get fleetdeployments --namespace {namespace}", contains=("{deployment}", "AllReady")),
    look_at=("operator",),
)
def seen(run: Run, *_results: Result) -> None:
    """One device matches, one is ready, none has failed."""
    status = looks.settled(run).status
    assert (status.matched, status.updated, status.ready, status.failed) == (1, 1, 1, 0)


@deploy.step("Apply it again", web(), look_at=("agent:device",))
def untouched(run: Run, result: Result) -> None:
    """Nothing changes: the same container goes on."""
    assert "nothing changed" in result.stdout
    assert looks.settled(run).metadata.generation == 1
    assert looks.running(run).id == run.kept("container", str)
