"""Orders of an agent's version that are refused, that follow one another, and that are taken back."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.contract.buckets import DEVICE_INFO
from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from harness.devices import Killable
from harness.scenario.command_line import refused
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks, logins
from scenarios.upgrade import ENDED, SOON, ends, order, status_of, target_of
from scenarios.workloads import job_that_crashes

upgrade_refused = Scenario(
    id="upgrade-refused",
    title="An upgrade that is refused",
    chapter="Upgrade agents",
    why="What cannot work is not begun: the refusal says why, and the agent that runs is not touched.",
    devices=1,
    agents=2,
)


@dataclass(frozen=True)
class Before:
    """The agent that runs, and the number of orders."""

    agent: str
    orders: int


@upgrade_refused.step(
    "Order a version that nobody published",
    refused("fleet device upgrade {device} --to v9.9.9 --wait", 4, contains=("UnknownVersion", "fleet agent publish")),
)
def unknown(run: Run) -> None:
    """The operator does not pass it on: the device gets no order."""
    assert status_of(run) is None
    assert target_of(run) is None, "it was ordered"
    assert checks.says(checks.device(run), "Upgraded", "False", "UnknownVersion")
    run.keep(Before(checks.beat(run).instance_id, checks.device(run).spec.agent_order))


@upgrade_refused.step(
    "Order what is no version", refused("fleet device upgrade {device} --to latest", 2, contains="latest")
)
def no_version(run: Run) -> None:
    """The command does not even ask."""
    assert checks.device(run).spec.agent_order == run.kept(Before).orders


@upgrade_refused.step(
    "Order an agent that a stranger has signed",
    "fleet agent new-key --out stranger.key --trusted-keys strangers.json",
    "fleet agent sign {agent_foreign} --key stranger.key",
    "fleet agent publish {agent_foreign}",
    order("_foreign", 1, ("KeyUnknown",)),
    look_at=("agent:device",),
)
def not_trusted(run: Run) -> None:
    """The device refuses it (`KeyUnknown`); its own agent goes on."""
    _left_alone(run, UpgradeReason.KEY_UNKNOWN)


@upgrade_refused.step(
    "Order an agent that fails its self-test",
    "fleet agent sign {agent_unfit} --key {release_key}",
    "fleet agent publish {agent_unfit}",
    order("_unfit", 1, ("SelfTestFailed",)),
    look_at=("agent:device",),
)
def not_fit(run: Run) -> None:
    """It is not begun with (`SelfTestFailed`); the agent that runs goes on."""
    _left_alone(run, UpgradeReason.SELF_TEST_FAILED)


def _left_alone(run: Run, reason: UpgradeReason) -> None:
    """The latest attempt was refused for this reason, and the agent that was there has not been touched."""
    assert ends(run, UpgradePhase.REFUSED).reason is reason
    beat = checks.next_beat(run)
    assert beat.instance_id == run.kept(Before).agent, "another agent runs"
    assert str(beat.agent_version) == run.name("version")


@upgrade_refused.step("Run a workload that crashes", job_that_crashes(), look_at=("agent:device",))
def crashes(run: Run) -> None:
    """It fails, and the device says so."""
    wait_until(
        lambda: checks.deployment(run, "deployment2"),
        "the deployment fails",
        timeout=checks.ROLLOUT,
        until=lambda item: item.status.failed == 1,
        successes=20,
        interval=0.1,
    )


@upgrade_refused.step(
    "Upgrade all the same",
    order(2, 1, ("WorkloadUnhealthy", "mend the workload, then order it again")),
    look_at=("agent:device",),
)
def unhealthy(run: Run) -> None:
    """A device on which something is wrong is left alone."""
    _left_alone(run, UpgradeReason.WORKLOAD_UNHEALTHY)


upgrade_queued = Scenario(
    id="upgrade-queued",
    title="Several upgrades at once",
    chapter="Upgrade agents",
    why="The order that came last wins; each device does one thing after the other, and one device is upgraded after "
    "the other.",
    devices=3,
    agents=3,
)


@upgrade_queued.step(
    "Order one version, and another right after it; and one for two other devices",
    "fleet device upgrade {device} --to {version2}",
    "fleet device upgrade {device} --to {version3}",
    "fleet device upgrade {device2} --to {version2}",
    "fleet device upgrade {device3} --to {version2}",
    look_at=("agent:device", "agent:device2", "operator"),
)
def last_wins(run: Run) -> None:
    """The device ends at the version that was ordered last.

    At no moment do two devices change their agent.
    """
    ends = {"device": "version3", "device2": "version2", "device3": "version2"}
    devices = list(ends)

    def changing() -> list[str]:
        # As in `roll-out`: what was so before and after the others were looked at was so meanwhile.
        before = [_changes(run, device) for device in devices]
        after = [_changes(run, device) for device in reversed(devices)][::-1]
        return [run.name(it) for it, *seen in zip(devices, before, after, strict=True) if all(seen)]

    def done(lines: list[str]) -> bool:
        assert len(lines) <= 1, f"at once changed: {', '.join(lines)}"
        return all(_has_committed(run, *end) for end in ends.items())

    wait_until(changing, "all run what was ordered last", timeout=ENDED, until=done)


def _changes(run: Run, device: str) -> bool:
    """Whether a device was given the lock, and its attempt has not ended."""
    target, info = target_of(run, device), run.world.nats.get(DEVICE_INFO, run.name(device))
    status = info.upgrade if info else None
    over = (
        status is not None and target is not None and status.generation == target.generation and status.phase.terminal
    )
    return target is not None and target.granted and not over


def _has_committed(run: Run, device: str, version: str) -> bool:
    info = run.world.nats.get(DEVICE_INFO, run.name(device))
    status = info.upgrade if info else None
    return status is not None and status.phase is UpgradePhase.COMMITTED and str(status.committed) == run.name(version)


upgrade_withdrawn = Scenario(
    id="upgrade-withdrawn",
    title="An order that was taken back while the device was away",
    chapter="Upgrade agents",
    why="A device that comes back after weeks does what is wanted now, not what was wanted then.",
    devices=1,
    agents=2,
    asks=(Killable,),
)


@upgrade_withdrawn.step("The device goes away")
def away(run: Run) -> None:
    """Its power is cut."""
    checks.killable(run).power_off()


@upgrade_withdrawn.step(
    "Order an upgrade, and take it back",
    "fleet device upgrade {device} --to {version2}",
    """kubectl patch device {device} --namespace {namespace} --type=merge --patch '{"spec":{"agentVersion":""}}'""",
    look_at=("operator",),
)
def taken_back(run: Run) -> None:
    """The operator withdraws the order, or never gives it."""
    wait_until(
        lambda: target_of(run), "no order stands", timeout=SOON, until=lambda order: order is None or order.withdrawn
    )


@upgrade_withdrawn.step("The device comes back", look_at=("agent:device",))
def back(run: Run) -> None:
    """It runs what it ran before, and begins no upgrade."""
    checks.killable(run).power_on()
    for _ in range(3):
        beat = checks.next_beat(run)
        assert str(beat.agent_version) == run.name("version"), f"it runs {beat.agent_version}"
    status = status_of(run)
    assert status is None or status.phase.terminal, f"an upgrade has begun: {status}"
    assert status is None or str(status.committed) == run.name("version")


@upgrade_withdrawn.step(
    "Order it again, and revoke the device in the middle",
    "fleet device upgrade {device} --to {version2}",
    "fleet device revoke {device}",
    look_at=("operator", "callout", "agent:device"),
)
def revoked(run: Run) -> None:
    """Whichever of its agents runs, it has no session any more, and its machine user gets no token."""
    checks.dropped(run)
    assert checks.says(checks.device(run), "Revoked", "True", "SessionsDropped")
    assert not any(logins.machine_users(run).values())
