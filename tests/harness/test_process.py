"""Processes that a test starts live until the test ends them."""

from __future__ import annotations

import os
import select
import subprocess
import threading
from pathlib import Path

import pytest

from harness.processes.spawn import spawn, terminate


def test_a_process_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(target=lambda: started.append(spawn(["sleep", "60"], log=tmp_path / "log")))
    thread.start()
    thread.join()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            started[0].wait(0.3)
    finally:
        terminate(started[0])


def test_a_process_that_ended_long_ago_costs_nobody_its_number(tmp_path: Path) -> None:
    ended = spawn(["true"], log=tmp_path / "log")
    ended.wait()
    other = spawn(["sleep", "60"], log=tmp_path / "log")
    try:
        ended.pid = other.pid  # as after so many other processes that the numbers begin again
        assert terminate(ended) == 0
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.3)
    finally:
        terminate(other)


def test_what_a_process_left_behind_is_ended_also_when_its_own_end_was_seen(tmp_path: Path) -> None:
    held = tmp_path / "held"
    os.mkfifo(held)
    ended = spawn(["sh", "-c", 'exec 3> "$1"; sleep 1000 &', "sh", str(held)], log=tmp_path / "log")
    with held.open("rb", buffering=0) as reader:  # open once the shell has it; at its end once nobody has
        ended.wait()
        assert select.select([reader], [], [], 0.3)[0] == []
        terminate(ended)
        assert select.select([reader], [], [], 30)[0] == [reader]
