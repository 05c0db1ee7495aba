"""Agents are really built here: one file, the same bytes from the same sources, and it runs without this project."""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from fleet.artifacts import build as building
from fleet.artifacts.build import build
from fleet.artifacts.layer import Target, default_cache
from fleet.contract.errors import InvalidInput, NotPermitted, Unreachable
from fleet.contract.names import AgentVersion
from tests.support.agents import (
    TARGET,
    assert_the_key_is_refused,
    built,
    configure_without_a_key,
    interpreter,
)
from tests.support.full_disk import full_after


def run(artifact: Path, *arguments: str, root: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": "/usr/bin:/bin", "HOME": str(root), "SHIV_ROOT": str(root / "unpacked")}
    argv = [interpreter(), str(artifact), *arguments]
    return subprocess.run(argv, env=env, cwd=root, capture_output=True, text=True, timeout=60, check=False)


def test_a_disk_that_fills_up_leaves_no_half_an_agent(tmp_path: Path) -> None:
    made, out = tmp_path / "made", tmp_path / "out"
    made.write_bytes(bytes(8192))
    out.mkdir()
    with full_after(4096), pytest.raises(NotPermitted, match="cannot write") as error:
        building.hand_out(made, out / "fleet-agent-v0.1.1")
    assert "free space" in error.value.next_step
    assert list(out.iterdir()) == []
    building.hand_out(made, out / "fleet-agent-v0.1.1")
    assert [(one.read_bytes(), one.stat().st_mode & 0o777) for one in out.iterdir()] == [(bytes(8192), 0o755)]


def test_it_says_its_version(tmp_path: Path) -> None:
    assert run(built("v0.1.1"), "--version", root=tmp_path).stdout == "fleet-agent v0.1.1\n"
    assert run(built("v0.1.2"), "--version", root=tmp_path).stdout == "fleet-agent v0.1.2\n"


def test_the_same_sources_are_the_same_bytes(tmp_path: Path) -> None:
    """Whatever the umask of who builds, and the folder; another version is another file."""
    empty = tmp_path / "cache"
    empty.mkdir()
    for wheels in filter(Path.is_dir, default_cache().iterdir()):
        (empty / wheels.name).symlink_to(wheels)
    before = os.umask(0o077)
    try:
        again = build(AgentVersion("v0.1.1"), tmp_path, TARGET, cache=empty)
    finally:
        os.umask(before)
    assert again.read_bytes() == built("v0.1.1").read_bytes()
    assert again.read_bytes() != built("v0.1.2").read_bytes()


def test_a_build_of_the_same_sources_is_kept_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed line gives another agent, and the one before it is forgotten."""

    def built_again(*_: object) -> None:
        pytest.fail("it was built again")

    version = AgentVersion("v0.1.9")
    first = build(version, tmp_path, TARGET).read_bytes()
    kept = {*default_cache().glob(f"made-{version}-*")}
    with monkeypatch.context() as unable:
        unable.setattr(building, "_run_shiv", built_again)
        assert build(version, tmp_path, TARGET).read_bytes() == first
    with monkeypatch.context() as changed:
        changed.setattr(building, "_STAMP", 'VERSION = "{version}"  # changed\n')
        assert build(version, tmp_path, TARGET).read_bytes() != first
    assert len({*default_cache().glob(f"made-{version}-*")} - kept) == 1
    assert len({*default_cache().glob(f"made-{version}-*")}) == len(kept), "one of other packages may stand there, too"
    assert build(version, tmp_path, TARGET).read_bytes() == first


def test_it_needs_no_network_once_the_layer_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built("v0.1.1")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    assert build(AgentVersion("v0.1.3"), tmp_path, TARGET).exists()
    with pytest.raises(Unreachable, match="pip could not install"):
        build(AgentVersion("v0.1.3"), tmp_path, TARGET, cache=tmp_path / "cold")


def test_it_holds_what_an_agent_needs_and_no_more() -> None:
    with zipfile.ZipFile(built("v0.1.1")) as archive:
        parts = {Path(name).parts[1] for name in archive.namelist() if name.startswith("site-packages/")}
        ours = {Path(name).parts[2] for name in archive.namelist() if name.startswith("site-packages/fleet/")}
    assert {"fleet", "nats", "cryptography", "msgspec"} <= parts
    assert not {"kubernetes", "typer", "shiv", "pip", "bin"} & parts
    assert not {"operator", "callout", "cli", "scores", "topology"} & ours


def test_its_helper_processes_find_their_modules(tmp_path: Path) -> None:
    """A key that is none is refused by the process that reads keys, with the compiled library that this needs."""
    configure_without_a_key(tmp_path)
    done = run(built("v0.1.1"), "--self-test", "--root", str(tmp_path), root=tmp_path)
    assert_the_key_is_refused(done)


@pytest.mark.parametrize(
    ("target", "named"),
    [(Target(("vax",)), "vax"), (Target(pythons=("2.7",)), "2.7"), (Target(()), "nothing")],
    ids=["architecture", "python", "none"],
)
def test_a_target_that_nobody_has(target: Target, named: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=named):
        build(AgentVersion("v0.1.1"), tmp_path, target)


def test_where_nothing_can_be_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match="no folder"):
        build(AgentVersion("v0.1.1"), tmp_path / "nowhere", TARGET)
    monkeypatch.setattr(building, "_PINS", Path("requirements/none.txt"))
    with pytest.raises(InvalidInput, match="checkout"):
        build(AgentVersion("v0.1.1"), tmp_path, TARGET)
