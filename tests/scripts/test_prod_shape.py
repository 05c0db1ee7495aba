"""The one script for every target: what it understands, what it refuses, and that it can be gone on with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.repo.test_documents import ROOT

pytest_plugins = ["pytester"]

SCRIPT = ROOT / "scripts" / "e2e-prod-shape.sh"

PLAIN = """
import pathlib
def note(word):
    with pathlib.Path("ran").open("a") as file: file.write(word)
def test_one(): note("one ")
def test_two():
    note("two ")
    assert pathlib.Path("mended").exists()
def test_three(): note("three ")
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(SCRIPT), *words], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Function: the script in a checkout of its own, whose preparation does nothing and whose pytest says its words."""
    checkout = tmp_path / "checkout"
    (checkout / "scripts").mkdir(parents=True)
    (checkout / "bin").mkdir()
    (checkout / "scripts" / "e2e-prod-shape.sh").write_bytes(SCRIPT.read_bytes())
    (checkout / "scripts" / "e2e-prod-shape.sh").chmod(0o755)
    (checkout / "scripts" / "lib.sh").write_text(
        'cd "$(dirname "${BASH_SOURCE[0]}")/.."\nFLEET_STARTED=$SECONDS\n'
        "say() { printf '[%3ds] %s\\n' $((SECONDS - FLEET_STARTED)) \"$*\" >&2; }\n"
        'fail() { printf \'%s\\n  next: %s\\n\' "$1" "$2" >&2; exit 1; }\n'
        'prepare() { echo "prepare $*"; export PATH=$PWD/bin:$PATH; }\nprepare_browser() { :; }\n'
    )
    (checkout / "bin" / "python").write_text(
        '#!/bin/sh\necho "$*"\nproven=$(printf %s "$*" | sed "s/.*--fleet-resume \\([^ ]*\\).*/\\1/")\n'
        'echo e2e::test_a >> "$proven"\nexit "${CODE:-0}"\n'
    )
    (checkout / "bin" / "python").chmod(0o755)
    for argv in (
        ["git", "init", "-q"],
        ["git", "add", "."],
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "x"],
    ):
        subprocess.run(argv, cwd=checkout, check=True)
    (checkout / ".git" / "info" / "exclude").write_text("out/\n")
    return checkout


def type_in(checkout: Path, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    argv = ["env", f"CODE={code}", str(checkout / "scripts" / "e2e-prod-shape.sh"), *words]
    return subprocess.run(argv, cwd=checkout.parent, capture_output=True, text=True, check=False, timeout=60)


def test_help_names_every_target_and_prepares_nothing(tmp_path: Path) -> None:
    shown = run(tmp_path, "--help")
    assert shown.returncode == 0
    for word in ("embedded", "node", "k3d", "FILE", "--resume"):
        assert word in shown.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--target",), "--target needs a value"),
        (("--target", "mars"), "there is no target 'mars', and no file of that name"),
        (("--target=gone.yaml",), "there is no target 'gone.yaml'"),
    ],
)
def test_a_target_that_is_none_is_refused_before_anything_is_made(
    tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    refused = run(tmp_path, *words)
    assert refused.returncode == 2
    assert says in refused.stderr
    assert "next: give embedded, node, k3d or a file" in refused.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "prepared", "given"),
    [
        ((), "prepare \n", "--fleet-target embedded --fleet-resume"),
        (("--target", "node"), "prepare all\n", "--fleet-target node --fleet-resume"),
        (("--target=k3d",), "prepare \n", "--fleet-target k3d --fleet-resume"),
        (("--target", "embedded", "-k", "deploy"), "prepare \n", "-k deploy"),
    ],
)
def test_each_target_is_the_same_run_elsewhere(copied: Path, words: tuple[str, ...], prepared: str, given: str) -> None:
    done = type_in(copied, *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(prepared)
    assert "-m pytest e2e/test_runbook.py e2e/test_rules.py" in done.stdout
    assert given in done.stdout
    for stage in ("preparing", "the runbook on target", "done"):
        assert f"s] {stage}" in done.stderr


def test_a_file_is_a_cluster_that_exists(copied: Path) -> None:
    """Its path starts where the script was called from."""
    (copied.parent / "lab.yaml").write_text("")
    done = type_in(copied, "--target", "lab.yaml")
    assert f"--fleet-target staging:{copied.parent}/lab.yaml" in done.stdout
    assert "-m staging" in done.stdout


def test_it_goes_on_only_for_the_same_source_and_target(copied: Path) -> None:
    """A failed run says how; another commit, a changed file or another target begins anew."""
    failed = type_in(copied, code=1)
    assert failed.returncode == 1
    assert "not proven; once it is mended:" in failed.stderr
    assert "--target embedded --resume" in failed.stderr
    assert "going on: 1 scenarios are proven already" in type_in(copied, "--resume").stderr
    assert "nothing is proven yet" in type_in(copied, "--target", "k3d", "--resume").stderr
    assert "going on" not in type_in(copied).stderr, "without --resume it begins anew"
    with (copied / "scripts" / "lib.sh").open("a") as file:
        file.write("# changed\n")
    assert "nothing is proven yet" in type_in(copied, "--resume").stderr


def test_when_all_is_proven_it_says_so(copied: Path) -> None:
    """pytest ends with 5 when nothing is left to run."""
    type_in(copied)
    done = type_in(copied, "--resume", code=5)
    assert done.returncode == 0
    assert "everything is proven already" in done.stderr


def test_tests_that_passed_are_left_out_and_the_others_are_not(pytester: pytest.Pytester) -> None:
    """Also when the run was killed: each is written down when it has ended."""
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(PLAIN)
    argv = (
        "--disable-plugin-autoload",
        "-p",
        "harness.pytest_plugin.plugin",
        "-p",
        "no:cacheprovider",
        "--fleet-resume",
        "proven",
    )
    pytester.runpytest_subprocess(*argv).assert_outcomes(passed=2, failed=1)
    pytester.mkdir("mended")
    pytester.runpytest_subprocess(*argv).assert_outcomes(passed=1, deselected=2)
    assert (pytester.path / "ran").read_text() == "one two three two "
    assert pytester.runpytest_subprocess(*argv).ret == pytest.ExitCode.NO_TESTS_COLLECTED
