"""Give a device a new identity."""

from __future__ import annotations

from fleet.contract.wire import Phase, Reason
from harness.commands import Result
from harness.probes.services import sessions
from harness.runbook import Run
from harness.scenario import Scenario, on_device, refused
from scenarios import looks
from scenarios.workloads import web

re_enroll = Scenario(
    id="re-enroll",
    title="Give a device a new identity",
    chapter="Re-enroll",
    why="A key was lost, or a revoked device was found again. The device keeps its name and its workloads; the old "
    "key is worthless from then on.",
    devices=1,
)


@re_enroll.step("Run a workload", web(), look_at=("operator", "agent:device"))
def runs(run: Run, _result: Result) -> None:
    """It runs on the device."""
    looks.settled(run)
    run.keep(container=looks.running(run).id, subject=looks.device(run).spec.subject)


@re_enroll.step("Revoke the device", "fleet device revoke {device}", look_at=("operator", "callout"))
def shut_out(run: Run, _result: Result) -> None:
    """It is out; its workload still runs, for nobody can tell it otherwise."""
    assert looks.running(run).id == run.kept("container", str)


@re_enroll.step(
    "Enroll it again without saying so",
    refused("fleet device enroll --device-id {device} --out again.json", 5, contains="--replace"),
)
def not_by_accident(run: Run, _result: Result) -> None:
    """It is refused with exit code 5, and says which option is meant."""
    assert looks.device(run).spec.subject == run.kept("subject", str)


@re_enroll.step(
    "Replace its identity",
    "fleet device enroll --device-id {device} --replace --heartbeat-interval 1 --out new.json",
    look_at=("operator",),
)
def replaced(run: Run, _result: Result) -> None:
    """The device has another machine user, and its labels are as before; the old key still gets nowhere."""
    held = looks.device(run)
    assert held.spec.subject != run.kept("subject", str)
    assert held.spec.labels == {"site": run.name("site")}
    assert not held.spec.revoked
    assert sessions(run.world, run.name("device")) == []
    run.keep(reported=looks.reported(run, Phase.RUNNING, Reason.STARTED).at)


@re_enroll.step(
    "Set it up anew",
    on_device("fleet device setup --config new.json {where}"),
    look_at=("agent:device", "callout", "operator"),
)
def back(run: Run, _result: Result) -> None:
    """It comes online with its new key; the workload is the same container as ever."""
    looks.online(run)
    anew = looks.reported(run, Phase.RUNNING, Reason.STARTED, since=run.kept("reported", float))
    assert anew.container_id == looks.running(run).id == run.kept("container", str)
    assert looks.settled(run).status.ready == 1
