"""Bring a device's agent to another version, and back; and what happens when something comes in between."""

from __future__ import annotations

from fleet.contract.buckets import AGENT_TARGET, DEVICE_HEARTBEAT
from fleet.contract.objects import Device
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import Heartbeat
from harness.commands import Result
from harness.devices import Killable
from harness.errors import Misused
from harness.runbook import Run
from harness.scenario import Command, Scenario, refused
from harness.wait import wait_until
from scenarios import looks
from scenarios.workloads import job, job_that_crashes

_ENDED = 90.0
"""Seconds that an upgrade may take, on a machine that is busy with something else."""


def _upgrade(number: int, exit_code: int = 0, contains: tuple[str, ...] = ()) -> Command:
    line = f"fleet device upgrade {{device}} --to {{version{number}}} --wait"
    return Command(line, exit_code, contains, deadline=_ENDED)


def _object(run: Run) -> Device:
    found = run.world.kube.device(run.name("device"))
    assert found is not None, "the Device is gone"
    return found


def _status(run: Run) -> UpgradeStatus | None:
    info = _object(run).status.info
    return info.upgrade if info else None


def _untouched(run: Run) -> None:
    assert looks.running(run, "deployment2").id == run.kept("job", str), "a workload was touched"


def _ends(run: Run, phase: UpgradePhase, *, version: str = "") -> UpgradeStatus:
    """Wait until the device reports that its latest attempt has ended like this."""

    def ended(known: UpgradeStatus | None) -> bool:
        return known is not None and known.phase is phase and version in {"", str(known.candidate)}

    what = f"{run.name('device')} reports {phase.value} {version}".rstrip()
    known = wait_until(lambda: _status(run), what, timeout=_ENDED, until=ended)
    assert known is not None
    return known


def _killable(run: Run) -> Killable:
    host = run.world.device(run.name("device"))
    if not isinstance(host, Killable):
        raise Misused(f"{host.id} cannot be switched off from here", next_step="use a device that can")
    return host


upgrade = Scenario(
    id="upgrade",
    title="Upgrade a device's agent, and go back",
    chapter="Upgrade agents",
    why="A new agent is fetched over the device's own connection, verified, examined and started beside the old one, "
    "which stays until the operator has seen the new one live. What runs on the device is not touched.",
    devices=1,
    agents=2,
)


@upgrade.step("Run a workload", job(), look_at=("agent:device", "operator"))
def runs(run: Run, _result: Result) -> None:
    """It must not notice anything of what follows."""
    looks.settled(run, "deployment2")
    run.keep(job=looks.running(run, "deployment2").id)


@upgrade.step("See what can be ordered", Command("fleet agent list", contains=("{version}", "{version2}")))
def listed(run: Run, _result: Result) -> None:
    """Both versions are published."""


@upgrade.step("Upgrade", _upgrade(2, contains=("runs {version2}",)), look_at=("agent:device", "operator", "nats"))
def upgraded(run: Run, _result: Result) -> None:
    """The command tells how it goes, and returns once the new version is confirmed; the workload is the same."""
    status = _ends(run, UpgradePhase.COMMITTED)
    assert (str(status.committed), str(status.previous)) == (run.name("version2"), run.name("version"))
    _untouched(run)


@upgrade.step(
    "See it in Kubernetes",
    Command("kubectl get devices --namespace {namespace}", contains=("{version2}", "Confirmed")),
)
def seen(run: Run, _result: Result) -> None:
    """The version that runs, and how its upgrade ended, stand in their columns."""


@upgrade.step(
    "Roll back",
    Command("fleet device rollback {device} --wait", contains=("runs {version}",), deadline=_ENDED),
    look_at=("agent:device", "operator"),
)
def rolled_back(run: Run, _result: Result) -> None:
    """It is an upgrade to the version before, which is still on the device."""
    status = _ends(run, UpgradePhase.COMMITTED, version=run.name("version"))
    assert str(status.committed) == run.name("version")
    _untouched(run)


upgrade_refused = Scenario(
    id="upgrade-refused",
    title="An upgrade that is refused",
    chapter="Upgrade agents",
    why="What cannot work is not begun: the refusal says why, and the agent that runs is not touched.",
    devices=1,
    agents=2,
)


@upgrade_refused.step(
    "Order a version that nobody published",
    refused("fleet device upgrade {device} --to v9.9.9 --wait", 4, contains=("UnknownVersion", "fleet agent publish")),
)
def unknown(run: Run, _result: Result) -> None:
    """The operator does not pass it on."""
    assert _status(run) is None


@upgrade_refused.step(
    "Order what is no version", refused("fleet device upgrade {device} --to latest", 2, contains="latest")
)
def no_version(run: Run, _result: Result) -> None:
    """The command does not even ask."""


@upgrade_refused.step("Run a workload that crashes", job_that_crashes(), look_at=("agent:device",))
def crashes(run: Run, _result: Result) -> None:
    """It fails, and the device says so."""
    wait_until(
        lambda: looks.deployment(run, "deployment2"),
        "the deployment fails",
        timeout=looks.ROLLOUT,
        until=lambda it: it.status.failed == 1,
        successes=20,
        interval=0.1,
    )


@upgrade_refused.step(
    "Upgrade all the same", _upgrade(2, 1, ("WorkloadUnhealthy", "mend the workload first")), look_at=("agent:device",)
)
def unhealthy(run: Run, _result: Result) -> None:
    """A device on which something is wrong is left alone."""
    assert _ends(run, UpgradePhase.REFUSED).reason is UpgradeReason.WORKLOAD_UNHEALTHY


upgrade_interrupted = Scenario(
    id="upgrade-interrupted",
    title="An upgrade that is interrupted",
    chapter="Upgrade agents",
    why="After a crash or a power cut at any moment the device has an agent that works, and the order is carried out "
    "or its failure reported.",
    devices=1,
    agents=2,
)


def _begun(run: Run) -> None:
    wait_until(lambda: _status(run), "the device has begun", timeout=_ENDED)


@upgrade_interrupted.step("Order the upgrade", "fleet device upgrade {device} --to {version2}")
def ordered(run: Run, _result: Result) -> None:
    """The device begins."""
    _begun(run)


@upgrade_interrupted.step("The agent is killed", look_at=("agent:device",))
def killed(run: Run) -> None:
    """Its unit starts it again, and it goes on where it was."""
    _killable(run).kill_agent()


@upgrade_interrupted.step("The power is cut, and comes back", look_at=("agent:device", "operator"))
def power_cut(run: Run) -> None:
    """The launcher starts what it can verify; the order still stands, and is carried out."""
    host = _killable(run)
    host.power_off()
    host.power_on()
    status = _ends(run, UpgradePhase.COMMITTED)
    assert str(status.committed) == run.name("version2")


upgrade_queued = Scenario(
    id="upgrade-queued",
    title="Two upgrades at once",
    chapter="Upgrade agents",
    why="The order that came last wins; each device does one thing after the other.",
    devices=1,
    agents=3,
)


@upgrade_queued.step(
    "Order one version, and another right after it",
    "fleet device upgrade {device} --to {version2}",
    _upgrade(3, contains=("runs {version3}",)),
    look_at=("agent:device", "operator"),
)
def last_wins(run: Run, *_results: Result) -> None:
    """The device ends at the version that was ordered last."""
    status = _ends(run, UpgradePhase.COMMITTED, version=run.name("version3"))
    assert str(status.committed) == run.name("version3")


upgrade_withdrawn = Scenario(
    id="upgrade-withdrawn",
    title="An order that was taken back while the device was away",
    chapter="Upgrade agents",
    why="A device that comes back after weeks does what is wanted now, not what was wanted then.",
    devices=1,
    agents=2,
)


@upgrade_withdrawn.step("The device goes away")
def away(run: Run) -> None:
    """Its power is cut."""
    _killable(run).power_off()


@upgrade_withdrawn.step(
    "Order an upgrade, and take it back",
    "fleet device upgrade {device} --to {version2}",
    """kubectl patch device {device} --namespace {namespace} --type=merge --patch '{"spec":{"agentVersion":""}}'""",
    look_at=("operator",),
)
def taken_back(run: Run, *_results: Result) -> None:
    """The operator withdraws the order, or never gives it."""
    wait_until(
        lambda: run.world.nats.get(AGENT_TARGET, run.name("device")),
        "no order stands",
        timeout=_ENDED,
        until=lambda order: order is None or order.withdrawn,
    )


@upgrade_withdrawn.step("The device comes back", look_at=("agent:device",))
def back(run: Run) -> None:
    """It runs what it ran before."""

    def beat() -> Heartbeat | None:
        return run.world.nats.get(DEVICE_HEARTBEAT, run.name("device"))

    before = beat()
    _killable(run).power_on()
    wait_until(beat, "its agent is heard again", timeout=_ENDED, until=lambda heard: heard != before)
    told = "Kubernetes tells what it runs"
    device = wait_until(lambda: _object(run), told, timeout=_ENDED, until=lambda item: item.status.info is not None)
    assert device.status.info is not None
    assert str(device.status.info.agent_version) == run.name("version")
