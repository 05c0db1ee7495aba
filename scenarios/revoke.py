"""Shut a lost device out."""

from __future__ import annotations

from harness.commands import Result
from harness.probes.services import metric, sessions
from harness.runbook import Run
from harness.scenario import Command, Scenario
from harness.wait import wait_until
from scenarios import looks
from scenarios.workloads import web

revoke = Scenario(
    id="revoke",
    title="Revoke a device",
    chapter="Revoke",
    why="A device that was lost or stolen is shut out: its live session is dropped, it never gets in again, and no "
    "other device notices.",
    devices=2,
)


@revoke.step("Run a workload on two devices", web(), look_at=("operator", "agent:device"))
def both_run(run: Run, _result: Result) -> None:
    """Both are connected, each with one session."""
    assert looks.settled(run).status.ready == 2
    mine, neighbour = (sessions(run.world, run.name(it)) for it in ("device", "device2"))
    assert len(mine) == 1, f"sessions: {mine}"
    assert len(neighbour) == 1, f"sessions: {neighbour}"
    run.keep(neighbour=neighbour[0], container=looks.running(run, device="device2").id)


@revoke.step("Revoke one of them", "fleet device revoke {device}", look_at=("operator", "callout"))
def dropped(run: Run, _result: Result) -> None:
    """Its live session is gone at most 1 s after the command has returned."""
    looks.dropped(run)
    run.keep(refused=_refusals(run))


@revoke.step("Let it try to come back", look_at=("callout", "agent:device"))
def refused(run: Run) -> None:
    """The agent tries again and again and is refused every time."""
    before = run.kept("refused", float)

    def tried() -> tuple[float, list[int]]:
        return _refusals(run), sessions(run.world, run.name("device"))

    def back_in(seen: tuple[float, list[int]]) -> str | None:
        return f"it got in again, as session {seen[1]}" if seen[1] else None

    wait_until(
        tried,
        "the callout has refused it twice more",
        timeout=looks.ROLLOUT,
        until=lambda seen: seen[0] >= before + 2,
        error=back_in,
    )


@revoke.step(
    "See what became of it",
    Command("fleet device list", contains=("{device}", "{device2}")),
    Command("kubectl get devices --namespace {namespace}", contains=("Revoked",)),
    look_at=("operator",),
)
def seen(run: Run, *_results: Result) -> None:
    """It is shown as revoked (`SessionsDropped`) and offline."""
    held = looks.device(run)
    assert held.spec.revoked
    assert looks.says(held, "Revoked", "True", "SessionsDropped"), held.status.conditions
    assert looks.says(held, "Online", "False", "Revoked"), held.status.conditions


@revoke.step("See that its neighbour has not noticed", look_at=("callout", "operator"))
def neighbour_untouched(run: Run) -> None:
    """The other device has the same session as before, is online, and runs the same container."""
    other = run.name("device2")
    assert sessions(run.world, other) == [run.kept("neighbour", int)], "the neighbour's session was dropped"
    assert looks.says(looks.device(run, "device2"), "Online", "True", "HeartbeatReceived")
    assert looks.running(run, device="device2").id == run.kept("container", str)


def _refusals(run: Run) -> float:
    """How often the callout has refused a device because it is revoked."""
    return metric(run.world, "callout", "fleet_callout_decisions_total", reason="revoked")
