"""Parts end; the fleet goes on."""

from __future__ import annotations

from harness.commands import Result
from harness.devices import Killable
from harness.errors import Misused
from harness.runbook import Run
from harness.scenario import Scenario
from scenarios import looks
from scenarios.workloads import job, web

restart = Scenario(
    id="restart",
    title="Restart any part",
    chapter="Restart",
    why="Every part may end at any moment. What was asked for in the meantime comes later, and what runs on devices is "
    "not touched.",
    devices=1,
)


@restart.step(
    "Run one workload that changes and one that does not",
    web(),
    job(),
    look_at=("operator", "agent:device"),
)
def two_run(run: Run, *_results: Result) -> None:
    """Both run."""
    looks.settled(run)
    looks.settled(run, "deployment2")
    run.keep(steady=looks.running(run, "deployment2").id, moving=looks.running(run).id)


def _goes_on(run: Run) -> None:
    """The change arrived; the device is online; what was not changed is the same container."""
    looks.settled(run)
    moving = looks.running(run).id
    assert moving != run.kept("moving", str), "the change did not reach the device"
    run.keep(moving=moving)
    steady = looks.running(run, "deployment2").id
    assert steady == run.kept("steady", str), "a workload that nobody changed was restarted"
    looks.online(run)


@restart.step("NATS ends")
def nats_ends(run: Run) -> None:
    """It is killed, and started again by whoever keeps it."""
    run.world.kill("nats")


@restart.step("Change the workload right away", web(2), look_at=("operator", "agent:device", "nats"))
def after_nats(run: Run, _result: Result) -> None:
    """Devices reconnect by themselves and get the change; the other workload is untouched."""
    _goes_on(run)


@restart.step("The API server ends", alone=True)
def api_server_ends(run: Run) -> None:
    """It is killed, and started again."""
    run.world.kill("kube-apiserver")


@restart.step("Change the workload while it starts", web(3), look_at=("operator", "kube-apiserver"), alone=True)
def after_api_server(run: Run, _result: Result) -> None:
    """The command waits until the API server is back, and the operator goes on by itself."""
    _goes_on(run)


@restart.step("The operator ends")
def operator_ends(run: Run) -> None:
    """It is killed, and started again."""
    run.world.kill("operator")


@restart.step("Change the workload without an operator", web(4), look_at=("operator",))
def after_operator(run: Run, _result: Result) -> None:
    """The wish is in Kubernetes; the operator finds it when it comes back."""
    _goes_on(run)


@restart.step("The callout and NATS end together")
def callout_ends(run: Run) -> None:
    """While the callout is away nobody gets in, so every device has to wait for it."""
    run.world.kill("callout")
    run.world.kill("nats")


@restart.step("Change the workload meanwhile", web(5), look_at=("callout", "nats", "agent:device"))
def after_callout(run: Run, _result: Result) -> None:
    """The device gets in again as soon as the callout answers."""
    _goes_on(run)


@restart.step("The agent ends")
def agent_ends(run: Run) -> None:
    """It is killed on the device; its unit starts it again, and the workloads go on meanwhile."""
    host = run.world.device(run.name("device"))
    if not isinstance(host, Killable):
        raise Misused(f"the agent of {host.id} cannot be killed from here", next_step="use a device that can")
    host.kill_agent()
    assert looks.containers(run)[run.name("deployment2")].state == "running"


@restart.step("Change the workload once more", web(6), look_at=("agent:device",))
def after_agent(run: Run, _result: Result) -> None:
    """The new agent adopts what runs and changes only what has changed."""
    _goes_on(run)
