"""What counts as the world's fault, and what does not."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from harness.errors import ComponentDied, HarnessError, Misused, PortTaken, WorldBroken
from harness.processes.ports import Ports
from harness.processes.spec import ComponentSpec, history, put, statuses
from harness.wait import wait_until
from harness.world import diagnosis as triage
from harness.world.world import World
from tests.harness.tiny import DATABASE, PRODUCT, tiny_world


@pytest.fixture
def world() -> Generator[World]:
    """Function: a world of two sleepers."""
    with tiny_world(DATABASE, PRODUCT) as made:
        yield made


def kill(world: World, component: str, number: signal.Signals = signal.SIGKILL) -> None:
    """From outside, as an accident does."""
    pid = world.components()[component].pid
    assert pid is not None
    os.kill(pid, number)


def test_a_sound_world_has_no_problems(world: World) -> None:
    """Or every failure would be the world's."""
    assert world.problems() == []


def test_a_server_that_dies_unasked_is_a_problem_until_the_next_test(world: World) -> None:
    """Its last words come along; the test after begins anew."""
    kill(world, "database")
    (problem, *_) = world.problems()
    assert problem.startswith("database ended with code -9 without being asked; its last words:")
    wait_until(
        lambda: world.components()["database"], "it is back", timeout=30, until=lambda it: it.starts == 2 and it.ready
    )
    world.begin("the next test")
    assert world.problems() == []


def test_what_a_scenario_asks_for_is_no_problem(world: World) -> None:
    """Kill, stop, pause."""
    world.kill("database")
    assert world.problems() == []
    world.stop("database")
    assert world.problems() == []
    world.start("database")
    world.pause("database")
    assert world.problems() == []
    world.resume("database")
    assert [event.what for event in world.history if event.asked and event.component == "database"] == [
        "asked to end (SIGKILL)",
        "ended with code -9",
        "asked to end (SIGTERM)",
        "ended with code -15",
        "paused",
        "resumed",
    ]


def test_a_part_of_the_product_that_dies_is_not_the_worlds_problem(world: World) -> None:
    """It is told apart, for the product's failure to quote."""
    kill(world, "product", signal.SIGSEGV)
    wait_until(world.product_deaths, "the death is noticed", timeout=30)
    assert world.problems() == []
    failure = AssertionError("wrong")
    assert world.judge(failure) is failure
    assert "product ended with code -11" in failure.__notes__[0]


def test_a_server_that_hangs_is_a_problem() -> None:
    """It runs, it accepts, it does not answer."""
    ports = Ports.acquire()
    port = ports.take()
    argv = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    with tiny_world(ComponentSpec("web", argv, "world", ready=f"http://127.0.0.1:{port}/")) as world:
        kill(world, "web", signal.SIGSTOP)
        (problem,) = world.problems()
        assert problem.startswith("web runs, but does not answer: no answer from http://127.0.0.1:")
        kill(world, "web", signal.SIGCONT)
    ports.release()


def test_a_changed_or_lost_file_is_a_problem(tmp_path: Path) -> None:
    """Of those that everything depends on."""
    changed, lost = tmp_path / "ca.crt", tmp_path / "admin.pat"
    changed.write_text("b")
    found = triage.files_changed({changed: b"a", lost: b"x"})
    assert found == [f"{changed} is not as it was made", f"{lost} is gone"]


def test_a_clock_that_jumps_is_a_problem() -> None:
    """Tokens, certificates and the timeline depend on it."""
    offset = time.time() - time.monotonic()
    assert triage.clock_jumped(offset) == []
    (problem,) = triage.clock_jumped(offset - 3600)
    assert problem.startswith("the machine's clock jumped by +3600.")


def test_a_full_disk_is_a_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it shows as something else."""
    monkeypatch.setattr(triage, "_LEAST_FREE", 1 << 60)
    assert any("MiB are free at" in problem for problem in world.problems())


def test_a_killed_supervisor_is_a_problem(world: World) -> None:
    """Everything died with it, and nothing says so any more."""
    started = next(event.what for event in history(world.root) if event.what.startswith("supervisor started"))
    os.kill(int(started.rpartition(" ")[2]), signal.SIGKILL)
    wait_until(world.problems, "it is noticed", timeout=30)
    assert any("no supervisor answers" in problem for problem in world.problems())


def test_what_dies_with_its_world_may_take_a_moment() -> None:
    """Whom the kernel killed with the supervisor has to run once more to be gone."""
    with tiny_world(DATABASE) as world:
        dying = subprocess.Popen(["sleep", "0.3"], env={"FLEET_WORLD": str(world.root)})
    assert dying.wait() == 0


def test_what_outlives_its_world_is_named_and_killed() -> None:
    """It would hold ports, files and processor time of those that come."""
    with contextlib.ExitStack() as cleanup:
        world = cleanup.enter_context(tiny_world(DATABASE))
        left = subprocess.Popen(["sleep", "1006"], env={"FLEET_WORLD": str(world.root)})
        with pytest.raises(HarnessError, match=rf"(?s)processes outlived {world.root}.*last seen: \[{left.pid}\]"):
            cleanup.close()
    assert left.wait() == -signal.SIGKILL


def test_a_broken_world_refuses_the_next_test_and_says_why(world: World) -> None:
    """The verdict quotes the product's failure; the refusal quotes the verdict."""
    world.begin("test_a")
    kill(world, "database")
    verdict = world.judge(AssertionError("the product answered nonsense"))
    assert isinstance(verdict, WorldBroken)
    assert "database ended with code -9" in str(verdict)
    assert "the product answered nonsense" in str(verdict)
    with pytest.raises(WorldBroken, match=r"(?s)not used any more: test_a:.*database ended with code -9"):
        world.begin("test_b")


def test_a_harness_error_breaks_the_world_but_a_misuse_does_not(world: World) -> None:
    """A test that calls the harness wrongly says nothing about the world."""
    misuse = Misused("no such part", next_step="use another")
    assert world.judge(misuse) is misuse
    assert world.broken == ""
    error = HarnessError("it fell over", next_step="pick it up")
    assert world.judge(error) is error
    assert "it fell over" in world.broken


def test_a_world_that_does_not_come_up_says_what_ended() -> None:
    """With its last words, and nothing is left."""
    argv = ("sh", "-c", "echo cannot read my config; exit 3")
    crashing = ComponentSpec("crashing", argv, "world", pause=0.01, ready="tcp://127.0.0.1:1")
    with (
        pytest.raises(ComponentDied, match=r"(?s)crashing keeps ending, last with code 3.*cannot read my config"),
        tiny_world(crashing),
    ):
        pass


def test_a_port_that_is_taken_is_named() -> None:
    """At once: it will not be free by the fifth attempt either."""
    ports = Ports.acquire()
    port = ports.take()
    argv = (sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(PortTaken, match="its port is taken"),
        tiny_world(ComponentSpec("web", argv, "world", ready=f"http://127.0.0.1:{port}/nothing")),
    ):
        pass
    ports.release()


def test_a_part_without_an_ask_for_it_cannot_be_stopped(world: World) -> None:
    """The names that exist come along."""
    with pytest.raises(HarnessError, match=r"(?s)there is no component 'nats'.*database, product"):
        world.stop("nats")


def test_manifests_of_a_world_can_be_added(world: World) -> None:
    """As the process topology does for the product's services."""
    put(world.root, ComponentSpec("more", ("sleep", "1005"), "world"))
    assert world.problems() == []
    assert "more" in statuses(world.root)
