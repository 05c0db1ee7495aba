"""Bring a device's agent to another version, and back; and what happens when something comes in between."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.contract.buckets import AGENT_LEASE, AGENT_TARGET, ARTIFACTS_STREAM
from fleet.contract.upgrade import UpgradePhase, UpgradeStatus
from fleet.contract.wire import AgentLease, AgentTarget
from harness.devices import Killable
from harness.probes.nats import Written
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import job

ENDED = 90.0
"""Seconds that an upgrade may take, on a machine that is busy with something else."""
SOON = 45.0
"""Seconds that an upgrade takes at most where nothing comes in between: no wait in it may run into its deadline."""
_TRIAL = 2.0
"""Seconds that a new agent is on trial (`upgrade.soak` of the operator)."""
_SLACK = 0.5
"""Seconds that a message may take longer than another."""


def order(which: object, exit_code: int = 0, contains: tuple[str, ...] = (), within: float = ENDED) -> Command:
    """Order `{version}` with this suffix, and wait for its end."""
    line = f"fleet device upgrade {{device}} --to {{version{which}}} --wait"
    return Command(line, exit_code, contains, deadline=within)


def status_of(run: Run) -> UpgradeStatus | None:
    """How Kubernetes says that the latest attempt of the device stands; None before the first."""
    info = checks.device(run).status.info
    return info.upgrade if info else None


def _untouched(run: Run) -> None:
    assert checks.container(run, "deployment2").life == run.kept(Job).life, "a workload was touched"


def _committed(run: Run, version: str) -> UpgradeStatus:
    """How the latest attempt stands now, without waiting: this version is committed, and its agent is the writer."""
    status = status_of(run)
    assert status is not None, "the device has told of no upgrade"
    assert status.phase is UpgradePhase.COMMITTED, f"it stands at {status}"
    assert str(status.committed) == run.name(version)
    lease = run.world.nats.get(AGENT_LEASE, run.name("device"))
    assert lease is not None
    beat = checks.next_beat(run)
    assert str(beat.agent_version) == run.name(version), f"an agent of {beat.agent_version} is heard"
    assert lease.instance_id == beat.instance_id, "who is heard is not who may write"
    return status


def target_of(run: Run, placeholder: str = "device") -> AgentTarget | None:
    """What a device is ordered to run."""
    return run.world.nats.get(AGENT_TARGET, run.name(placeholder))


def ends(run: Run, phase: UpgradePhase, *, version: str = "") -> UpgradeStatus:
    """Wait until the device reports that its latest attempt has ended like this."""

    def ended(status: UpgradeStatus | None) -> bool:
        return status is not None and status.phase is phase and version in {"", str(status.candidate)}

    what = f"{run.name('device')} reports {phase.value} {version}".rstrip()
    status = wait_until(lambda: status_of(run), what, timeout=ENDED, until=ended)
    assert status is not None
    return status


@dataclass(frozen=True)
class Job:
    """The workload's container, which an upgrade must not touch."""

    life: str


@dataclass(frozen=True)
class Stored:
    """The pieces of agents that NATS stores."""

    pieces: list[str]


@dataclass(frozen=True)
class Heard:
    """What was written to a device's lease, and what it was ordered."""

    leases: list[Written[AgentLease]]
    orders: list[Written[AgentTarget]]

    def trial(self) -> float:
        """Seconds from the lease of the agent that was confirmed to its confirmation."""
        orders = [one for one in self.orders if one.value.confirmed]
        assert orders, "no agent was confirmed"
        leases = [lease for lease in self.leases if lease.value.instance_id == orders[0].value.confirmed]
        assert leases, "the agent that was confirmed was not the writer"
        return orders[0].at - leases[0].at


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
def runs(run: Run) -> None:
    """It must not notice anything of what follows."""
    checks.ready(run, "deployment2")
    run.keep(Job(checks.container(run, "deployment2").life))


@upgrade.step("See what can be ordered", Command("fleet agent list", contains=("{version}", "{version2}")))
def listed(run: Run) -> None:
    """Both versions are published."""
    nats, device = run.world.nats, run.name("device")
    run.keep(Heard(nats.listen(AGENT_LEASE, device), nats.listen(AGENT_TARGET, device)))


@upgrade.step(
    "Upgrade",
    order(2, contains=("runs {version2}", "Confirmed"), within=SOON),
    look_at=("agent:device", "operator", "nats"),
)
def upgraded(run: Run, result: Result) -> None:
    """The command tells how it goes, and returns once the new version is confirmed; the workload is the same.

    It takes 45 s at most, of which the new agent is on trial for two. The old one gives its lease back, so that the new
    one need not wait until it expires.
    """
    heard = run.kept(Heard)
    assert heard.trial() > _TRIAL - _SLACK, f"it was on trial for {heard.trial():.1f} s:\n{result}"
    status = _committed(run, "version2")
    assert str(status.previous) == run.name("version")
    assert any(not lease.value.instance_id for lease in heard.leases), f"the lease was never given back: {heard.leases}"
    _untouched(run)


@upgrade.step(
    "See it in Kubernetes",
    Command("kubectl get devices --namespace {namespace}", contains=("{version2}", "Confirmed")),
)
def seen(run: Run) -> None:
    """The version that runs, and how its upgrade ended, stand in their columns."""


@upgrade.step(
    "Roll back",
    Command("fleet device rollback {device} --wait", contains=("runs {version}",), deadline=SOON),
    # Agents that others have published and nobody needs go before it is looked which pieces there are.
    "fleet agent prune --keep 1",
    look_at=("agent:device", "operator"),
)
def rolled_back(run: Run) -> None:
    """It is an upgrade to the version before, which is still on the device, and takes as long."""
    status = _committed(run, "version")
    assert str(status.previous) == run.name("version2")
    _untouched(run)
    run.keep(Stored(sorted(run.world.nats.subjects(ARTIFACTS_STREAM))))


@upgrade.step(
    "Take away the agents that nobody needs",
    "fleet agent sign {agent_unfit} --key {release_key}",
    "fleet agent publish {agent_unfit}",
    Command("fleet agent prune --keep 1", contains=("{version_unfit}",)),
    Command("fleet agent list", contains=("{version}", "{version2}")),
)
def pruned(run: Run, *results: Result) -> None:
    """What the device runs, and what it may go back to, stays with all its pieces; an older one goes with its own."""
    assert run.name("version_unfit") not in results[-1].stdout, "it was not taken away"
    stored = sorted(run.world.nats.subjects(ARTIFACTS_STREAM))
    assert stored == run.kept(Stored).pieces, f"{len(stored)} pieces are left, and they are not those from before"


upgrade_interrupted = Scenario(
    id="upgrade-interrupted",
    title="An upgrade that is interrupted",
    chapter="Upgrade agents",
    why="After a crash or a power cut at any moment the device has an agent that works, and the order is carried out "
    "or its failure reported.",
    devices=1,
    agents=2,
    asks=(Killable,),
)


@upgrade_interrupted.step("Order the upgrade", "fleet device upgrade {device} --to {version2}")
def ordered(run: Run) -> None:
    """The device begins."""
    wait_until(lambda: status_of(run), "the device has begun", timeout=SOON)


@upgrade_interrupted.step("The agent is killed", look_at=("agent:device",))
def killed(run: Run) -> None:
    """Its unit starts it again, and it goes on where it was."""
    checks.killable(run).kill_agent()


@upgrade_interrupted.step("The power is cut, and comes back", look_at=("agent:device", "operator"))
def power_cut(run: Run) -> None:
    """The launcher starts what it can verify; the order still stands, and is carried out."""
    host = checks.killable(run)
    host.power_off()
    host.power_on()
    ends(run, UpgradePhase.COMMITTED)
    _committed(run, "version2")
