"""The kubelet of a local world, with real processes: what should run does, and nothing outlives its owner."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from itertools import pairwise
from pathlib import Path

import pytest

from harness.errors import HarnessError
from harness.processes.spec import ComponentSpec, ComponentStatus, ask, history, put, remove, specs, statuses, unready
from harness.wait import wait_until
from harness.world import folders

SLEEPER = ComponentSpec("sleeper", ("sleep", "1000"), "world", pause=0.01)


@pytest.fixture
def root() -> Generator[Path]:
    """Function: an empty world's folder."""
    made, lock = folders.create()
    (made / "logs").mkdir()
    with lock:
        yield made
    folders.remove(made)


@contextlib.contextmanager
def supervised(root: Path, *components: ComponentSpec) -> Generator[subprocess.Popen[bytes]]:
    for spec in components:
        put(root, spec)
    env = {**os.environ, "FLEET_WORLD": str(root)}
    argv = [sys.executable, "-m", "harness.processes.supervisor", str(root)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env=env, start_new_session=True) as process:
        wait_until((root / "sup.sock").exists, "the supervisor listens", timeout=30)
        ask(root, "reconcile")
        yield process
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(10) == 0
    wait_until(lambda: folders.members(root), "no process is left", timeout=30, until=lambda left: not left)


def seen(root: Path, name: str, until: Callable[[ComponentStatus], object], what: str) -> ComponentStatus:
    return wait_until(lambda: statuses(root)[name], f"{name} {what}", timeout=30, until=until)


def test_what_dies_is_started_again(root: Path) -> None:
    """An end that nobody asked for is told from one that was asked for."""
    with supervised(root, SLEEPER):
        first = statuses(root)["sleeper"]
        assert first.pid is not None
        os.kill(first.pid, signal.SIGKILL)
        second = seen(root, "sleeper", lambda it: it.starts == 2, "is back")
        ask(root, "kill", "sleeper")
        third = seen(root, "sleeper", lambda it: it.starts == 3, "is back")
    assert len({first.pid, second.pid, third.pid}) == 3
    assert [(end.code, end.asked) for end in third.exits] == [(-9, False), (-9, True)]
    told = [event.asked for event in history(root) if event.what == "ended with code -9"]
    assert told == [False, True, True], "killed, asked to, and ended with its world"


def test_a_restart_policy_is_kept(root: Path) -> None:
    """`no` stays down, `on-failure` depends on the code."""
    with supervised(
        root,
        ComponentSpec("never", ("false",), "world", restart="no"),
        ComponentSpec("good", ("true",), "world", restart="on-failure"),
        ComponentSpec("bad", ("false",), "world", restart="on-failure", pause=0.01),
    ):
        seen(root, "bad", lambda it: it.starts >= 3, "was started again")
        assert statuses(root)["never"].starts == 1
        assert statuses(root)["good"].starts == 1


def test_a_part_that_keeps_ending_is_restarted_ever_more_slowly(root: Path) -> None:
    """Up to its longest pause, so that a crash loop costs little."""
    with supervised(root, ComponentSpec("loop", ("false",), "world", pause=0.01, longest_pause=0.08)):
        seen(root, "loop", lambda it: it.starts >= 6, "was started six times")
    ends = [end.at for end in statuses(root)["loop"].exits][:5]
    pauses = [later - earlier for earlier, later in pairwise(ends)]
    assert pauses[-1] >= 0.08


def test_each_reconcile_makes_the_specifications_true(root: Path) -> None:
    """A new one starts, a removed one stops, a changed one is another process, `run=False` rests."""
    with supervised(root, SLEEPER):
        put(root, ComponentSpec("other", ("sleep", "1001"), "world"))
        ask(root, "reconcile")
        assert statuses(root)["other"].pid is not None
        put(root, ComponentSpec("other", ("sleep", "1002"), "world"))
        before = statuses(root)["other"].pid
        ask(root, "reconcile")
        assert statuses(root)["other"].pid not in {before, None}
        put(root, ComponentSpec("other", ("sleep", "1002"), "world", run=False))
        ask(root, "reconcile")
        assert statuses(root)["other"].pid is None
        remove(root, "other")
        ask(root, "reconcile")
        assert set(statuses(root)) == {"sleeper"} == set(specs(root))


def test_ready_means_that_it_answers(root: Path) -> None:
    """Before that, the status says why not; a frozen component is not ready either."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    with supervised(root, ComponentSpec("web", server, "world", ready=f"http://127.0.0.1:{port}/")):
        assert "web" in unready(statuses(root), ["web", "missing"])
        assert unready(statuses(root), ["missing"]) == {"missing": "not started"}
        seen(root, "web", lambda it: it.ready, "answers")
        ask(root, "pause", "web")
        assert unready(statuses(root), ["web"]) == {"web": "paused"}
        ask(root, "resume", "web")
        seen(root, "web", lambda it: it.ready, "answers again")


def test_a_program_that_does_not_exist_is_said(root: Path) -> None:
    """In the component's status, not only in a log."""
    with supervised(root, ComponentSpec("ghost", ("/nonexistent/program",), "world", pause=0.01)):
        ghost = seen(root, "ghost", lambda it: it.exits, "has failed")
    assert ghost.exits[0].code == 127


def test_a_request_for_a_component_that_is_not_there_is_refused(root: Path) -> None:
    """With the names of those that are."""
    with supervised(root, SLEEPER), pytest.raises(HarnessError, match="no component 'nats'; there are sleeper"):
        ask(root, "kill", "nats")


def test_without_a_supervisor_the_error_says_so(root: Path) -> None:
    """Not a bare ConnectionRefusedError."""
    with pytest.raises(HarnessError, match=f"no supervisor answers in {root}"):
        ask(root, "reconcile")


def test_what_a_part_leaves_behind_ends_too(root: Path) -> None:
    """A daemon in a session of its own, orphaned on purpose, is still found at the end."""
    orphan = ("sh", "-c", "setsid sleep 1003 & exec sleep 0.01")
    with supervised(root, ComponentSpec("parent", orphan, "world", restart="no"), SLEEPER):
        seen(root, "parent", lambda it: it.exits, "has ended")
        assert len(folders.members(root)) == 3, "supervisor, sleeper, orphan"


def test_parts_die_with_a_supervisor_that_is_killed(root: Path) -> None:
    """SIGKILL gives it no chance to end them; the kernel does."""
    put(root, SLEEPER)
    argv = [sys.executable, "-m", "harness.processes.supervisor", str(root)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, env={**os.environ, "FLEET_WORLD": str(root)}) as process:
        wait_until(lambda: statuses(root).get("sleeper"), "sleeper runs", timeout=30)
        process.kill()
    wait_until(lambda: folders.members(root), "no process is left", timeout=30, until=lambda left: not left)


def test_a_stubborn_part_is_killed_after_its_grace(root: Path) -> None:
    """One that ignores SIGTERM delays the end by its grace, not for ever."""
    stubborn = ("sh", "-c", "trap '' TERM; echo armed; while :; do read line || sleep 1000; done")
    with supervised(root, ComponentSpec("stubborn", stubborn, "product", grace=0.2)):
        log = root / "logs" / "stubborn.log"
        wait_until(lambda: log.exists() and log.read_text(), "it ignores SIGTERM", timeout=30)
        remove(root, "stubborn")
        ask(root, "reconcile")
        assert not statuses(root)
