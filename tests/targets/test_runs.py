"""Two runs on one cluster as real processes: they do not collide, and what a killed one left is removed by the next."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from datetime import datetime

import pytest

from harness.wait import wait_until
from tests.targets.conftest import Handed

pytest_plugins = ["pytester"]

ARGV = (
    sys.executable,
    "-m",
    "pytest",
    "--disable-plugin-autoload",
    "-p",
    "no:cacheprovider",
    "-p",
    "harness.pytest_plugin.plugin",
)

HANGING = """
import pathlib, signal, subprocess

def test_a(world):
    for kind, spec in (("Device", {}), ("FleetDeployment", {"workload": {"image": "web:1"}})):
        item = f'{{"apiVersion": "fleet.nationtech.io/v1alpha1", "kind": "{kind}",'
        item += f' "metadata": {{"name": "left-behind"}}, "spec": {str(spec)}}}'
        argv = ["kubectl", "--namespace", world.namespace, "create", "-f", "-"]
        subprocess.run(argv, env=world.env, input=item.replace("'", '"'), text=True, check=True)
    pathlib.Path("hanging").write_text("now")
    signal.pause()
"""
PASSING = "def test_b(world): assert not world.problems()"


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Function: a folder with a run that hangs and one that passes; no container engine is needed."""
    monkeypatch.setenv("FLEET_ENGINE_SOCKET", "double")
    monkeypatch.delenv("FLEET_TARGET", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeini("[pytest]\nfilterwarnings = error\nstrict = true\n")
    pytester.makepyfile(test_hanging=HANGING, test_passing=PASSING)
    return pytester


@contextlib.contextmanager
def hanging(inner: pytest.Pytester, target: str) -> Generator[subprocess.Popen[bytes]]:
    """A run in the middle of a test that has made a device and a deployment."""
    argv = [*ARGV, "test_hanging.py", "--fleet-target", target]
    with subprocess.Popen(argv, cwd=inner.path, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            wait_until((inner.path / "hanging").exists, "the other run is in its test", timeout=60)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def passing(inner: pytest.Pytester, target: str) -> pytest.RunResult:
    return inner.run(*ARGV, "test_passing.py", "--fleet-target", target, "-o", "log_cli=true", timeout=60)


def test_a_second_run_is_told_who_is_there(handed: Handed, inner: pytest.Pytester) -> None:
    """Holder, since when, until when; the first goes on undisturbed, and is let go in order by Ctrl-C."""
    target = f"staging:{handed.describe(lease_seconds=30)}"
    with hanging(inner, target) as first:
        second = passing(inner, target)
        second.assert_outcomes(errors=1)
        second.stdout.re_match_lines(
            [rf".*TargetUnavailable: the target is in use by \w+ \(.*process {first.pid}\), since 20\d\d-.* UTC",
             r".*next: wait for that run to end; if it crashed, its lease expires at .* UTC \(\d+ s from now\)"]
        )  # fmt: skip
        assert handed.devices() == {"left-behind"}
        os.killpg(first.pid, signal.SIGINT)
        first.wait(30)
    assert handed.devices() == set()
    assert handed.lease()["holderIdentity"] == ""


def test_what_a_killed_run_left_is_removed_by_the_next(handed: Handed, inner: pytest.Pytester) -> None:
    """Once its lease has expired; what is somebody else's stays."""
    handed.add("somebodys")
    target = f"staging:{handed.describe(lease_seconds=5)}"
    with hanging(inner, target) as first:
        os.kill(first.pid, signal.SIGKILL)
        first.wait(10)
    assert handed.devices() == {"somebodys", "left-behind"}
    before = handed.lease()
    expires = datetime.fromisoformat(before["renewTime"]).timestamp() + before["leaseDurationSeconds"] + 1
    wait_until(time.time, "the lease has expired", timeout=30, until=lambda now: now > expires)
    late = passing(inner, target)
    late.assert_outcomes(passed=1)
    late.stdout.fnmatch_lines(["*the lease of*expired at*it is taken over*"])
    late.stdout.fnmatch_lines(["*removed what a run before this one left: *left-behind, devices/left-behind*"])
    assert handed.devices() == {"somebodys"}
    assert handed.lease()["leaseTransitions"] == before["leaseTransitions"] + 1
