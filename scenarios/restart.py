"""Components end; the fleet goes on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.devices import Killable
from harness.errors import Misused
from harness.probes.services import metric, sessions
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import job, web

restart = Scenario(
    id="restart",
    title="Restart any component",
    chapter="Restart",
    why="Every component may end at any moment. What was ordered in the meantime comes later, and what runs on devices "
    "is not touched.",
    devices=2,
    asks=(Killable,),
)

_SOON = 20.0
"""Seconds from a change to its end, while a component is away and comes back."""


@dataclass(frozen=True)
class Before:
    """What runs before anything is restarted."""

    steady: str
    moving: str
    agent: str
    operator: int


@restart.step(
    "Run one workload that changes and one that does not",
    web(),
    job(),
    look_at=("operator", "agent:device"),
)
def two_run(run: Run) -> None:
    """Both run."""
    checks.ready(run, devices=2)
    checks.ready(run, "deployment2", devices=2)
    run.keep(
        Before(
            steady=checks.container(run, "deployment2").life,
            moving=checks.container(run).id,
            agent=checks.beat(run).instance_id,
            operator=_pid(run, "operator"),
        )
    )


@restart.step("Revoke a second device", "fleet device revoke {device2}", look_at=("operator", "callout"))
def one_is_out(run: Run) -> None:
    """It is out; whatever ends from here on, it stays out."""
    assert sessions(run.world, run.name("device2")) == []


def _goes_on(run: Run, release: int) -> None:
    """The change has arrived; the device is online; what was not changed is the same container; who is out is out."""
    checks.ready(run)
    moving = checks.container(run)
    assert moving.id != run.kept(Before).moving, "the change did not reach the device"
    assert f"RELEASE={release}" in moving.env, f"its environment: {sorted(moving.env)}"
    run.keep(replace(run.kept(Before), moving=moving.id))
    steady = checks.container(run, "deployment2").life
    assert steady == run.kept(Before).steady, "a workload that nobody changed was restarted"
    checks.online(run)
    assert sessions(run.world, run.name("device2")) == [], "the device that was revoked is in again"


def _pid(run: Run, component: str) -> int:
    pid = run.world.components()[component].pid
    return pid or 0


def _same_agent(run: Run) -> None:
    assert checks.beat(run).instance_id == run.kept(Before).agent, "the agent was started again"


@restart.step("NATS ends")
def nats_ends(run: Run) -> None:
    """It is killed, and its supervisor starts it again."""
    run.world.kill("nats")


@restart.step("Change the workload right away", web(2, within=_SOON), look_at=("operator", "agent:device", "nats"))
def after_nats(run: Run) -> None:
    """Devices reconnect by themselves and get the change within 20 s; the other workload is untouched.

    Neither the agent nor the operator had to be started again.
    """
    _goes_on(run, 2)
    _same_agent(run)
    assert _pid(run, "operator") == run.kept(Before).operator, "the operator was started again"


@restart.step("The API server ends", alone=True)
def api_server_ends(run: Run) -> None:
    """It is killed, and started again."""
    run.world.kill("kube-apiserver")


@restart.step(
    "Change the workload while it starts", web(3, within=_SOON), look_at=("operator", "kube-apiserver"), alone=True
)
def after_api_server(run: Run) -> None:
    """The command waits until the API server is back, and the operator goes on by itself, both within 20 s."""
    _goes_on(run, 3)
    assert _pid(run, "operator") == run.kept(Before).operator, "the operator was started again"


@restart.step("The operator ends")
def operator_ends(run: Run) -> None:
    """It is killed, and started again."""
    run.world.kill("operator")


@restart.step("Change the workload without an operator", web(4, within=_SOON), look_at=("operator",))
def after_operator(run: Run) -> None:
    """The change is in Kubernetes; the operator finds it within 20 s after it starts again."""
    _goes_on(run, 4)


@restart.step("The callout and NATS end together")
def callout_ends(run: Run) -> None:
    """While the callout is away nobody gets in, so every device has to wait for it."""
    run.world.kill("callout")
    run.world.kill("nats")


@restart.step("Change the workload meanwhile", web(5, within=_SOON), look_at=("callout", "nats", "agent:device"))
def after_callout(run: Run) -> None:
    """The device gets in again as soon as the callout answers, within 20 s; the one that was revoked is refused."""
    _goes_on(run, 5)
    _same_agent(run)
    # A pod that has decided already may be told as ready a moment later, and only then can be asked.
    wait_until(lambda: _decided(run, "allowed"), "the callout has let it in", timeout=checks.ROLLOUT, until=bool)
    wait_until(
        lambda: _decided(run, "revoked"), "the callout has refused the other", timeout=checks.ROLLOUT, until=bool
    )
    assert sessions(run.world, run.name("device2")) == [], "the device that was revoked is in again"


def _decided(run: Run, reason: str) -> float:
    """How often the callout that runs now has decided so."""
    return metric(run.world, "callout", "fleet_callout_decisions_total", reason=reason)


@restart.step("The agent ends")
def agent_ends(run: Run) -> None:
    """It is killed on the device; its unit starts it again, and the workloads go on meanwhile."""
    host = run.world.device(run.name("device"))
    if not isinstance(host, Killable):
        raise Misused(f"the agent of {host.id} cannot be killed from here", next_step="use a device that can")
    host.kill_agent()
    assert checks.container(run, "deployment2").life == run.kept(Before).steady, "a workload was touched"
    assert checks.container(run).id == run.kept(Before).moving, "a workload was touched"


@restart.step("Change the workload once more", web(6, within=_SOON), look_at=("agent:device",))
def after_agent(run: Run) -> None:
    """The new agent adopts what runs and changes only what has changed, within 20 s."""
    _goes_on(run, 6)
    assert checks.beat(run).instance_id != run.kept(Before).agent, "the agent was not killed"
