"""The plugin as its users see it: a real pytest run inside a pytest run, on tiny worlds of real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.pytest_plugin import plugin
from harness.targets import cluster
from harness.wait import wait_until
from harness.world import folders

pytest_plugins = ["pytester"]

TINY = (Path(__file__).parent / "tiny.py").read_text()


@pytest.fixture
def inner(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Function: an inner run whose worlds are tiny, and whose warnings are errors as in the outer one."""
    monkeypatch.setenv("WORLDS", str(pytester.path / "worlds"))
    monkeypatch.delenv("FLEET_TARGET", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    pytester.makeconftest(TINY)
    pytester.makeini("[pytest]\nfilterwarnings = error\nstrict = true\n")
    return pytester


def worlds(inner: pytest.Pytester) -> list[Path]:
    """Every world that the inner run made."""
    return [Path(line) for line in (inner.path / "worlds").read_text().splitlines()]


def assert_no_process_left(roots: list[Path]) -> None:
    for root in roots:
        wait_until(lambda root=root: folders.members(root), f"no process of {root} is left", timeout=30, until=is_empty)


def is_empty(found: list[int]) -> bool:
    return not found


LOADED = cluster
"""Heavy; loaded here, so that not every inner run in this process loads it anew."""
ALONE = ("--disable-plugin-autoload", "-p", "no:cacheprovider")
"""No plugin but ours: loading them all takes longer than most of these tests."""
APART = (*ALONE, "-p", "harness.pytest_plugin.plugin")


def run(inner: pytest.Pytester, *options: str) -> pytest.RunResult:
    """In this process: a fifth of the time of a new one."""
    return inner.runpytest_inprocess(*ALONE, *options, plugins=[plugin])


def run_apart(inner: pytest.Pytester, *options: str) -> pytest.RunResult:
    return inner.runpytest_subprocess(*APART, *options, timeout=60)


def test_a_world_is_made_once_and_leaves_nothing(inner: pytest.Pytester) -> None:
    """Two tests share one world; after the run there is neither a process nor a folder of it."""
    inner.makepyfile("def test_a(world): assert world.root.is_dir()\ndef test_b(world): assert not world.problems()")
    run(inner).assert_outcomes(passed=2)
    (root,) = worlds(inner)
    assert_no_process_left([root])
    assert not root.exists()


def test_workers_have_worlds_and_names_of_their_own(inner: pytest.Pytester) -> None:
    """With two workers no folder and no name is shared."""
    body = "def test_it(world):\n    with open('names', 'a') as file: file.write(world.unique('pi') + chr(10))\n"
    inner.makepyfile(test_one=body, test_two=body)
    run_apart(inner, "-p", "xdist", "-n", "2", "--dist", "loadfile").assert_outcomes(passed=2)
    assert len(set(worlds(inner))) == 2
    assert len(set((inner.path / "names").read_text().split())) == 2
    assert_no_process_left(worlds(inner))


def test_a_crashed_worker_is_replaced_and_its_world_ended(inner: pytest.Pytester) -> None:
    """A worker that dies takes its world along; the next test gets a new one."""
    inner.makepyfile("import os\ndef test_a(world): os._exit(7)\ndef test_b(world): assert not world.problems()")
    result = run_apart(inner, "-p", "xdist", "-n", "1")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw0' crashed*"])
    assert len(worlds(inner)) == 2
    assert_no_process_left(worlds(inner))


def test_a_world_that_breaks_half_way_refuses_further_tests_and_says_why(inner: pytest.Pytester) -> None:
    """The failure is the world's, not the product's, and every later test quotes it."""
    inner.makepyfile(
        """
        import os
        def test_a(world):
            os.kill(world.components()["database"].pid, 9)
            assert False, "the product answered nonsense"
        def test_b(world): pass
        """
    )
    result = run(inner)
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*WorldBroken: this world is not used any more: *test_a*",
            "*database ended with code -9 without being asked*",
            "*WorldBroken: the world is broken, so this says nothing about the product*",
        ]
    )


def test_a_failure_in_a_sound_world_stays_the_products(inner: pytest.Pytester) -> None:
    """What a scenario asks for is no problem of the world, and the next test runs."""
    inner.makepyfile(
        """
        def test_a(world):
            world.kill("database")
            world.pause("product")
            assert False, "wrong"
        def test_b(world): pass
        """
    )
    result = run(inner)
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.fnmatch_lines(["*AssertionError: wrong*"])
    result.stdout.no_fnmatch_line("*WorldBroken*")


def test_a_part_of_the_product_that_dies_is_the_products_failure(inner: pytest.Pytester) -> None:
    """It stays an AssertionError, which names the component that died unasked."""
    inner.makepyfile(
        """
        import os
        def test_a(world):
            os.kill(world.components()["product"].pid, 11)
            assert False, "wrong"
        """
    )
    result = run(inner)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: wrong*", "*product ended with code -11 without being asked*"])


HANGING = """
import pathlib, signal
def test_a(world):
    pathlib.Path("hanging").write_text("now")
    signal.pause()
"""


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["alone", "xdist"])
@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["ctrl-c", "cancelled", "kill-9"]
)
def test_whatever_ends_a_run_leaves_no_process(
    inner: pytest.Pytester, number: signal.Signals, options: tuple[str, ...]
) -> None:
    """Ctrl-C and SIGTERM remove the folder too, and say so; after kill -9 the next run's sweep does."""
    inner.makepyfile(HANGING)
    argv = [sys.executable, "-m", "pytest", *APART, *options]
    with (
        (inner.path / "output").open("w") as output,
        subprocess.Popen(argv, cwd=inner.path, stdout=output, start_new_session=True) as process,
    ):
        try:
            wait_until((inner.path / "hanging").exists, "the inner test hangs", timeout=20)
            (root,) = worlds(inner)
            assert len(folders.members(root)) >= 3, "a supervisor and two components"
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                os.kill(process.pid, number)
            process.wait(20)
        finally:
            process.kill()
    assert_no_process_left([root])
    if number == signal.SIGTERM:
        assert "SIGTERM: the run was stopped from outside" in (inner.path / "output").read_text()
    if number == signal.SIGKILL:
        wait_until(lambda: swept(root), "the next sweep has removed it", timeout=30)
    assert not root.exists()


def swept(root: Path) -> bool:
    """Whether it is gone after a sweep; one that another worker has in hand at that moment is left to it."""
    folders.sweep()
    return not root.exists()


def test_a_kept_world_lives_on_until_it_is_told(inner: pytest.Pytester) -> None:
    """A run that dies of kill -9 after `detach` leaves its world to whoever ends it by hand."""
    inner.makepyfile(
        HANGING.replace("signal.pause()", "world._components.detach(); import os; os.kill(os.getpid(), 9)")
    )
    run_apart(inner)
    (root,) = worlds(inner)
    try:
        before = folders.members(root)
        folders.sweep()
        assert folders.members(root) == before
        assert len(before) == 3, "a supervisor and two components"
    finally:
        ended = subprocess.run([sys.executable, "-m", "harness.processes.supervisor", "--end", str(root)], check=False)
    assert ended.returncode == 0
    assert not root.exists()
    assert_no_process_left([root])


@pytest.mark.parametrize(("ends", "kept"), [("pass", False), ("assert False", True)])
def test_the_world_of_a_failed_test_lives_on(inner: pytest.Pytester, ends: str, kept: bool) -> None:
    """With `--fleet-keep=failed`, also on the workers of a controller; the other worlds end as ever."""
    inner.makepyfile(f"def test_a(world):\n    world.kept.append('the machine of pi-1 is kept')\n    {ends}")
    result = run_apart(inner, "--fleet-keep=failed", "-p", "xdist", "-n", "1")
    (root,) = worlds(inner)
    assert [line for line in result.outlines if line in {f"end: {root}", "the machine of pi-1 is kept"}] == (
        [f"end: {root}", "the machine of pi-1 is kept"] if kept else []
    )
    assert root.exists() == kept
    if kept:
        ended = subprocess.run([sys.executable, "-m", "harness.processes.supervisor", "--end", str(root)], check=False)
        assert ended.returncode == 0
    assert_no_process_left([root])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--fleet-target", "staging"), "*TargetUnavailable: staging was asked for, and its description is not*"),
        (("-m", "staging"), "*TargetUnavailable: staging was asked for, and its description is not complete*"),
        (("-m", "production_smoke"), "*TargetUnavailable: production was asked for, and its description is not*"),
        (("--fleet-target", "staging:/nonexistent"), "*TargetUnavailable: the description /nonexistent*No such file*"),
        (("--fleet-target", "k3d"), "*TargetUnavailable: the target k3d needs*"),
        (("-m", "pi"), "*TargetUnavailable: the test needs a pi device, and this world has: process*"),
        (("--fleet-target", "mars"), "*Misused: there is no target 'mars'*"),
    ],
)
def test_a_target_that_was_asked_for_fails_when_it_is_missing(
    inner: pytest.Pytester, options: tuple[str, ...], words: str
) -> None:
    """It never skips."""
    inner.makepyfile("import pytest\n@pytest.mark.staging\n@pytest.mark.k3d\ndef test_a(world): pass")
    inner.makepyfile(test_board="import pytest\n@pytest.mark.pi\ndef test_b(world): pass")
    inner.makepyfile(test_any="import pytest\n@pytest.mark.production_smoke\ndef test_c(world): pass")
    result = run(inner, *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert not result.parseoutcomes().keys() & {"passed", "skipped"}
    result.stdout.fnmatch_lines([words])


def test_tests_of_other_targets_and_devices_are_deselected(inner: pytest.Pytester) -> None:
    """A test without a target's marker runs everywhere."""
    inner.makepyfile(
        """
        import pytest
        @pytest.mark.staging
        def test_a(world): pass
        @pytest.mark.pi
        def test_b(world): pass
        @pytest.mark.embedded
        def test_c(world): pass
        def test_d(world): pass
        """
    )
    run(inner).assert_outcomes(passed=2, deselected=2)


@pytest.mark.parametrize(
    ("options", "chosen"),
    [((), "ck"), (("-m", "staging"), "sc"), (("-m", "k3d"), "kc"), (("-m", "production_smoke"), "c")],
)
def test_a_target_asked_for_by_its_marker_runs_what_runs_everywhere_too(
    inner: pytest.Pytester, options: tuple[str, ...], chosen: str
) -> None:
    """`-m staging` finds tests without a target's marker; on production only those that say they merely look."""
    inner.makepyfile(
        """
        import pytest
        @pytest.mark.staging
        def test_s(world): pass
        @pytest.mark.k3d
        @pytest.mark.embedded
        def test_k(world): pass
        @pytest.mark.production_smoke
        def test_c(world): pass
        """
    )
    shown = run(inner, *options, "--collect-only", "-q").outlines
    assert sorted(line.rpartition("test_")[2] for line in shown if "::" in line) == sorted(chosen)


def test_options_and_markers_explain_themselves(inner: pytest.Pytester) -> None:
    """`--help` and `--markers` say what each is for."""
    shown = run(inner, "--help").stdout.str() + run(inner, "--markers").stdout.str()
    for words in ("--fleet-target=TARGET", "--fleet-keep", "@pytest.mark.pi: needs a device"):
        assert words in shown


def test_a_scenario_that_asks_for_more_than_its_device_can_is_refused(inner: pytest.Pytester) -> None:
    """In words, before any world is made; one that asks for nothing is collected."""
    inner.makepyfile(
        """
        import pytest
        from harness.devices import Killable
        from harness.scenario.scenario import Scenario

        @pytest.mark.pi
        @pytest.mark.parametrize("scenario", [
            Scenario(id="cut", title="", chapter="", why="", asks=(Killable,)),
            Scenario(id="calm", title="", chapter="", why=""),
        ], ids=lambda it: it.id)
        def test_a(world, scenario): pass
        """
    )
    result = run(inner, "-m", "pi")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*cut needs a device whose power and agent can be cut, and a pi device is none*"])
    assert "calm" not in result.stderr.str()
    shown = run(inner, "-m", "pi", "-k", "not cut", "--collect-only", "-q").outlines
    assert [line for line in shown if "::" in line] == [
        "test_a_scenario_that_asks_for_more_than_its_device_can_is_refused.py::test_a[calm]"
    ]


@pytest.mark.parametrize("text", ["0-3", "5-2", "a", "-1", ""])
def test_cuts_that_are_no_range_are_refused(inner: pytest.Pytester, text: str) -> None:
    result = run(inner, f"--fleet-cuts={text}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*{text!r} is no range of numbers such as 1-12*"])
