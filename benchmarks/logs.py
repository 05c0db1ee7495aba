"""From a line that a workload writes to the terminal that follows its log."""

from __future__ import annotations

import statistics
import subprocess
import time
import urllib.error
import urllib.request

from benchmarks.place import installed, set_up
from benchmarks.report import Table
from benchmarks.rollout import apply, ready
from fleet.contract.wire import Container, Port
from harness.images import IMAGE
from harness.processes.ports import free_port
from harness.wait import wait_until

_LINES = 100


def run() -> Table:
    """Ask a web server for pages that it does not have; it writes a line for each."""
    with installed() as world:
        name, port = world.unique("logs"), free_port()
        set_up(world, name)
        server = ("httpd", "-f", "-vv", "-p", "80", "-h", "/www")
        apply(world, name, name, Container(image=IMAGE, command=server, ports=(Port(port, 80),)))
        wait_until(lambda: ready(world, name), "the workload runs", timeout=30)
        argv = ["fleet", "device", "logs", name, "--deployment", name, "--follow", "--tail", "10"]
        with subprocess.Popen(argv, env=dict(world.env), stdout=subprocess.PIPE, text=True) as terminal:
            _until_followed(terminal, port)
            took = sorted(_seconds(terminal, port, f"/line-{number}") for number in range(_LINES))
            terminal.terminate()
    row = (
        f"{statistics.median(took) * 1000:.0f}",
        f"{took[int(0.95 * _LINES)] * 1000:.0f}",
        f"{took[-1] * 1000:.0f}",
    )
    notes = (f"{_LINES} lines, one after another, from the request that causes one until `fleet` prints it.",)
    return Table("logs", ("median ms", "95 of 100 within ms", "slowest ms"), (row,), notes)


def _until_followed(terminal: subprocess.Popen[str], port: int) -> None:
    """The first line is printed from the past, or as it comes; from then on all lines come as they are written."""
    _ask(port, "/first")
    _read_until(terminal, "/first")


def _seconds(terminal: subprocess.Popen[str], port: int, path: str) -> float:
    began = time.monotonic()
    _ask(port, path)
    _read_until(terminal, path)
    return time.monotonic() - began


def _ask(port: int, path: str) -> None:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10):
            pass
    except urllib.error.HTTPError as error:
        error.close()


def _read_until(terminal: subprocess.Popen[str], path: str) -> None:
    assert terminal.stdout
    for line in terminal.stdout:
        if path in line:
            return
    raise SystemExit(f"`fleet device logs` ended before it printed {path}")
