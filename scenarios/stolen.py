"""A device is in a thief's hands: its neighbours must not notice, and it is shut out whatever it does."""

from __future__ import annotations

from harness.commands import Result
from harness.devices import Killable
from harness.errors import Misused
from harness.probes.services import sessions
from harness.runbook import Run
from harness.scenario import Command, Scenario
from harness.siege.play import Attacker, attack
from harness.wait import wait_until
from scenarios import looks
from scenarios.workloads import web

stolen = Scenario(
    id="stolen",
    title="A stolen device",
    chapter="Revoke",
    why="A fleet stands in places where strangers can take a device home. Whoever holds its configuration file may log "
    "in as this device, and say what he likes: he harms nobody else, and revoking the device shuts him out.",
    devices=2,
)

_SEED = 20_261_129
_SECONDS = 16.0
"""How long the thief goes on, revoked or not."""
_ACTS = (
    *("heartbeat-flood", "violations", "many-sessions", "escapes", "many-digits", "refused-status", "bad-headers"),
    *("upgrade-lock", "long-interval", "foreign-reply", "writes-for-others", "broken-protocol"),
)


@stolen.step("Run a workload on two devices", web(), look_at=("operator", "agent:device"))
def both_run(run: Run, _result: Result) -> None:
    """Both run it; each has one session."""
    assert looks.settled(run).status.ready == 2
    (session,) = sessions(run.world, run.name("device2"))
    run.keep(neighbour=session, container=looks.running(run, device="device2").id)


@stolen.step("Let a thief take one of them home", look_at=("nats", "callout", "operator"))
def taken(run: Run) -> None:
    """He logs in with its configuration file, floods the server, and lies in every field that the device may write."""
    host = run.world.device(run.name("device"))
    if not isinstance(host, Killable):
        raise Misused(f"{host.id} cannot be taken away", next_step="use a device that can be switched off")
    host.power_off()
    run.keep(thief=attack(run, [run.name("device2")], seed=_SEED, seconds=_SECONDS, only=_ACTS))
    wait_until(
        lambda: sessions(run.world, host.id),
        "the thief has several sessions",
        timeout=looks.ROLLOUT,
        until=lambda live: len(live) > 1,
    )


@stolen.step(
    "Roll out a change meanwhile",
    web(2).template.removesuffix(" --wait"),
    look_at=("operator", "agent:device2"),
)
def neighbour_follows(run: Run, _result: Result) -> None:
    """The other device runs it, and is online; only the stolen one does not follow."""
    before = run.kept("container", str)
    wait_until(
        lambda: looks.containers(run, "device2").get(run.name("deployment")),
        f"the change runs on {run.name('device2')}",
        timeout=looks.ROLLOUT,
        until=lambda found: found is not None and found.id != before and found.state == "running",
    )
    run.keep(container=looks.running(run, device="device2").id)
    assert looks.says(looks.device(run, "device2"), "Online", "True", "HeartbeatReceived")


@stolen.step("Revoke it", "fleet device revoke {device}", look_at=("operator", "callout"))
def shut_out(run: Run, _result: Result) -> None:
    """At most 1 s after the command has returned, none of his sessions is left."""
    looks.dropped(run)


@stolen.step(
    "See what became of it",
    Command("fleet device show {device}", contains=("{device}", "SessionsDropped")),
    Command("kubectl get devices --namespace {namespace}", contains=("Revoked",)),
    look_at=("operator", "cli"),
)
def seen(run: Run, shown: Result, _listed: Result) -> None:
    """It is revoked; whatever he wrote, he has forged no line on this screen."""
    assert looks.says(looks.device(run), "Revoked", "True", "SessionsDropped")
    assert "\x1b" not in shown.output, "control characters of the device reach the terminal"
    assert not any(line.strip().startswith("Online: True (FAKE)") for line in shown.output.splitlines())


@stolen.step("See that its neighbour has not noticed", look_at=("operator", "callout", "nats"))
def neighbour_untouched(run: Run) -> None:
    """The thief is at the end of his list, and was never let in again.

    The other device has the session that it had before, is online, and runs the same container.
    """
    came_of_it = run.kept("thief", Attacker).outcome()
    assert came_of_it.refusals > 0, "the thief did not try to come back"
    assert not sessions(run.world, run.name("device")), "the thief got in again"
    other = run.name("device2")
    assert sessions(run.world, other) == [run.kept("neighbour", int)], "the neighbour's session was dropped"
    assert looks.says(looks.device(run, "device2"), "Online", "True", "HeartbeatReceived")
    assert looks.running(run, device="device2").id == run.kept("container", str)
