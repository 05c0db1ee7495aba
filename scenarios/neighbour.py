"""A device beside the one that something is done to: it must not notice."""

from __future__ import annotations

from dataclasses import dataclass

from harness.probes.services import Session, sessions
from harness.scenario.run import Run
from scenarios import checks


@dataclass(frozen=True)
class Neighbour:
    """The session and the workload of the second device."""

    session: Session
    container: str


def require_untouched(run: Run) -> None:
    """See that it has the session that it had before, is online, and runs the same container."""
    other = run.name("device2")
    assert sessions(run.world, other) == [run.kept(Neighbour).session], "the neighbour's session was dropped"
    assert checks.says(checks.device(run, "device2"), "Online", "True", "HeartbeatReceived")
    assert checks.container(run, device="device2").life == run.kept(Neighbour).container
