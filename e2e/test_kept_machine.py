"""`--fleet-keep=failed`: a failed test leaves its machine as it is, for a person, and the run goes on with another."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.world import folders

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]
_LIMIT = 120.0
"""Seconds for a login and a write to the disk, on a busy machine."""
_RUN = """
import pytest
from harness.scenario.scenario import Scenario
from harness.scenario.setup import prepared

pytestmark = [pytest.mark.libvirt, pytest.mark.embedded]
ONE = Scenario(id="one", title="One machine", chapter="Rules", why="", devices=1)

@pytest.mark.parametrize("fails", [True, False])
def test_a_machine(world, tmp_path, fails):
    with prepared(ONE, world, tmp_path) as run:
        machine = run.terminals["device"]
        assert machine.kind == "libvirt"
        assert machine.run(["cat", "trace"]).code == 1, "this machine was used before"
        machine.write("trace", b"of the failure")
        assert not fails
"""


def test_the_machine_of_a_failed_test_can_be_entered(tmp_path: Path) -> None:
    """After the run it goes on where it was frozen, at its own port; and the command that ends the world ends it."""
    test = tmp_path / "test_run.py"
    test.write_text(_RUN)
    argv = [sys.executable, "-m", "pytest", str(test), "-m", "libvirt", "--fleet-keep=failed", "-p", "no:randomly"]
    ran = subprocess.run([*argv, "-n", "0"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout + ran.stderr
    told = {word: shlex.split(line) for word, line in re.findall(r"^  (end|go on|enter): +(.+)$", ran.stdout, re.M)}
    root = Path(told["end"][-1])
    try:
        subprocess.run(told["go on"], check=True, capture_output=True)
        read = subprocess.run(
            [*told["enter"], "sudo cat trace && sudo sync"], capture_output=True, text=True, check=False, timeout=_LIMIT
        )
        assert read.stdout == "of the failure", read.stderr
    finally:
        ended = subprocess.run(told["end"], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert not folders.members(root)
    assert not root.exists()
