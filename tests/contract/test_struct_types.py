"""A type that is complete may be decoded in several threads; one that is not ends the process with SIGSEGV."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_DECODE = """
import sys, threading
from fleet.agent.upgrade.protocol.journal import Journal
from fleet.contract.wire import decode
from fleet.process.struct_types import complete_types

{prepare}
data = b'{{"type":"journal","committed":{{"version":"v0.1.2","digest":"sha256:%s"}}}}' % (b"a" * 64)
others = []

def second(frame, event, argument):
    # msgspec asks Python for the fields of a nested type: another thread comes in between.
    if event == "call" and frame.f_code.co_name == "get_class_annotations" and not others:
        if frame.f_locals.get("obj") is not Journal:
            others.append(threading.Thread(target=decode, args=(data, Journal)))
            others[0].start()
            others[0].join()

sys.setprofile(second)
decode(data, Journal)
"""


def ended(prepare: str) -> int:
    script = _DECODE.format(prepare=prepare)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode


def test_complete_types_are_safe_in_threads() -> None:
    assert ended("complete_types()") == 0


def test_msgspec_still_needs_it() -> None:
    """When this fails, msgspec was mended, and `fleet.process.struct_types` can go."""
    assert ended("") == -signal.SIGSEGV


@pytest.mark.parametrize("module", ["fleet.agent.main", "fleet.operator.main"])
def test_processes_with_threads_complete_their_types(module: str) -> None:
    """Before the first of them: the agent once its modules are there, the operator at its start."""
    script = f"""
import asyncio, sys, threading
from unittest import mock
import {module} as main
import fleet.process.struct_types as types

class Completed(BaseException): pass
def seen():
    assert threading.active_count() == 1 + sum(t.name.startswith("asyncio") for t in threading.enumerate())
    raise Completed
types.complete_types = seen
if hasattr(main, "complete_types"): main.complete_types = seen
try:
    if hasattr(main, "_run"):
        async def no_token(_): await asyncio.Event().wait()
        with mock.patch.object(main, "load"), mock.patch.object(main, "ask", no_token):
            asyncio.run(main._run(mock.Mock()))
    else:
        sys.argv = ["fleet-operator", "--config", "/none"]
        main.main()
except Completed:
    sys.exit(77)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 77, done.stderr
