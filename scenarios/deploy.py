"""Run a workload on devices."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.contract.buckets import DESIRED_INDEX
from fleet.contract.wire import Reason
from harness.scenario.command import Result
from harness.scenario.command_line import Command, refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from scenarios import checks
from scenarios.workloads import (
    COMPOSE,
    HEALTHY,
    job_with_a_volume,
    job_with_everything,
    web,
)

deploy = Scenario(
    id="deploy",
    title="Roll out a workload",
    chapter="Deploy",
    why="A FleetDeployment says what should run and on which devices; every device that matches makes it so.",
    devices=1,
)


@dataclass(frozen=True)
class Before:
    """The containers that an earlier step left."""

    web: str
    job: str = ""


@deploy.step("Apply a deployment", web(), look_at=("operator", "agent:device"))
def runs(run: Run) -> None:
    """The command returns once the device of the site runs the container.

    It has the image, the command and the environment that were asked for, and no port.
    """
    device, name = run.name("device"), run.name("deployment")
    index = run.world.nats.get(DESIRED_INDEX, device)
    assert index is not None
    assert set(index.deployments) == {name}
    container = checks.container(run)
    assert container.image == run.name("image")
    assert container.command == ("httpd", "-f", "-p", "8080")
    assert "RELEASE=1" in container.env, f"its environment: {sorted(container.env)}"
    assert container.ports == {}, f"its ports: {container.ports}"
    assert container.restart == "unless-stopped"
    assert checks.says_of(run, "deployment").reason is Reason.STARTED
    run.keep(Before(container.life))


@deploy.step(
    "See the deployment",
    Command("fleet deployment list", contains=("{deployment}",)),
    Command("fleet deployment show {deployment}", contains=("1 of 1 devices run it",)),
    Command("kubectl get fleetdeployments --namespace {namespace}", contains=("{deployment}", "Ready")),
    look_at=("operator",),
)
def seen(run: Run, listed: Result, shown: Result, _kubectl: Result) -> None:
    """One device matches, one is ready, none has failed."""
    status = checks.ready(run).status
    assert (status.matched, status.updated, status.ready, status.failed) == (1, 1, 1, 0)
    row = next(line for line in listed.stdout.splitlines() if line.startswith(run.name("deployment")))
    assert row.split()[2:6] == ["1", "1", "1", "0"], f"matched, updated, ready, failed are wrong: {row}\n{listed}"
    assert "1 matched, 1 updated, 1 ready, 0 failed" in shown.stdout, f"the counts are wrong:\n{shown}"


@deploy.step("Apply it again", web(), look_at=("agent:device",))
def untouched(run: Run, result: Result) -> None:
    """Nothing changes: the same container goes on, and was not started again."""
    assert "nothing changed" in result.stdout
    assert checks.ready(run).metadata.generation == 1
    assert checks.container(run).life == run.kept(Before).web


@deploy.step(
    "Ask for a port, a restart policy and a health check", job_with_everything(), look_at=("agent:device", "operator")
)
def everything(run: Run) -> None:
    """The container has all three; the command returns once the health check has passed."""
    container = checks.container(run, "deployment2")
    assert container.ports == {"8080/tcp": (run.name("port"),)}, f"its ports: {container.ports}"
    assert container.restart == "on-failure"
    assert container.health_check == ("CMD", HEALTHY), f"its health check: {container.health_check}"
    assert checks.says_of(run, "deployment2").reason is Reason.HEALTHY
    assert checks.container(run).life == run.kept(Before).web, "the other workload was touched"
    run.keep(replace(run.kept(Before), job=checks.container(run, "deployment2").id))


@deploy.step(
    "Give it a volume, a configuration file and limits",
    job_with_a_volume(),
    files={"app.conf": "greeting: good day\n"},
    look_at=("agent:device", "operator"),
)
def confined(run: Run) -> None:
    """The container that took its place has them; its user is an ordinary one, and its image's files are read-only.

    The volume stays on the device when the deployment is deleted.
    """
    container = checks.container(run, "deployment2")
    assert container.id != run.kept(Before).job, "the container was not replaced"
    assert {path: container.mounts.get(path) for path in ("/data", "/etc/app.conf")} == {
        "/data": "volume",
        "/etc/app.conf": "bind",
    }, f"its mounts: {container.mounts}"
    assert (container.memory, container.user, container.read_only) == (64 * 2**20, "1000:1000", True), (
        f"it is {container}"
    )
    assert checks.container(run).life == run.kept(Before).web, "the other workload was touched"
    run.keep(replace(run.kept(Before), job=container.life))


@deploy.step(
    "Apply a Compose file",
    refused("fleet deployment apply --compose built.yaml --selector site={site}", 2, contains="services.web.build"),
    Command(
        "fleet deployment apply --compose compose.yaml --name {deployment2} --selector site={site} --wait", deadline=70
    ),
    files={"compose.yaml": COMPOSE, "built.yaml": COMPOSE + "    build: .\n"},
    look_at=("agent:device", "operator"),
)
def composed(run: Run) -> None:
    """A line that no device can do is named, and nothing is applied; without it the service becomes the workload."""
    container = checks.container(run, "deployment2")
    assert container.life != run.kept(Before).job, "the container was not replaced"
    assert "MODE=composed" in container.env, f"its environment: {sorted(container.env)}"
    assert container.restart == "always"
    assert container.mounts.get("/data") == "volume", f"its mounts: {container.mounts}"
    assert checks.container(run).life == run.kept(Before).web, "the other workload was touched"
