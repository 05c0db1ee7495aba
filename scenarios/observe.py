"""See what the fleet does."""

from __future__ import annotations

from fleet.contract.objects import Device
from harness.commands import Result
from harness.devices import Killable
from harness.errors import Misused
from harness.runbook import Run
from harness.scenario import Command, Scenario
from harness.wait import wait_until
from scenarios import looks
from scenarios.workloads import web

observe = Scenario(
    id="observe",
    title="See what runs, and what does not",
    chapter="Observe",
    why="One look tells which devices are there, what they run, and which have gone silent.",
    devices=1,
)


@observe.step(
    "Run something to look at",
    web(),
    look_at=("operator", "agent:device"),
)
def something_runs(run: Run, *_results: Result) -> None:
    """It runs on the one device of the site."""
    run.keep(container=looks.running(run).id)


@observe.step(
    "Look at the whole fleet",
    Command("kubectl get devices,fleetdeployments --namespace {namespace}", contains=("ONLINE", "IMAGE", "{image}")),
    look_at=("operator",),
)
def listed(run: Run, result: Result) -> None:
    """A line per device and per deployment, with what matters in columns."""
    device = next(line for line in result.stdout.splitlines() if run.name("device") in line)
    assert "True" in device.split(), f"not shown as online: {device}"
    web = next(line for line in result.stdout.splitlines() if run.name("deployment") in line)
    assert web.split()[2:6] == ["1", "1", "1", "0"], f"matched, updated, ready, failed are wrong: {web}"


@observe.step(
    "Look at one device",
    Command("fleet device show {device}", contains=("{device}", "HeartbeatReceived")),
    Command("fleet device show {device} --output json"),
    look_at=("operator",),
)
def shown(run: Run, _text: Result, as_json: Result) -> None:
    """What it is and what it runs; as JSON, the object that Kubernetes holds."""
    held = as_json.json(Device)
    assert held.metadata.name == run.name("device")
    assert held.status.info is not None


@observe.step("Pull a device's plug", look_at=("operator",))
def silent(run: Run) -> None:
    """Within three heartbeats it is shown as offline (`HeartbeatMissed`)."""
    host = run.world.device(run.name("device"))
    if not isinstance(host, Killable):
        raise Misused(f"{host.id} cannot be switched off from here", next_step="use a device that can")
    host.power_off()
    name = run.name("device")
    wait_until(
        lambda: run.world.kube.device(name),
        f"{name} is shown as offline",
        timeout=looks.ROLLOUT,
        until=lambda held: looks.says(held, "Online", "False", "HeartbeatMissed"),
    )


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
    """The device comes online by itself, and its workload runs again."""
    host = run.world.device(run.name("device"))
    assert isinstance(host, Killable)
    host.power_on()
    looks.online(run)
    looks.running(run)
