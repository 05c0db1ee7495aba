"""Somebody who reads logs during a siege: the attacker's, which ends somehow, and a neighbour's, which is its own."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager

from harness.devices.hostile.readers import FORGED
from harness.scenario.command import Result, run
from harness.scenario.command_line import Command
from harness.scenario.run import Run
from harness.siege.findings import Findings
from harness.wait import stretch

_LOGS = Command("fleet device logs {device} --tail 50", deadline=120)
"""The assault ends before that, and a device that says nothing more is waited for 15 s."""
_FORESEEN = {0, 1, 6, 8}
"""Exit codes of a log that was read, could not be read, and of a server or device that is silent."""
_PAUSE = 1.0


@contextmanager
def read_meanwhile(siege: Run, neighbour: str, seen: Findings) -> Generator[None]:
    """Read both logs again and again until the `with` ends, into `seen`."""
    over = threading.Event()

    def read() -> None:
        while not over.wait(_PAUSE):
            for device in (siege.name("device"), neighbour):
                seen.misread += misread(device, _type(siege, device), honest=device == neighbour)

    thread = threading.Thread(target=read, name="siege-read")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def misread(device: str, result: Result, *, honest: bool) -> list[str]:
    """What is wrong with the log of a device that was read; `honest` if it is none of the attacker."""
    found: list[str] = []
    if result.code not in _FORESEEN:
        found.append(f"reading the log of {device} ended with {result.code}")
    if "\x1b" in result.stdout + result.stderr:
        found.append(f"the log of {device} moves the cursor")
    if honest and FORGED in result.stdout:
        found.append(f"the log of {device} has lines of another device")
    return found


def _type(siege: Run, device: str) -> Result:
    names = {**siege.names, "device": device}
    line, most = _LOGS.text(names), _LOGS.deadline * stretch()
    argv = _LOGS.argv(names)
    return run(argv, line, env=siege.world.env, folder=siege.folder, deadline=most, on_line=lambda _: None)
