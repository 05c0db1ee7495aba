"""Runs a part of a test in a forked process, whole or until it is killed at one of the kernel calls it makes."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from collections.abc import Callable
from typing import TypeVar

R = TypeVar("R")

CHANGES = {"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.truncate", "os.chmod"}
"""Audit events (Python's table) of what may change a disk; opening for reading is among them, and does no harm."""
KILLED = -signal.SIGKILL


def in_child(act: Callable[[], R]) -> R:
    """What `act` returns or raises in a process of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            outcome: tuple[bool, object] = (True, act())
        except BaseException as error:
            outcome = (False, error)
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(_pickled(outcome))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    good, value = pickle.loads(data)
    if not good:
        raise value
    return value


def killed_at(act: Callable[[], object], number: int) -> bool:
    """Run `act` in a process that is killed (SIGKILL) before its `number`-th change of the disk; False if it ended."""
    pid = os.fork()
    if pid == 0:
        left = [number]

        def hook(event: str, _: object) -> None:
            if event in CHANGES:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        act()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, KILLED}, f"it ended with {code}"
    return code == KILLED


def _pickled(outcome: tuple[bool, object]) -> bytes:
    try:
        data = pickle.dumps(outcome)
        pickle.loads(data)
    except Exception:
        return pickle.dumps((False, AssertionError(repr(outcome[1]))))
    return data
