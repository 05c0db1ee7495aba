"""Faults of the machine that a device is: how each is done, and what must be true meanwhile and afterwards.

A device is heard, or Kubernetes says that it is not; what runs goes on; what was ordered meanwhile is carried out once
the machine is well, and nobody visits the device for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Sequence

from fleet.contract.buckets import DEVICE_STATE
from fleet.contract.states import state_of
from fleet.contract.wire import DeviceState, Phase
from harness.errors import TargetUnavailable
from harness.scenario.player import Run
from harness.scenario.scenario import Command
from harness.wait import wait_until
from scenarios import checks
from scenarios.workloads import web

RECOVERED = 120.0
"""Seconds within which a device is as ordered once its machine is well: an agent waits for 30 s at most, twice."""
TOLD = 120.0
"""Seconds within which a device tells what is wrong: an engine may be silent for 45 s before it counts as hung."""


def as_root(run: Run, script: str, *, timeout: float = 120) -> str:
    """What a script of the shell on the device printed.

    Raises:
        TargetUnavailable: it failed, so the fault was not done.
    """
    done = run.world.device(run.name("device")).run(["sudo", "sh", "-c", script], timeout=timeout)
    if done.code != 0:
        raise TargetUnavailable(f"the fault could not be done: {done}", next_step="is it another kernel or guest?")
    return done.stdout


@contextlib.contextmanager
def fault(run: Run, begin: str, end: str, *, timeout: float = 120) -> Generator[None]:
    """A fault from one script of the shell to another, which ends it whatever came of the test."""
    as_root(run, begin, timeout=timeout)
    try:
        yield
    finally:
        as_root(run, end, timeout=timeout)


def order(run: Run, release: int, *, wait: bool = True) -> None:
    """Order a release of the web server; waits until it runs, or only for Kubernetes to take it."""
    command = web(release)
    result = run.type(command if wait else Command(command.template.removesuffix(" --wait")))
    assert result.code == 0, str(result)


def state(run: Run) -> DeviceState | None:
    """What the device says of the web server."""
    return state_of(run.world.nats.get(DEVICE_STATE, run.name("device")), run.name("deployment"))


def tells(run: Run, words: Sequence[str]) -> DeviceState:
    """Wait until the device says that the web server is not as ordered, by a message with one of these words."""

    def matches(state_of_device: DeviceState | None) -> bool:
        message = state_of_device.message.lower() if state_of_device else ""
        return any(word in message for word in words)

    reported = wait_until(lambda: state(run), f"the device tells of {' or '.join(words)}", timeout=TOLD, until=matches)
    assert reported is not None
    return reported


def untouched(run: Run, life: str) -> None:
    """The web server is the very process that it was, and the device is heard."""
    checks.next_beat(run)
    assert checks.container(run).life == life, "the workload was touched"


def as_ordered(run: Run, release: int) -> None:
    """Wait until the release that was ordered last runs, once, and Kubernetes says so."""
    wait_until(
        lambda: state(run),
        f"release {release} runs",
        timeout=RECOVERED,
        until=lambda reported: (
            reported is not None and reported.phase is Phase.RUNNING and reported.generation == release
        ),
    )
    wait_until(lambda: checks.deployment(run), "Kubernetes says that it runs", timeout=RECOVERED, until=checks.is_ready)
    assert f"RELEASE={release}" in checks.container(run).env


def heard_again(run: Run) -> None:
    """Wait until the device is heard anew, however long its agent waits between two attempts."""
    checks.next_beat(run, timeout=RECOVERED)


def shown_offline(run: Run) -> None:
    """Wait until Kubernetes says that nobody hears the device."""
    wait_until(
        lambda: checks.device(run),
        f"{run.name('device')} is shown as offline",
        timeout=RECOVERED,
        until=lambda item: not checks.is_online(item),
    )
