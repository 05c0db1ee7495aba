"""What is said to k3d and docker, by a stand-in on the PATH that writes it down; no cluster is made."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.errors import TargetUnavailable
from harness.processes.spawn import python_script
from harness.targets.k3d import K3d, k3d

RECORDER = """
import json, os, sys
words = sys.argv[1:]
with open(os.environ["SAID"], "a") as said:
    said.write(json.dumps(words) + "\\n")
answer = json.loads(os.environ["ANSWERS"]).get(" ".join(words[:3]), ["", "", 0])
sys.stdout.write(answer[0])
sys.stderr.write(answer[1])
sys.exit(answer[2])
"""


class Said:
    """The stand-ins, what they answer, and what was said to them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._file, self._patch = folder / "said", monkeypatch
        for name in ("k3d", "docker"):
            (folder / name).write_text(python_script("-c", RECORDER, name))
            (folder / name).chmod(0o755)
        monkeypatch.setenv("SAID", str(self._file))
        monkeypatch.setenv("FLEET_ZITADEL_IMAGE", "zitadel:v4")
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        self.answers()

    def answers(self, **by_command: tuple[str, str, int]) -> None:
        named = {name.replace("_", " "): answer for name, answer in by_command.items()}
        self._patch.setenv("ANSWERS", json.dumps(named))

    def lines(self) -> list[str]:
        return [" ".join(json.loads(line)) for line in self._file.read_text().splitlines()]


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    return Said(tmp_path, monkeypatch)


def test_a_cluster_is_made_on_loopback_and_the_users_own_kubeconfig_stays(said: Said, tmp_path: Path) -> None:
    said.answers(k3d_kubeconfig_get=("apiVersion: v1\n", "", 0))
    K3d("fleet-a1").create(20001, 20002, tmp_path / "kubeconfig")
    assert said.lines() == [
        "k3d cluster create fleet-a1 --servers=1 --wait --timeout=300s --api-port=127.0.0.1:20001"
        " --port=127.0.0.1:20002:30422@loadbalancer --kubeconfig-update-default=false"
        " --kubeconfig-switch-context=false --k3s-arg=--disable=traefik@server:0"
        " --k3s-arg=--disable=metrics-server@server:0",
        "k3d kubeconfig get fleet-a1",
    ]
    assert (tmp_path / "kubeconfig").read_text() == "apiVersion: v1\n"
    assert (tmp_path / "kubeconfig").stat().st_mode & 0o077 == 0


def test_images_are_brought_in_from_the_side(said: Said) -> None:
    K3d("fleet-a1").load([Path("/a/fleet.tar"), Path("/a/nats.tar")])
    assert said.lines() == ["k3d image import --cluster=fleet-a1 /a/fleet.tar /a/nats.tar"]


def test_the_gateway_is_asked_of_docker(said: Said) -> None:
    said.answers(docker_network_inspect=("172.19.0.1\n", "", 0))
    assert K3d("fleet-a1").gateway() == "172.19.0.1"
    assert said.lines() == ["docker network inspect k3d-fleet-a1 --format={{(index .IPAM.Config 0).Gateway}}"]


def test_a_failure_shows_the_command_and_its_words(said: Said) -> None:
    said.answers(k3d_cluster_create=("", "FATA[0000] Failed to create cluster: port is already allocated\n", 1))
    with pytest.raises(TargetUnavailable, match=r"(?s)`k3d cluster create fleet-a1 .*port is already allocated"):
        K3d("fleet-a1").create(20001, 20002, Path("unused"))


def test_a_cluster_that_failed_to_come_up_is_removed_again(said: Said) -> None:
    """Whatever k3d had made before it failed."""
    said.answers(k3d_cluster_create=("", "no space left on device\n", 1))
    with pytest.raises(TargetUnavailable, match="no space left"), k3d(run_id="r", worker="main"):
        pass
    created, deleted = said.lines()
    name = created.split()[3]
    assert deleted == f"k3d cluster delete {name}"


def test_without_k3d_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("FLEET_ZITADEL_IMAGE", raising=False)
    with (
        pytest.raises(
            TargetUnavailable,
            match=r"needs docker, which is not on the PATH; k3d, .*; kubectl, .*; FLEET_ZITADEL_IMAGE",
        ),
        k3d(run_id="r", worker="main"),
    ):
        pass
