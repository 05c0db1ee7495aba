"""Cuts of a device's power, drawn from a seed: at every phase of an upgrade, in a changed workload, in a set-up.

After each the device is on a version that works, what it runs is what was ordered, and nobody visits it. A set-up that
was cut is repeated, as its operator would. `docs/power-cuts.md` has the cuts that were played.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import Literal

import msgspec

from fleet.contract.buckets import DEVICE_HEARTBEAT, DEVICE_INFO
from fleet.contract.upgrade import UpgradePhase, UpgradeStatus
from harness.scenario.command import Result
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.wait import stretch, wait_until
from scenarios import checks
from scenarios.upgrade import ENDED, status_of
from scenarios.workloads import web

Kind = Literal["upgrade", "workload", "setup"]
_PHASES = [phase for phase in UpgradePhase if not phase.terminal and phase is not UpgradePhase.REVERTING]
_OTHERS: Sequence[Kind] = ("workload", "setup", "workload", "setup", "workload")
_SLOTS: Sequence[tuple[Kind, UpgradePhase | None]] = [
    *(("upgrade", phase) for phase in _PHASES),
    *((kind, None) for kind in _OTHERS),
]
"""What the cuts take turns at: twelve have each phase of an upgrade once."""
_SPANS: dict[Kind, float] = {"upgrade": 1.0, "workload": 5.0, "setup": 8.0}
"""Seconds from the beginning, or from the phase that was waited for, within which a cut falls, by usual speed."""

_VERSIONS = ("version", "version2", "version3", "version4")
"""What the sweep has published."""
_ONLINE = 60.0
"""Seconds from a login that works until the device is heard: an agent may fail three starts in between."""


class Cut(msgspec.Struct, frozen=True):
    """One cut: after this phase of an upgrade was reported, or something else began, and a part of its span."""

    number: int
    kind: Kind
    phase: UpgradePhase | None
    part: float

    @property
    def delay(self) -> float:
        """Seconds, at the speed of now."""
        return self.part * _SPANS[self.kind] * stretch()

    def __str__(self) -> str:
        began = self.phase.value if self.phase else "its beginning"
        return f"cut {self.number}: {self.kind}, {self.delay:.1f} s after {began}"


class Survived(msgspec.Struct, frozen=True):
    """What came of a cut: what the device had reported last before it, and stood at in the end; seconds to online."""

    cut: Cut
    before: str
    after: str
    seconds: float

    def __str__(self) -> str:
        return f"| {self.cut.number} | {self.cut.kind} | {self.before} | {self.after} | {self.seconds:.0f} |"


def draw(seed: int, number: int) -> Cut:
    """The cut of that number, counted from 1: the same for the same seed, whatever was drawn before."""
    kind, phase = _SLOTS[(number - 1) % len(_SLOTS)]
    return Cut(number, kind, phase, random.Random(f"{seed}/{number}").random())  # noqa: S311 - nothing secret


def survive(run: Run, cut: Cut, given_up: set[str]) -> Survived:
    """Begin what the cut interrupts, cut the power, switch on again, and judge what became of it.

    `given_up` are the versions that failed on the device before, which it refuses from then on; more are added.

    Raises:
        AssertionError: the product did not come through.
        HarnessError: the machine did not.
    """
    if cut.kind == "upgrade":
        return _upgrade(run, cut, given_up)
    return (_workload if cut.kind == "workload" else _set_up)(run, cut)


def _upgrade(run: Run, cut: Cut, given_up: set[str]) -> Survived:
    runs = str(checks.next_beat(run).agent_version)
    to = _candidate(run, runs, given_up)
    before = status_of(run)
    _type(run, Command(f"fleet device upgrade {{device}} --to {{{to}}}"))
    reached: list[UpgradeStatus] = []

    def phase() -> UpgradePhase | None:
        """Of this attempt; seen at the device's own bucket, earlier than in Kubernetes."""
        info = run.world.nats.get(DEVICE_INFO, run.name("device"))
        status = info.upgrade if info else None
        if status is None or (before is not None and status.generation <= before.generation):
            return None
        reached.append(status)
        return status.phase

    def far_enough(current: UpgradePhase | None) -> bool:
        assert cut.phase is not None
        return current is not None and (current.terminal or _PHASES.index(current) >= _PHASES.index(cut.phase))

    assert cut.phase is not None
    wait_until(phase, f"{run.name('device')} reports {cut.phase.value}", timeout=ENDED, until=far_enough, interval=0.02)
    seconds = _cut(run, cut.delay)

    last = reached[-1].phase.value
    wait_until(
        phase, "the upgrade has ended", timeout=ENDED, until=lambda current: current is not None and current.terminal
    )
    _untouched_order(run)
    now = str(checks.next_beat(run).agent_version)
    end = reached[-1]
    if end.phase is UpgradePhase.REVERTED:
        given_up.add(run.name(to))
    wanted = run.name(to) if end.phase is UpgradePhase.COMMITTED else runs
    assert now == wanted, f"it stands at {end.phase.value}, and {now} runs"
    which = "new" if now == run.name(to) else "old"
    return Survived(cut, last, f"{end.phase.value} ({end.reason.value}), {which} version", seconds)


def _candidate(run: Run, runs: str, given_up: set[str]) -> str:
    """The placeholder of a version that does not run, and that the device has not given up for good."""
    for placeholder in _VERSIONS:
        if run.name(placeholder) not in {runs, *given_up}:
            return placeholder
    raise AssertionError(f"the device has given up every version: {given_up}")


def _workload(run: Run, cut: Cut) -> Survived:
    release = checks.deployment(run).metadata.generation + 1
    line = web(release).template.removesuffix(" --wait")
    _type(run, Command(line))
    seconds = _cut(run, cut.delay)
    checks.settled(run)
    checks.running(run)
    assert f"RELEASE={release}" in checks.container(run).env
    return Survived(cut, "changed", f"release {release} runs, once", seconds)


def _set_up(run: Run, cut: Cut) -> Survived:
    _type(run, Command("fleet device uninstall {where}", deadline=60))
    command = Command(
        "fleet device setup --config {config} --agent {agent} --trusted-keys {trusted_keys} {where}", deadline=120
    )
    interrupted: list[Result] = []
    typing = threading.Thread(target=lambda: interrupted.append(run.type(command)))
    typing.start()
    seconds = _cut(run, cut.delay, online=False)
    typing.join()
    (result,) = interrupted
    assert result.code is not None, f"a set-up whose host is gone must end:\n{result}"
    assert "Traceback" not in result.output, f"it is no sentence:\n{result}"
    _type(run, command)
    checks.online(run)
    _untouched_order(run)
    return Survived(cut, f"exit code {result.code}", "set up by the second try", seconds)


def _type(run: Run, command: Command) -> None:
    result = run.type(command)
    assert result.code == 0, str(result)


def _untouched_order(run: Run) -> None:
    """What it runs is what was ordered, once; a cut ends containers, and the engine or the agent starts them.

    Kubernetes shows what the device reported before the cut until the device has looked anew, so the engine is asked.
    """
    checks.running(run)
    checks.settled(run)
    checks.container(run)


def _cut(run: Run, delay: float, *, online: bool = True) -> float:
    """Cut the power after a delay, and switch on; the seconds from then until it is heard."""
    host = checks.killable(run)
    threading.Event().wait(delay)  # the moment is what is tried, so there is no condition to wait for
    host.power_off()
    name, started = run.name("device"), time.monotonic()
    before = run.world.nats.get(DEVICE_HEARTBEAT, name)
    host.power_on()
    if online:
        wait_until(
            lambda: run.world.nats.get(DEVICE_HEARTBEAT, name),
            f"{name} is heard after the cut",
            timeout=_ONLINE,
            until=lambda beat: beat is not None and (before is None or beat.boot_id != before.boot_id),
        )
    return time.monotonic() - started
