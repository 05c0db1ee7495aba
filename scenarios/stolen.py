"""A device is in a thief's hands: its neighbours must not notice, and it is shut out whatever it does."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.devices import Killable
from harness.errors import Misused
from harness.probes.services import sessions
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.siege.play import Attacker, attack
from harness.wait import wait_until
from scenarios import checks
from scenarios.neighbour import Neighbour, require_untouched
from scenarios.workloads import web

stolen = Scenario(
    id="stolen",
    title="A stolen device",
    chapter="Revoke",
    why="A fleet stands in places where strangers can take a device home. Whoever holds its configuration file may log "
    "in as this device, and say what he likes: he harms nobody else, and revoking the device shuts him out.",
    devices=2,
    asks=(Killable,),
)

_SEED = 20_261_129
_SECONDS = 16.0
"""How long the thief goes on, revoked or not."""
_ACTS = (
    *("heartbeat-flood", "violations", "many-sessions", "escapes", "many-digits", "refused-status", "bad-headers"),
    *("upgrade-lock", "long-interval", "foreign-reply", "writes-for-others", "broken-protocol"),
)


@dataclass(frozen=True)
class Theft:
    """The attack with the stolen device, which goes on between steps."""

    attacker: Attacker


@stolen.step("Run a workload on two devices", web(), look_at=("operator", "agent:device"))
def both_run(run: Run) -> None:
    """Both run it; each has one session."""
    checks.ready(run, devices=2)
    (session,) = sessions(run.world, run.name("device2"))
    run.keep(Neighbour(session, checks.container(run, device="device2").id))


@stolen.step("Let a thief take one of them home", look_at=("nats", "callout", "operator"))
def taken(run: Run) -> None:
    """He logs in with its configuration file, floods the server, and lies in every field that the device may write."""
    host = run.world.device(run.name("device"))
    if not isinstance(host, Killable):
        raise Misused(f"{host.id} cannot be taken away", next_step="use a device that can be switched off")
    host.power_off()
    run.keep(Theft(attack(run, [run.name("device2")], seed=_SEED, seconds=_SECONDS, only=_ACTS)))
    # Whichever of his attacks comes first: a flood has him shut out before he holds several sessions.
    wait_until(
        lambda: (
            len(sessions(run.world, host.id)) > 1 or checks.says(checks.device(run), "Quarantined", "True", "Throttled")
        ),
        "the thief has several sessions, or is shut out already",
        timeout=checks.ROLLOUT,
    )


@stolen.step(
    "Roll out a change meanwhile",
    web(2).template.removesuffix(" --wait"),
    look_at=("operator", "agent:device2"),
)
def neighbour_follows(run: Run) -> None:
    """The other device runs it, Kubernetes says so, and it is online; only the stolen one does not follow."""
    before = run.kept(Neighbour).container
    wait_until(
        lambda: checks.containers(run, "device2").get(run.name("deployment")),
        f"the change runs on {run.name('device2')}",
        timeout=checks.ROLLOUT,
        until=lambda container: container is not None and container.id != before and container.state == "running",
    )
    run.keep(replace(run.kept(Neighbour), container=checks.container(run, device="device2").life))
    wait_until(
        lambda: checks.deployment(run),
        "Kubernetes says that one of the two runs the change",
        timeout=checks.ROLLOUT,
        until=lambda held: held.status.observed_generation == held.metadata.generation and held.status.ready == 1,
    )
    assert checks.says(checks.device(run, "device2"), "Online", "True", "HeartbeatReceived")


@stolen.step("Revoke it", "fleet device revoke {device}", look_at=("operator", "callout"))
def shut_out(run: Run) -> None:
    """When the command returns, none of his sessions is left."""
    checks.dropped(run)


@stolen.step(
    "See what became of it",
    Command("fleet device show {device}", contains=("{device}", "SessionsDropped")),
    Command("kubectl get devices --namespace {namespace}", contains=("Revoked",)),
    look_at=("operator", "cli"),
)
def seen(run: Run, shown: Result, _listed: Result) -> None:
    """It is revoked; whatever he wrote, he has forged no line on this screen."""
    assert checks.says(checks.device(run), "Revoked", "True", "SessionsDropped")
    assert "\x1b" not in shown.output, "control characters of the device reach the terminal"
    assert not any(line.strip().startswith("Online: True (FAKE)") for line in shown.output.splitlines())


@stolen.step("See that its neighbour has not noticed", look_at=("operator", "callout", "nats"))
def neighbour_untouched(run: Run) -> None:
    """The thief is at the end of his list, and was never let in again.

    The other device has the session that it had before, is online, and runs the same container.
    """
    came_of_it = run.kept(Theft).attacker.outcome()
    assert came_of_it.refusals > 0, "the thief did not try to come back"
    assert not sessions(run.world, run.name("device")), "the thief got in again"
    require_untouched(run)
