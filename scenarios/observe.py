"""See what the fleet does."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass

from fleet.contract.buckets import DESIRED_STATE
from fleet.contract.objects import Device
from harness.devices import Killable
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import job_that_speaks, web

_SHOWN = 1.5
"""Seconds that it may take until Kubernetes tells what has become true."""
_EARLY = 0.5
"""Seconds that a heartbeat may have been on its way to us."""

observe = Scenario(
    id="observe",
    title="See what runs, and what does not",
    chapter="Observe",
    why="One look tells which devices are there, what they run, and which have gone silent.",
    devices=1,
    asks=(Killable,),
)


@observe.step(
    "Run something to look at",
    web(),
    look_at=("operator", "agent:device"),
)
def something_runs(run: Run) -> None:
    """It runs on the one device of the site."""
    checks.container(run)


@observe.step(
    "Look at the whole fleet",
    Command("kubectl get devices,fleetdeployments --namespace {namespace}", contains=("ONLINE", "IMAGE", "{image}")),
    look_at=("operator",),
)
def listed(run: Run, result: Result) -> None:
    """A line per device and per deployment, with what matters in columns."""
    device = next(line for line in result.stdout.splitlines() if run.name("device") in line)
    assert "True" in device.split(), f"not shown as online: {device}"
    titles = next(line for line in result.stdout.splitlines() if "MATCHED" in line)
    web = next(line for line in result.stdout.splitlines() if run.name("deployment") in line)
    shown = dict(zip(titles.split(), web.split(), strict=True))
    counts = [shown[title] for title in ("MATCHED", "UPDATED", "READY", "FAILED")]
    assert counts == ["1", "1", "1", "0"], f"matched, updated, ready, failed are wrong: {web}"


@observe.step(
    "Look at one device",
    Command("fleet device show {device}", contains=("{device}", "HeartbeatReceived", "free for the engine")),
    Command("fleet device show {device} --output json"),
    look_at=("operator",),
)
def shown(run: Run, text: Result, as_json: Result) -> None:
    """What it is and what it runs; as JSON, the object that Kubernetes holds."""
    shown, held = as_json.json(Device), checks.device(run)
    assert (shown.metadata.uid, shown.spec, shown.status.info) == (held.metadata.uid, held.spec, held.status.info)
    assert held.status.deployments == 1
    info = held.status.info
    assert info is not None, "the device has not said what it is"
    for fact in (info.arch, info.os, info.kernel, str(info.agent_version)):
        assert fact in text.stdout, f"{fact!r} is not shown"


@observe.step(
    "Read what a workload has written",
    job_that_speaks(),
    Command("fleet device logs {device} --deployment {deployment2} --since 10m", contains=("ready to serve",)),
    look_at=("agent:device", "nats"),
)
def logs_read(run: Run, _applied: Result, log: Result) -> None:
    """Its lines, and nothing else; nobody logs in on the device, and nothing listens there."""
    assert log.stdout == "ready to serve\n"


@dataclass(frozen=True)
class AgentLog:
    """The agent's log, as the command printed it."""

    text: str


@observe.step(
    "Read what the agent has written",
    Command("fleet device logs {device} --tail 1000", contains=("container starts",)),
    look_at=("agent:device", "nats"),
)
def own_log_read(run: Run, log: Result) -> None:
    """A JSON line for each event since its start, among them that it started the workload."""
    starts = [line for line in log.stdout.splitlines() if "container starts" in line]
    assert any(run.name("deployment2") in line for line in starts), starts
    run.keep(AgentLog(log.stdout))


@observe.step(
    "Ask who ordered it, and what became of it",
    "fleet deployment events {deployment2}",
    Command("fleet device events {device}", contains=("fleet device enroll",)),
    look_at=("operator", "agent:device"),
)
def history_shown(run: Run) -> None:
    """Events name the user and the command of each generation, and what became of each workload on the device.

    The id of the change is also in the agent's log, on the device.
    """
    checks.event(run, "device", f"{run.name('deployment2')} generation 1: Running")
    checks.event(run, "deployment2", "1 of 1 devices run it")
    ordered = checks.event(run, "deployment2", "with `fleet deployment apply`")
    match = re.search(r"\(change ([0-9a-f]{12})\)", ordered)
    assert match, f"no change is named: {ordered}"
    held = run.world.nats.get(DESIRED_STATE, f"{run.name('device')}.{run.name('deployment2')}")
    assert held is not None
    assert held.change == match[1]
    starts = [line for line in run.kept(AgentLog).text.splitlines() if "container starts" in line]
    assert any(match[1] in line for line in starts), f"{match[1]} is not in the agent's log: {starts}"


@observe.step("Pull a device's plug", look_at=("operator",))
def silent(run: Run) -> None:
    """Once three heartbeats are missing it is shown as offline (`HeartbeatMissed`), and no earlier.

    It takes a second and a half at most.
    """
    host = checks.killable(run)
    checks.next_beat(run)
    arrived = time.monotonic()
    host.power_off()
    name = run.name("device")
    missed = 3 * checks.beat(run).interval
    wait_until(
        lambda: run.world.kube.device(name),
        f"{name} is shown as offline",
        timeout=arrived + missed + _SHOWN - time.monotonic(),
        until=lambda held: checks.says(held, "Online", "False", "HeartbeatMissed"),
    )
    silent = time.monotonic() - arrived
    assert silent > missed - _EARLY, f"it was shown as offline after {silent:.2f} s without a heartbeat"


@observe.step(
    "See that it is offline",
    Command("fleet device list", contains=("{device}", "HeartbeatMissed")),
    look_at=("operator",),
)
def seen_offline(run: Run, result: Result) -> None:
    """The list says so, and why."""
    line = next(line for line in result.stdout.splitlines() if run.name("device") in line)
    assert "HeartbeatMissed" in line


@observe.step("Put the plug back", look_at=("agent:device", "operator"))
def back(run: Run) -> None:
    """The device comes online by itself, and its workload runs again; both within 20 s."""
    checks.killable(run).power_on()
    checks.online(run)
    checks.running(run)
