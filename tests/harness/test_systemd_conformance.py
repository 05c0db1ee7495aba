"""What an agent relies on of systemd: the same cases for the double and, where one can be started, for the real one."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol

import pytest

from harness.devices.process import ProcessDevice
from harness.scenario.command import Result
from harness.targets.local import inherited
from harness.wait import wait_until
from tests.harness.tiny import tiny_world
from tests.support.systemd import missing, real_systemd

SLEEP = "exec sleep 100000"


_numbers = itertools.count(1)


class Lab(Protocol):
    """A machine with a systemctl."""

    def run(self, argv: Sequence[str], *, timeout: float = 30) -> Result: ...
    def read(self, path: str) -> bytes: ...
    def write(self, path: str, data: bytes, *, mode: int = 0o600) -> None: ...


class Machine:
    """A lab, and the units of one test in it."""

    def __init__(self, lab: Lab, number: int) -> None:
        self.lab = lab
        self.name = f"fleet-test{number}"

    def install(self, script: str, service: str = "", unit: str = "", *, suffix: str = "") -> str:
        """A unit that runs a script; returns its name. `{self}` and `{out}` in the script are this test's own."""
        name, out = f"{self.name}{suffix}", f"/run/{self.name}.out"
        path = f"/usr/local/bin/{name.replace('@', '-at')}"
        out_path = f'"${{FLEET_ROOT}}"{out}'
        body = script.replace("{out}", out_path).replace("{self}", self.name)
        self.lab.write(path, f"#!/bin/sh\n{body}\n".encode(), mode=0o755)
        argument = " %i" if "@" in name else ""
        text = f"[Unit]\nDefaultDependencies=no\n{unit}\n[Service]\nExecStart={path}{argument}\n{service}\n"
        self.lab.write(f"/etc/systemd/system/{name}.service", text.encode(), mode=0o644)
        assert self.ctl("daemon-reload").code == 0
        return f"{name}.service"

    def ctl(self, *words: str) -> Result:
        return self.lab.run(["systemctl", *words])

    def said(self) -> list[str]:
        """The lines that scripts wrote to `{out}`."""
        try:
            return self.lab.read(f"/run/{self.name}.out").decode().splitlines()
        except FileNotFoundError:
            return []

    def show(self, unit: str, what: str) -> str:
        return self.ctl("show", "--property", what, "--value", unit).stdout.strip()

    def becomes(self, unit: str, state: str) -> None:
        wait_until(lambda: self.show(unit, "ActiveState"), f"{unit} is {state}", timeout=15, until=state.__eq__)

    def says(self, condition: str, until: Callable[[list[str]], object]) -> list[str]:
        return wait_until(self.said, condition, timeout=15, until=until)


@pytest.fixture(scope="module", params=["double", "real"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Lab]:
    """Module: a device of the harness, or a real systemd in a namespace of its own."""
    if request.param == "double":
        with tiny_world() as world:
            yield ProcessDevice(world.root, "pi-1", inherited(), "/run/engine.sock")
        return
    if why := missing():
        pytest.skip(f"no real systemd here: {why}")
    with real_systemd(tmp_path_factory.mktemp("systemd")) as real:
        yield real


@pytest.fixture
def machine(lab: Lab) -> Machine:
    """Function: units of its own in the lab."""
    return Machine(lab, next(_numbers))


def test_instances_of_a_template_run_side_by_side(machine: Machine) -> None:
    """Each is told its own name, and is stopped alone."""
    machine.install(f"echo $1 >> {{out}}; {SLEEP}", suffix="@")
    one, two = f"{machine.name}@v0.1.1.service", f"{machine.name}@v0.1.2-rc.1.service"
    assert machine.ctl("start", one, two).code == 0
    machine.says("both know their instance", lambda lines: sorted(lines) == ["v0.1.1", "v0.1.2-rc.1"])
    listed = machine.ctl("list-units", "--plain", "--no-legend", f"{machine.name}@*").stdout
    assert [line.split()[:4] for line in sorted(listed.splitlines())] == [
        [one, "loaded", "active", "running"],
        [two, "loaded", "active", "running"],
    ]
    assert machine.ctl("stop", one).code == 0
    assert (machine.show(one, "ActiveState"), machine.show(two, "ActiveState")) == ("inactive", "active")


def test_a_version_with_build_metadata_names_no_unit(machine: Machine) -> None:
    """'+' must not be in a unit's name: the real one goes on with another name than the one it was given."""
    machine.install(SLEEP, suffix="@")
    told = machine.ctl("start", f"{machine.name}@v0.1.2+1.service")
    assert "Invalid unit name" in told.output
    assert machine.ctl("is-active", f"{machine.name}@v0.1.2.service").code == 3


def test_always_restarts_after_any_end_that_was_not_asked_for(machine: Machine) -> None:
    """Killed, or ended with 0."""
    unit = machine.install(f"echo up >> {{out}}; {SLEEP}", "Restart=always\nRestartSec=10ms")
    machine.ctl("start", unit)
    first = machine.show(unit, "MainPID")
    assert machine.ctl("kill", "--signal=SIGKILL", unit).code == 0
    machine.says("it is back", lambda lines: len(lines) == 2)
    machine.becomes(unit, "active")
    assert machine.show(unit, "MainPID") not in {first, "0"}
    machine.ctl("kill", unit)
    machine.says("it is back after SIGTERM, too", lambda lines: len(lines) == 3)


def test_on_failure_takes_sigterm_for_a_clean_end(machine: Machine) -> None:
    """And stays down."""
    unit = machine.install(SLEEP, "Restart=on-failure\nRestartSec=10ms")
    machine.ctl("start", unit)
    machine.ctl("kill", "--kill-whom=main", unit)
    machine.becomes(unit, "inactive")
    assert machine.show(unit, "NRestarts") == "0"


CLEAN = "Restart=always\nRestartSec=10ms\nRestartPreventExitStatus=64\nSuccessExitStatus=64"


def test_the_hand_over_code_ends_it_for_good_and_well(machine: Machine) -> None:
    """RestartPreventExitStatus= wins over Restart=always, SuccessExitStatus= makes it inactive, not failed."""
    unit = machine.install("echo up >> {out}; exit 64", CLEAN)
    machine.ctl("start", unit)
    machine.says("it ran", bool)
    machine.becomes(unit, "inactive")
    assert machine.show(unit, "NRestarts") == "0"
    assert machine.ctl("is-failed", unit).code == 1


def test_the_hand_over_code_without_success_is_a_failure(machine: Machine) -> None:
    """It stays down all the same."""
    unit = machine.install("exit 64", CLEAN.replace("SuccessExitStatus=64", ""))
    machine.ctl("start", unit)
    machine.becomes(unit, "failed")
    assert (machine.show(unit, "NRestarts"), machine.show(unit, "Result")) == ("0", "exit-code")


def test_another_code_is_restarted(machine: Machine) -> None:
    """Every time."""
    unit = machine.install("echo up >> {out}; exit 1", CLEAN, "StartLimitIntervalSec=0")
    machine.ctl("start", unit)
    machine.says("it was started seven times", lambda lines: len(lines) >= 7)
    machine.ctl("stop", unit)
    assert machine.show(unit, "ActiveState") in {"inactive", "failed"}


def test_too_many_starts_end_it_until_it_is_reset(machine: Machine) -> None:
    """The limit counts starts by hand as well, and it is there unless it was lifted: five in ten seconds."""
    unit = machine.install("echo up >> {out}; exit 1", CLEAN)
    machine.ctl("start", unit)
    machine.says("it was started five times", lambda lines: len(lines) == 5)
    machine.becomes(unit, "failed")
    assert machine.ctl("start", unit).code == 1
    assert len(machine.said()) == 5
    assert machine.ctl("reset-failed", unit).code == 0
    assert machine.ctl("start", unit).code == 0
    machine.says("it runs again", lambda lines: len(lines) > 5)


def test_a_oneshot_unit_is_started_once_it_has_ended(machine: Machine) -> None:
    """And remains active, so that a second start does nothing."""
    unit = machine.install("echo up >> {out}", "Type=oneshot\nRemainAfterExit=yes")
    assert machine.ctl("start", unit).code == 0
    assert machine.said() == ["up"]
    assert machine.show(unit, "ActiveState") == "active"
    assert machine.ctl("start", unit).code == 0
    assert machine.said() == ["up"]


def test_a_oneshot_unit_that_fails_fails_its_start(machine: Machine) -> None:
    """Whoever starts it is told."""
    unit = machine.install("exit 3", "Type=oneshot\nRemainAfterExit=yes")
    told = machine.ctl("start", unit)
    assert told.code == 1
    assert "failed because the control process exited with error code" in told.stderr
    assert machine.show(unit, "ActiveState") == "failed"


def test_no_block_returns_before_a_oneshot_unit_has_ended(machine: Machine) -> None:
    """What waits for itself would wait for ever."""
    wait = "until test -e {out}.go; do sleep 0.05; done; echo done >> {out}"
    unit = machine.install(wait, "Type=oneshot\nRemainAfterExit=yes")
    assert machine.ctl("start", "--no-block", unit).code == 0
    machine.becomes(unit, "activating")
    machine.lab.write(f"/run/{machine.name}.out.go", b"")
    machine.becomes(unit, "active")


def test_what_a_unit_starts_as_a_unit_outlives_it(machine: Machine) -> None:
    """The way in which one version starts the next: through systemctl, never as its own child."""
    machine.install(f"echo $1 >> {{out}}; {SLEEP}", suffix="@")
    first = machine.install("systemctl start --no-block {self}@next.service; echo told >> {out}; exit 64", CLEAN)
    machine.ctl("start", first)
    machine.says("the next one runs", lambda lines: "next" in lines)
    machine.becomes(first, "inactive")
    machine.ctl("stop", first)
    assert machine.show(f"{machine.name}@next.service", "ActiveState") == "active"


def test_a_unit_may_ask_for_its_own_end(machine: Machine) -> None:
    """With --no-block: the job goes on when whoever asked is gone."""
    unit = machine.install(f"systemctl stop --no-block {{self}}.service; {SLEEP}", "Restart=always\nTimeoutStopSec=5")
    machine.ctl("start", "--no-block", unit)
    machine.becomes(unit, "inactive")


CHILD = (
    'sh -c \'trap "echo term >> {out}; exit" TERM; echo child >> {out};'
    " while :; do sleep 0.05; test -e {out}.go && echo alive >> {out}.alive; done' & trap 'exit 0' TERM;"
    " while :; do sleep 0.05; done"
)


@pytest.mark.parametrize(("mode", "told", "survives"), [("mixed", False, False), ("process", False, True)])
def test_kill_mode_says_who_ends_with_the_main_process(machine: Machine, mode: str, told: bool, survives: bool) -> None:
    """mixed: SIGTERM for the main process, SIGKILL for the rest. process: the rest lives on."""
    unit = machine.install(CHILD, f"KillMode={mode}\nTimeoutStopSec=5")
    machine.ctl("start", unit)
    machine.says("the child runs", lambda lines: "child" in lines)
    assert machine.ctl("stop", unit).code == 0
    machine.lab.write(f"/run/{machine.name}.out.go", b"")
    assert ("term" in machine.said()) is told
    if survives:
        alive = f"/run/{machine.name}.out.alive"
        wait_until(lambda: _read(machine.lab, alive), "the child lives on", timeout=30)
        machine.lab.run(["sh", "-c", f"pkill -TERM -f {machine.name}.out.go || true"])


def test_kill_mode_control_group_tells_everybody(machine: Machine) -> None:
    """The default. Who outlives the main process still has its time to end."""
    slow = CHILD.replace("echo term", "sleep 0.3; echo term")
    unit = machine.install(slow, "TimeoutStopSec=5")
    machine.ctl("start", unit)
    machine.says("the child runs", lambda lines: "child" in lines)
    machine.ctl("stop", unit)
    assert "term" in machine.said()


def test_a_main_process_that_ends_by_itself_has_the_others_told(machine: Machine) -> None:
    """They get SIGTERM, and their time, before the unit is inactive."""
    script = CHILD.replace("echo term", "sleep 0.3; echo term").rpartition(" & trap")[0]
    unit = machine.install(f"{script} & until grep -q child {{out}}; do sleep 0.05; done; exit 0", "TimeoutStopSec=5")
    machine.ctl("start", unit)
    machine.becomes(unit, "inactive")
    assert "term" in machine.said()


def _read(lab: Lab, path: str) -> bytes:
    try:
        return lab.read(path)
    except FileNotFoundError:
        return b""


@pytest.mark.parametrize("code", [0, 86, 3])
def test_what_has_ended_by_itself_can_be_started_again(machine: Machine, code: int) -> None:
    """However it ended, and with no more than `start`."""
    unit = machine.install(
        f"echo up >> {{out}}; exit {code}", "Restart=always\nRestartPreventExitStatus=0 3 86\nSuccessExitStatus=86"
    )
    for times in (1, 2, 3):
        machine.ctl("start", unit)
        machine.becomes(unit, "failed" if code == 3 else "inactive")
        assert machine.said() == ["up"] * times


OF_A_UNIT = {"PATH", "LANG", "SYSTEMD_EXEC_PID", "INVOCATION_ID", "JOURNAL_STREAM", "PWD", "SHLVL", "_", "container"}
"""systemd.exec(5), "Environment variables in spawned processes", what a shell adds itself, and what marks the lab."""
PLAYED = {"FLEET_ROOT", "FLEET_WORLD"}
"""Which folder plays the device, in which world."""


def test_a_unit_inherits_nothing_of_whoever_runs_its_manager(machine: Machine) -> None:
    """What a test's device has, and a real one lacks, would hide that the product needs it."""
    unit = machine.install("env | cut -d= -f1 >> {out}; echo OWN=end >> {out}", "Environment=OWN=1")
    machine.ctl("start", unit)
    names = machine.says("it told its environment", lambda lines: "OWN=end" in lines)
    assert set(names) - {"OWN=end"} - PLAYED <= OF_A_UNIT | {"OWN"}


def test_a_pattern_that_fits_no_unit_is_no_failure(machine: Machine) -> None:
    """A script that ends all instances need not know whether there are any."""
    assert machine.ctl("stop", f"{machine.name}@*.service").code == 0


def test_missing_and_unknown(machine: Machine) -> None:
    """Exit codes by which a script tells what is wrong."""
    assert machine.ctl("start", "fleet-ghost@v1.service").code == 5
    assert machine.ctl("status", "fleet-ghost").code == 4
    assert machine.ctl("is-active", "fleet-ghost").code == 3
    assert machine.show("fleet-ghost.service", "LoadState") == "not-found"


def test_a_missing_program_fails_the_start_of_type_exec(machine: Machine) -> None:
    """Type=exec waits until the program runs, so that its absence is known at once."""
    unit = machine.install("exit 0", "Type=exec")
    text = f"[Unit]\nDefaultDependencies=no\n[Service]\nType=exec\nExecStart=/usr/local/bin/{Path(unit).stem}-gone\n"
    machine.lab.write(f"/etc/systemd/system/{unit}", text.encode(), mode=0o644)
    machine.ctl("daemon-reload")
    assert machine.ctl("start", unit).code == 1
