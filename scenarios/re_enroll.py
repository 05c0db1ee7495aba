"""Give a device a new identity."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fleet.contract.wire import Phase, Reason
from harness.scenario.command_line import on_device, refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from scenarios import checks, logins
from scenarios.workloads import web

re_enroll = Scenario(
    id="re-enroll",
    title="Give a device a new identity",
    chapter="Re-enroll",
    why="A key was lost, or a revoked device was found again. The device keeps its name and its workloads; the old "
    "key is worthless from then on.",
    devices=1,
)


@dataclass(frozen=True)
class Before:
    """The device as it was first enrolled, and its workload."""

    container: str
    subject: str
    token: str
    reported: float = 0.0


@re_enroll.step("Run a workload", web(), look_at=("operator", "agent:device"))
def runs(run: Run) -> None:
    """It runs on the device."""
    checks.ready(run)
    run.keep(Before(checks.container(run).life, checks.device(run).spec.subject, logins.token(run)))


@re_enroll.step("Revoke the device", "fleet device revoke {device}", look_at=("operator", "callout"))
def shut_out(run: Run) -> None:
    """It is out, and its machine user is deactivated; its workload still runs, for nobody can tell it otherwise."""
    checks.dropped(run)
    assert logins.machine_users(run) == {run.kept(Before).subject: False}, "its machine user is still active"
    assert checks.container(run).life == run.kept(Before).container


@re_enroll.step(
    "Enroll it again without saying so",
    refused("fleet device enroll --device-id {device} --out again.json", 5, contains="--replace"),
)
def not_by_accident(run: Run) -> None:
    """It is refused with exit code 5, and says which option is meant; the device is as it was."""
    held = checks.device(run)
    assert held.spec.subject == run.kept(Before).subject
    assert held.spec.revoked, "its revocation was lifted"
    assert list(logins.machine_users(run)) == [held.spec.subject], "a machine user was made"
    assert not (run.folder / "again.json").exists()


@re_enroll.step(
    "Replace its identity",
    "fleet device enroll --device-id {device} --replace --heartbeat-interval 1 --out new.json",
    look_at=("operator",),
)
def replaced(run: Run) -> None:
    """The device has another machine user and no other, and its labels are as before.

    The old key still gets nowhere, nor does a token that it was given earlier.
    """
    held = checks.device(run)
    assert held.spec.subject != run.kept(Before).subject
    assert held.metadata.labels.get("site") == run.name("site")
    assert not held.spec.revoked
    assert logins.machine_users(run) == {held.spec.subject: True}, "the old key is still good at the provider"
    assert not logins.visit(run, run.kept(Before).token).let_in, "a token of the old key was let in"
    checks.dropped(run)
    reported = checks.reported(run, Phase.RUNNING, Reason.STARTED).at
    run.keep(replace(run.kept(Before), reported=reported))


@re_enroll.step(
    "Set it up anew",
    on_device("fleet device setup --config new.json {where}"),
    look_at=("agent:device", "callout", "operator"),
)
def back(run: Run) -> None:
    """It comes online with its new key; the workload is the same container as ever."""
    checks.online(run)
    anew = checks.reported(run, Phase.RUNNING, Reason.STARTED, since=run.kept(Before).reported)
    same = checks.container(run)
    assert same.life == run.kept(Before).container, "the workload was touched"
    assert anew.container_id == same.id
    checks.settled(run)
    assert not logins.visit(run, run.kept(Before).token).let_in, "a token of the old key was let in"
