"""Give a device's host back: nothing of the fleet is left on it, and it can be set up again."""

from __future__ import annotations

from dataclasses import dataclass

from harness.devices import Device
from harness.scenario.command_line import Command, on_device
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from scenarios import checks
from scenarios.workloads import web

retire = Scenario(
    id="retire",
    title="Set a host up again, and undo its set-up",
    chapter="Enroll",
    why="A set-up can be repeated at any time, and undone when the host gets another task.",
    devices=1,
)

_CONFIG = "/etc/fleet/agent.json"
_SET_UP = "fleet device setup --config {config} {where}"


@dataclass(frozen=True)
class Before:
    """The workload's container."""

    container: str


@retire.step("Run a workload", web(), look_at=("agent:device", "operator"))
def runs(run: Run) -> None:
    """It runs on the device."""
    run.keep(Before(checks.running(run).id))


@retire.step(
    "Set the device up again", Command(_SET_UP, contains=("nothing changed",), on="device"), look_at=("agent:device",)
)
def untouched(run: Run) -> None:
    """Nothing changes, and the command says so; the workload goes on."""
    assert checks.running(run).id == run.kept(Before).container


@retire.step(
    "Undo the set-up",
    Command(
        "fleet device uninstall {where}", contains=(f"removed {_CONFIG}", "ended fleet-"), on="device", deadline=60
    ),
    look_at=("agent:device",),
)
def gone(run: Run) -> None:
    """When the command returns, the workload and the configuration with its key are gone from the host."""
    assert run.name("deployment") not in checks.containers(run), "the workload runs on"
    assert not _is_set_up(run.world.device(run.name("device")))


@retire.step("Undo it again", Command("fleet device uninstall {where}", contains=("nothing changed",), on="device"))
def nothing_left(run: Run) -> None:
    """There is nothing left to undo."""
    assert not _is_set_up(run.world.device(run.name("device")))


@retire.step("Set the host up once more", on_device(_SET_UP), look_at=("agent:device", "operator"))
def back(run: Run) -> None:
    """The device comes online, and runs what it is to run."""
    checks.online(run)
    assert checks.running(run).id != run.kept(Before).container


def _is_set_up(host: Device) -> bool:
    try:
        host.read(_CONFIG)
    except OSError as error:
        # A host over SSH is read as a user, who may not look into a folder that only root may.
        return not isinstance(error, FileNotFoundError)
    return True
