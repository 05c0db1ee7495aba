"""The workflows call our scripts and nothing else, keep their reports, and hold no secret."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.repo.test_documents import ROOT

Json = dict[str, Any]

FOLDER = ROOT / ".github" / "workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))
_SCRIPT = re.compile(
    r"(?:sudo(?: --preserve-env=[A-Z_,]+)? )?(\./\S+)"
    r"((?: --[a-z]+| [a-z0-9]+| e2e/[a-z_]+\.py| \"\$\{\{ vars\.[A-Z_]+ \}\}\")*)"
)
_CLEAR = re.compile(
    r"(?i)(password|passwd|token|secret|api_?key)\s*[:=]\s*[\"']?(?!\$\{\{ secrets\.)[A-Za-z0-9+/_-]{6,}"
)


def read(path: Path) -> Json:
    return msgspec.yaml.decode(path.read_bytes())


def steps(path: Path) -> list[Json]:
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


def test_there_is_one_for_each_rhythm() -> None:
    assert [path.stem for path in WORKFLOWS] == [
        "ci",
        "nightly-k3d",
        "nightly-libvirt",
        "nightly-node",
        "nightly-order",
        "staging",
    ]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_is_whole_and_may_do_little(path: Path) -> None:
    """YAML takes the key `on` for a truth value, so it is looked for as both."""
    found = read(path)
    assert found["name"]
    assert "on" in found or True in found
    assert found["permissions"] == {"contents": "read"}
    assert found["concurrency"]
    for job in found["jobs"].values():
        assert job["runs-on"]
        assert 0 < job["timeout-minutes"] <= 120


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_calls_scripts_that_exist_and_can_be_run(path: Path) -> None:
    called = [step["run"] for step in steps(path) if "run" in step]
    assert called
    for line in called:
        found = _SCRIPT.fullmatch(line)
        assert found, f"{line!r} is more than a call of one of our scripts"
        script = ROOT / found[1]
        assert script.is_file(), f"{found[1]} does not exist"
        assert script.stat().st_mode & 0o111, f"{found[1]} cannot be executed"
        missing = [word for word in found[2].split() if word.endswith(".py") and not (ROOT / word).is_file()]
        assert not missing, f"{missing} do not exist"
        unknown = [word for word in re.findall(r"--[a-z]+", found[2]) if word not in script.read_text()]
        assert not unknown, f"{found[1]} knows no {unknown}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_it_holds_no_secret_in_clear(path: Path) -> None:
    assert not _CLEAR.search(path.read_text().replace("persist-credentials", ""))
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] is False


def test_the_pattern_for_secrets_finds_one() -> None:
    for text in ("token: ghp_abcdef123", 'PASSWORD="hunter22"', "api_key = 0123456789"):
        assert _CLEAR.search(text)
    assert not _CLEAR.search("token: ${{ secrets.STAGING }}")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_reports_are_kept_also_of_a_failed_run_and_compared_by_night(path: Path) -> None:
    uploads = [step for step in steps(path) if step.get("uses", "").startswith("actions/upload-artifact")]
    assert [step["with"]["path"] for step in uploads] == ["out/"]
    assert all(step["if"] == "always()" for step in uploads)
    if path.stem != "ci":
        assert uploads[0]["with"]["retention-days"] == 90
        assert all("FLEET_HISTORY" in job["env"] for job in read(path)["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_named_by_their_commit(path: Path) -> None:
    """A tag can be moved to other code; a commit cannot. The release stands behind it, for people."""
    named = re.findall(r"uses: (.+)", path.read_text())
    assert named
    assert not [name for name in named if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", name)]
