"""Processes that a test starts live until the test ends them."""

from __future__ import annotations

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
