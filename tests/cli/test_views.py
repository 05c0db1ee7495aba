"""`--output wide|yaml|name` and `--watch`, with a real API server; the test plays the operator."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from fleet.contract.errors import NotPermitted
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.wire import from_builtins
from fleet.kube import following
from fleet.kube.client import KubeClient
from fleet.kube.following import Change, Following
from harness.probes.kube import container_of
from harness.wait import WaitTimeout
from tests.cli.conftest import Fleet, Place
from tests.cli.test_main import FLEET
from tests.support.kube import Kube

APPLY = ("deployment", "apply", "--name", "web", "--image", "nginx:1.27", "--selector", "group=g")
Says = Callable[..., None]
MakeDevice = Callable[[str], None]


def test_devices_in_every_form(fleet: Fleet, device: MakeDevice, says: Says, kube: Kube, namespace: str) -> None:
    device("pi-1")
    device("pi-2")
    info = {"agentVersion": "v0.1.0", "arch": "aarch64", "os": "Debian 12", "kernel": "6", "memory": 1, "disk": 1}
    info |= {"bootId": "b", "engine": "Engine 28", "diskUsage": {"free": 300 * 2**20, "floor": 1}}
    patch = json.dumps({"status": {"info": info, "deployments": 3, "lastHeartbeat": "2026-01-01T00:00:00Z"}})
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--subresource=status", "--type=merge", "-p", patch)
    narrow, wide = (fleet("device", "list", "-o", view).out.splitlines() for view in ("table", "wide"))
    assert [line.rstrip() for line in narrow] == [line[: len(narrow[0])].rstrip() for line in wide]
    assert wide[0].split()[-5:] == ["SYSTEM", "ENGINE", "HEARD", "WORKLOADS", "FREE"]
    assert "Debian 12 aarch64  Engine 28  2026-01-01T00:00:00Z  3          300 MiB" in wide[1]
    names = fleet("device", "list", "-o", "name").out.splitlines()
    assert names == ["device.fleet.nationtech.io/pi-1", "device.fleet.nationtech.io/pi-2"]
    assert kube.kubectl("-n", namespace, "get", *names, "-o", "name").splitlines() == names, "kubectl takes them"
    assert yaml.safe_load(fleet("device", "list", "-o", "yaml").out) == fleet("device", "list", "-o", "json").json
    assert fleet("device", "show", "pi-1", "-o", "name").out.splitlines() == names[:1]
    shown = fleet("device", "show", "pi-1", "-o", "yaml").out
    assert from_builtins(yaml.safe_load(shown), Device).metadata.name == "pi-1"
    told = fleet("device", "show", "pi-1", "--output", "wide").out
    for word in ("generation:", "uid:", "namespace:", "subject:", "machine key:"):
        assert word in told
        assert word not in fleet("device", "show", "pi-1").out
    assert fleet("device", "list", "-o", "xml").code == 2


@pytest.mark.usefixtures("installed")
def test_deployments_in_every_form(fleet: Fleet, kube: Kube, namespace: str) -> None:
    assert fleet("deployment", "list", "-o", "name").out == ""
    assert yaml.safe_load(fleet("deployment", "list", "-o", "yaml").out) == []
    assert fleet(*APPLY, "--env", "A=1").code == 0
    wide = fleet("deployment", "list", "-o", "wide").out.splitlines()
    assert wide[0].split()[-4:] == ["SELECTOR", "STRATEGY", "PAUSED", "RUNS"]
    assert wide[1].split()[-4:] == ["group=g", "AllAtOnce", "no", "-"]
    (name,) = fleet("deployment", "list", "-o", "name").out.splitlines()
    assert name == kube.kubectl("-n", namespace, "get", "fleetdeployment", "web", "-o", "name").strip()
    assert fleet("deployment", "show", "web", "-o", "name").out.strip() == name
    shown = yaml.safe_load(fleet("deployment", "show", "web", "-o", "yaml").out)
    assert container_of(from_builtins(shown, FleetDeployment)).env == {"A": "1"}
    assert "env.A: 1" in fleet("deployment", "show", "web", "-o", "wide").out.replace('"', "")


class Watching:
    """A `fleet … --watch` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))

    def next(self) -> str:
        try:
            return self.lines.get(timeout=30)
        except queue.Empty:
            raise WaitTimeout("the watch prints a line", 30, "nothing") from None


@contextmanager
def watching(kube: Kube, namespace: str, *words: str) -> Generator[Watching]:
    """Ended by Ctrl-C, which is a clean end."""
    env = {**os.environ, "KUBECONFIG": str(kube.kubeconfig), "FLEET_NAMESPACE": namespace}
    argv = [FLEET, *words, "--watch"]
    process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield Watching(process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        # For a moment after a definition changed the API server answers 429, and a person is told.
        said = [line for line in err.splitlines() if not line.startswith("waiting: ")]
        assert (process.returncode, said) == (0, [])
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream
            stream.close()


def test_a_device_that_changes_is_told_again(device: MakeDevice, says: Says, kube: Kube, namespace: str) -> None:
    device("pi-1")
    with watching(kube, namespace, "device", "list", "--selector", "!hidden") as watch:
        assert watch.next().split()[:2] == ["ID", "ONLINE"]
        assert watch.next().split()[:3] == ["pi-1", "Unknown", "NotYetSeen"]
        says("pi-1", "Online", "True", "HeartbeatReceived")
        assert watch.next().split()[:3] == ["pi-1", "True", "HeartbeatReceived"]
        # What the table does not show is no reason for a row.
        kube.kubectl("-n", namespace, "annotate", "device", "pi-1", "note=x")
        kube.kubectl("-n", namespace, "label", "device", "pi-1", "site=lab")
        assert watch.next().split()[-1] == "site=lab"
        kube.kubectl("-n", namespace, "label", "device", "pi-1", "hidden=yes")
        assert watch.next().endswith("  deleted")


@pytest.mark.usefixtures("installed")
def test_programs_watch_objects(fleet: Fleet, kube: Kube, namespace: str) -> None:
    with watching(kube, namespace, "deployment", "list", "-o", "json") as watch:
        assert fleet(*APPLY).code == 0
        first = json.loads(watch.next())
        assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "web")
        kube.kubectl("-n", namespace, "annotate", "fleetdeployment", "web", "note=x")
        second = json.loads(watch.next())
        assert (second["type"], second["object"]["metadata"]["annotations"]["note"]) == ("MODIFIED", "x")
        kube.kubectl("-n", namespace, "delete", "fleetdeployment", "web")
        assert json.loads(watch.next())["type"] == "DELETED"


def test_a_watch_without_a_server_says_so(fleet: Fleet, namespace: str) -> None:
    del namespace
    answer = fleet("device", "list", "--watch")
    assert answer.code != 0
    assert "fleet server install" in answer.err


def item(name: str, version: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "resourceVersion": version}}


def event(kind: str, name: str, version: str) -> bytes:
    return json.dumps({"type": kind, "object": item(name, version)}).encode()


class Scripted:
    """A server: each list, and what a watch after it tells; an error ends that watch."""

    def __init__(self, *steps: tuple[list[dict[str, Any]], list[bytes | Exception]]) -> None:
        self._steps = iter(steps)
        self._events: list[bytes | Exception] = []

    def request(self, _method: str, _path: str) -> dict[str, Any]:
        items, self._events = next(self._steps)
        return {"metadata": {"resourceVersion": "7"}, "items": items}

    def lines(self, path: str, _lasts: float, _refused: object) -> Iterator[bytes]:
        assert "resourceVersion=7" in path
        for one in self._events:
            if isinstance(one, Exception):
                raise one
            yield one


def followed(monkeypatch: pytest.MonkeyPatch, server: Scripted) -> Following:
    def nothing(_: object) -> None:
        """Neither a kubeconfig, nor a pause."""

    def connected(_: object) -> Scripted:
        return server

    monkeypatch.setattr(following, "access", nothing)
    monkeypatch.setattr(following, "KubeConnection", connected)
    monkeypatch.setattr(following, "time", SimpleNamespace(sleep=nothing))
    return Following(server, "Device", "here")  # pyright: ignore[reportArgumentType]


def test_after_a_watch_that_ended_only_what_differs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"type": "ERROR", "object": {"kind": "Status", "code": 410}}
    server = Scripted(
        ([item("b", "2"), item("a", "1")], [event("MODIFIED", "a", "3"), ConnectionResetError()]),
        ([item("a", "3"), item("c", "4")], [json.dumps(gone).encode(), event("ADDED", "x", "9")]),
        ([item("a", "5"), item("c", "4")], [event("DELETED", "c", "6"), b'{"type": "ADD']),
        ([item("a", "5")], []),
    )
    told = followed(monkeypatch, server).changes()
    assert next(told) == [Change(item("a", "1")), Change(item("b", "2"))]
    assert next(told) == [Change(item("a", "3"))]
    assert next(told) == [Change(item("b", "2"), deleted=True), Change(item("c", "4"))]
    assert next(told) == [Change(item("a", "5"))]
    assert next(told) == [Change(item("c", "6"), deleted=True)]
    assert next(told) == []


def test_who_may_list_and_not_watch_is_told(
    installed: Place, kube: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del installed
    user = kube.service_account(namespace, "lister")
    kube.kubectl("-n", namespace, "create", "role", "lister", "--verb=list", "--resource=devices.fleet.nationtech.io")
    kube.kubectl("-n", namespace, "create", "rolebinding", "l", "--role=lister", f"--serviceaccount={namespace}:lister")
    monkeypatch.setenv("KUBECONFIG", str(user))
    told = Following(KubeClient(), "Device", namespace).changes()
    assert next(told) == []
    with pytest.raises(NotPermitted, match="watch"):
        next(told)
