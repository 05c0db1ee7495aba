"""One real embedded world: what a scenario may count on before it installs anything."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from fleet.contract.buckets import DEVICE_INFO
from harness.binaries import resolve_all
from harness.engine.client import EngineClient
from harness.engine.select import double_engine
from harness.errors import HarnessError, Misused, Unanswered
from harness.images import IMAGE
from harness.images.private_registry import Place
from harness.probes.engine import DEVICE_LABEL, EngineProbe
from harness.targets.embedded import embedded, remove_containers
from harness.wait import wait_until
from harness.world import folders
from harness.world.shared_resources import Handed, Missing, SharedResources, from_json, to_json
from harness.world.world import World

NO_ENGINE = "/nonexistent/engine.sock"


@pytest.fixture(scope="module")
def world() -> Generator[World]:
    """Module: a world without an engine, for nothing here runs a container."""
    shared = SharedResources(resolve_all(), NO_ENGINE, "none")
    with embedded(shared, run_id="abcdef", worker="gw7") as made:
        yield made
    assert not made.root.exists()
    assert folders.members(made.root) == []


def test_it_is_sound_and_bare(world: World) -> None:
    """Three servers of others, and no fleet."""
    assert world.problems() == []
    assert sorted(world.components()) == ["etcd", "kube-apiserver", "zitadel"]
    assert world.kube.server() is None
    with pytest.raises(Misused, match="no fleet server is installed in fleet-system"):
        world.nats.raw(DEVICE_INFO, "pi-1")


def test_an_operators_shell_has_what_it_needs(world: World) -> None:
    """kubectl works with nothing but the world's environment, and tells its version."""
    shown = subprocess.run(["kubectl", "version"], env=world.env, capture_output=True, text=True, check=False)
    assert "Server Version: v1.35.4" in shown.stdout
    assert world.admin_token_file.stat().st_mode & 0o077 == 0
    assert Path(world.env["KUBECONFIG"]).stat().st_mode & 0o077 == 0


def test_permissions_are_real(world: World) -> None:
    """A ServiceAccount without a role may do nothing; anonymous callers neither."""
    argv = ["kubectl", "auth", "can-i", "list", "secrets", "--as", "system:serviceaccount:default:nobody"]
    answer = subprocess.run(argv, env=world.env, capture_output=True, text=True, check=False)
    assert answer.stdout.strip() == "no"


def test_a_restarted_api_server_keeps_its_data_and_its_port(world: World) -> None:
    """While it is away, a look says so, and a wait goes on."""
    world.kube.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kept"}})
    world.stop("kube-apiserver")
    with pytest.raises(Unanswered, match="Connection refused"):
        world.kube.get("/api/v1/namespaces/kept")
    world.start("kube-apiserver")
    wait_until(lambda: world.kube.get("/api/v1/namespaces/kept"), "the namespace is still there", timeout=30)
    assert world.problems() == []


def test_names_are_labels_of_this_run_and_worker(world: World) -> None:
    """At most 63 characters, or refused."""
    assert world.unique("pi").startswith("pi-abcd7-")
    with pytest.raises(Misused, match="too long to be made unique"):
        world.unique("x" * 60)


def test_it_ends_with_an_owner_that_is_killed(tmp_path: Path) -> None:
    """kill -9 of the process that made it: every server of it is gone within seconds."""
    code = (
        "import sys, time, pathlib; from harness.targets.embedded import embedded; from harness.binaries import *\n"
        "from harness.processes.spec import write_atomic; from harness.world.shared_resources import SharedResources\n"
        f"with embedded(SharedResources(resolve_all(), {NO_ENGINE!r}, 'none'), run_id='r', worker='main') as world:\n"
        f"    write_atomic(pathlib.Path({str(tmp_path / 'root')!r}), str(world.root).encode())\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as owner:
        wait_until((tmp_path / "root").exists, "the other world is there", timeout=120)
        root = Path((tmp_path / "root").read_text())
        assert len(folders.members(root)) == 4, "a supervisor and three servers"
        owner.kill()
    wait_until(lambda: folders.members(root), "nothing is left", timeout=30, until=lambda left: not left)

    def swept() -> bool:
        folders.sweep()
        return not root.exists()

    wait_until(swept, "whoever comes next has removed its folder", timeout=30)


def test_a_kept_world_outlives_its_owner_without_a_warning_until_it_is_ended() -> None:
    code = (
        "from harness.targets.embedded import embedded; from harness.binaries import *\n"
        "from harness.world.shared_resources import SharedResources; from harness.world.keep import ALWAYS\n"
        f"made = SharedResources(resolve_all(), {NO_ENGINE!r}, 'none')\n"
        "with embedded(made, run_id='r', worker='main', keep=ALWAYS) as world: print(world.root)\n"
    )
    owner = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (owner.returncode, owner.stderr) == (0, "")
    root = Path(owner.stdout.strip())
    folders.sweep()
    assert len(folders.members(root)) == 4, "nobody sweeps it away"
    ended = subprocess.run([sys.executable, "-m", "harness.processes.supervisor", "--end", str(root)], check=False)
    assert ended.returncode == 0
    assert not folders.members(root)
    assert not root.exists()


def test_what_the_controller_hands_over_arrives_whole() -> None:
    """SharedResources, or the reason why there are none."""
    place = Place("10.213.0.1", Path("/tls/registry.crt"), Path("/tls/registry.key"), Path("/tls/ca.crt"))
    shared = SharedResources({"etcd": Path("/bin/etcd")}, "/run/docker.sock", "docker 20.10", image_registry=place)
    assert from_json(to_json(Handed(shared=shared))).open() == shared
    missing = Handed(missing=Missing("no Go", "install it"))
    with pytest.raises(HarnessError, match=r"no Go\n  next: install it"):
        from_json(to_json(missing)).open()


def test_containers_of_a_worlds_devices_go_with_it_and_no_others(tmp_path: Path) -> None:
    """An engine outlives the worlds that use it."""
    for name in ("gone-1", "gone-2"):
        (tmp_path / "devices" / name / "run").mkdir(parents=True)
    with double_engine() as engine, contextlib.closing(EngineProbe(engine.socket)) as probe:
        with contextlib.closing(EngineClient(engine.socket)) as client:
            for device in ("gone-1", "gone-2", "stays"):
                body = {"Image": IMAGE, "Cmd": ["sleep", "1000"], "Labels": {DEVICE_LABEL: device}}
                assert client.call("POST", "/containers/create", json=body).status_code == 201
        for name in ("gone-1", "gone-2"):
            (tmp_path / "devices" / name / "run" / "docker.sock").symlink_to(engine.socket)
        remove_containers(tmp_path)
        assert [len(probe.containers(device)) for device in ("gone-1", "gone-2", "stays")] == [0, 0, 1]
