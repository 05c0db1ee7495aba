"""Shut a lost device out."""

from __future__ import annotations

from dataclasses import dataclass

from harness.probes.services import Session, metric, sessions
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.scenario.scenario import Scenario
from harness.wait import wait_until
from scenarios import checks, logins
from scenarios.neighbour import Neighbour, require_untouched
from scenarios.workloads import web

revoke = Scenario(
    id="revoke",
    title="Revoke a device",
    chapter="Revoke",
    why="A device that was lost or stolen is shut out: its live session is dropped, it never gets in again, and no "
    "other device notices.",
    devices=2,
)


@dataclass(frozen=True)
class Refusals:
    """How often the callout had refused the revoked device."""

    count: float


@revoke.step("Run a workload on two devices", web(), look_at=("operator", "agent:device"))
def both_run(run: Run) -> None:
    """Both are connected, each with one session."""
    checks.ready(run, devices=2)
    mine, neighbour = (sessions(run.world, run.name(placeholder)) for placeholder in ("device", "device2"))
    assert len(mine) == 1, f"sessions: {mine}"
    assert len(neighbour) == 1, f"sessions: {neighbour}"
    run.keep(Neighbour(neighbour[0], checks.container(run, device="device2").life))


@revoke.step("Revoke one of them", "fleet device revoke {device}", look_at=("operator", "callout"))
def dropped(run: Run) -> None:
    """Its live session is gone when the command returns.

    You are logged in at the identity provider, so its machine user there is deactivated.
    """
    checks.dropped(run)
    assert checks.says(checks.device(run), "Revoked", "True", "SessionsDropped")
    users = logins.machine_users(run)
    assert list(users.values()) == [False], f"its machine users: {users}"
    run.keep(Refusals(_refusals(run)))


@revoke.step("Let it try to come back", look_at=("callout", "agent:device"))
def refused(run: Run) -> None:
    """The agent tries again and again and is refused every time."""
    before = run.kept(Refusals).count

    def tried() -> tuple[float, list[Session]]:
        return _refusals(run), sessions(run.world, run.name("device"))

    def back_in(seen: tuple[float, list[Session]]) -> str | None:
        return f"it got in again, as session {seen[1]}" if seen[1] else None

    wait_until(
        tried,
        "the callout has refused it twice more",
        timeout=checks.ROLLOUT,
        until=lambda seen: seen[0] >= before + 2,
        error=back_in,
    )


@revoke.step(
    "See what became of it",
    Command("fleet device list", contains=("{device}", "{device2}")),
    Command("kubectl get devices --namespace {namespace}", contains=("Revoked",)),
    look_at=("operator",),
)
def seen(run: Run, listed: Result, _kubectl: Result) -> None:
    """It is shown as revoked (`SessionsDropped`) and offline."""
    row = next(line.split() for line in listed.stdout.splitlines() if line.startswith(f"{run.name('device')} "))
    assert row[1:4] == ["False", "Revoked", "yes"], f"online, reason, revoked are wrong: {row}"
    held = checks.device(run)
    assert held.spec.revoked
    assert checks.says(held, "Revoked", "True", "SessionsDropped"), held.status.conditions
    assert checks.says(held, "Online", "False", "Revoked"), held.status.conditions


@revoke.step("See that its neighbour has not noticed", look_at=("callout", "operator"))
def neighbour_untouched(run: Run) -> None:
    """The other device has the same session as before, is online, and runs the same container."""
    require_untouched(run)


def _refusals(run: Run) -> float:
    """How often the callout has refused a device because it is revoked."""
    return metric(run.world, "callout", "fleet_callout_decisions_total", reason="revoked")
