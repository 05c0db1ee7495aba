"""`fleet deployment apply|list|show|delete` with a real API server; the test plays the operator."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet.cli.workloads import Blocker, named
from fleet.contract.objects import API_VERSION, FINALIZER, FleetDeployment, Strategy, StrategyType
from fleet.contract.wire import Container, Health, Port, Protocol, Restart, from_builtins
from harness.probes.kube import KubeProbe, container_of
from harness.wait import wait_until
from tests.cli.conftest import Background, Fleet, Place
from tests.support.kube import Kube

APPLY = ("deployment", "apply", "--name", "web", "--image", "nginx:1.27", "--selector", "group=g")
Start = Callable[..., Background]


@pytest.fixture(autouse=True)
def server(installed: Place) -> Place:
    return installed


@pytest.fixture
def says(kube: Kube, namespace: str) -> Callable[..., None]:
    """The operator writes a status: counts, the images in the deployment, and the condition `Ready`."""

    def write(status: str, reason: str, *, generation: int = 1, ready: int = 0, failed: int = 0) -> None:
        condition = {
            "type": "Ready",
            "status": status,
            "reason": reason,
            "message": "pi-2: ImageNotFound" if failed else "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": generation,
        }
        counts = {"observedGeneration": generation, "matched": 2, "updated": 2, "ready": ready, "failed": failed}
        told = {**counts, "workloadImages": "nginx:1.27", "conditions": [condition]}
        patch = json.dumps({"status": told})
        words = ("fleetdeployment", "web", "--subresource=status", "--type=merge", "-p", patch)
        kube.kubectl("-n", namespace, "patch", *words)

    return write


def test_every_option_reaches_the_object(fleet: Fleet, probe: KubeProbe) -> None:
    answer = fleet(
        *APPLY,
        *("--command", "sh -c 'echo \"a b\"'"),
        *("--env", "A=1", "--env", "B=x=y", "--env", "EMPTY="),
        *("--port", "8080:80", "--port", "53:53/udp"),
        *("--restart", "always"),
        *("--health-command", "test -e /ok", "--health-interval", "0.5"),
        *("--selector", "site=lab", "--selector", "room=a"),
        *("--rolling", "2"),
    )
    assert answer.code == 0, answer.err
    found = probe.deployment("web")
    assert found is not None
    assert found.spec.workload == Container(
        "nginx:1.27",
        command=("sh", "-c", 'echo "a b"'),
        env={"A": "1", "B": "x=y", "EMPTY": ""},
        ports=(Port(8080, 80), Port(53, 53, Protocol.UDP)),
        restart=Restart.ALWAYS,
        health=Health(("test", "-e", "/ok"), interval=0.5),
    )
    assert found.spec.selector.match_labels == {"group": "g", "site": "lab", "room": "a"}
    assert found.spec.strategy == Strategy(StrategyType.ROLLING, 2)


def test_a_repeat_changes_nothing_and_a_change_does(fleet: Fleet, probe: KubeProbe) -> None:
    assert fleet(*APPLY, "-o", "json").json["changed"] is True
    assert fleet(*APPLY, "-o", "json").json["changed"] is False
    assert "nothing changed" in fleet(*APPLY).out
    assert fleet(*APPLY, "--env", "A=1", "-o", "json").json["changed"] is True
    found = probe.deployment("web")
    assert found is not None
    assert found.metadata.generation == 2


def test_what_show_prints_can_be_applied(fleet: Fleet, says: Callable[..., None]) -> None:
    fleet(*APPLY, "--env", "A=1")
    says("True", "AllReady", ready=2)
    Path("web.json").write_text(fleet("deployment", "show", "web", "-o", "json").out)
    answer = fleet("deployment", "apply", "--file", "web.json", "-o", "json")
    assert answer.code == 0, answer.err
    assert answer.json["changed"] is False


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--image", "https://r.example/a:1"), "leave out 'https://'"),
        (("--image", "a", "--port", "80:1", "--port", "80:2"), "port 80/tcp of the device is named 2 times"),
    ],
)
def test_an_option_that_no_engine_can_carry_out_is_refused(fleet: Fleet, options: tuple[str, ...], why: str) -> None:
    answer = fleet("deployment", "apply", "--name", "web", *options)
    assert answer.code == 2
    assert why in answer.err
    assert "next: " in answer.err


def test_a_file_and_options_do_not_mix(fleet: Fleet) -> None:
    Path("web.json").write_text(
        '{"metadata": {"name": "web"}, "spec": {"workload": {"type": "container", "image": "x"}}}'
    )
    answer = fleet("deployment", "apply", "--file", "web.json", "--image", "y", "--env", "A=1", "--restart", "no")
    assert answer.code == 2
    assert "so --image, --env, --restart would be ignored" in answer.err


def test_what_another_manager_owns_is_a_conflict(fleet: Fleet, kube: Kube, namespace: str, probe: KubeProbe) -> None:
    fleet(*APPLY)
    theirs = {
        "apiVersion": "fleet.nationtech.io/v1alpha1",
        "kind": "FleetDeployment",
        "metadata": {"name": "web"},
        "spec": {"workload": {"type": "container", "image": "theirs"}},
    }
    words = ("apply", "--server-side", "--force-conflicts", "--field-manager", "argocd", "-f", "-")
    kube.kubectl("-n", namespace, *words, stdin=json.dumps(theirs))
    answer = fleet(*APPLY)
    assert answer.code == 5
    assert "argocd set these fields" in answer.err
    found = probe.deployment("web")
    assert found is not None
    assert container_of(found).image == "theirs"


def test_wait_ends_when_the_operator_says_ready(start: Start, says: Callable[..., None], probe: KubeProbe) -> None:
    command = start(*APPLY, "--wait", "--output", "json")
    wait_until(lambda: probe.deployment("web"), "the object is there", timeout=30)
    says("False", "InProgress", ready=1)
    says("True", "AllReady", ready=2)
    answer = command.answer()
    assert answer.code == 0, answer.err
    assert from_builtins(answer.json, FleetDeployment).status.ready == 2
    assert answer.err.splitlines()[0] == "web: waiting up to 60 s for 0 devices to run it"
    assert "web: NotYetSeen" in answer.err


def test_wait_does_not_believe_a_status_of_the_generation_before(fleet: Fleet, says: Callable[..., None]) -> None:
    fleet(*APPLY)
    says("True", "AllReady", generation=1, ready=2)
    answer = fleet(*APPLY, "--env", "A=1", "--wait", "--timeout", "0.5")
    assert answer.code == 8
    assert "after 0.5 s; not yet seen by the operator" in answer.err
    assert "next: wait; if it lasts, see `fleet server status`" in answer.err
    assert "2 ready" not in answer.err
    assert "fleet deployment show web" in answer.err


def test_wait_ends_at_once_when_devices_failed(fleet: Fleet, says: Callable[..., None]) -> None:
    fleet(*APPLY)
    says("False", "DevicesFailed", ready=1, failed=1)
    answer = fleet(*APPLY, "--wait", "--timeout", "30")
    assert answer.code == 1
    assert "1 failed" in answer.err
    assert "pi-2: ImageNotFound" in answer.err


def test_a_list_and_one(fleet: Fleet, says: Callable[..., None]) -> None:
    assert fleet("deployment", "list").out == "no deployments\n"
    assert fleet("deployment", "list", "-o", "json").json == []
    fleet(*APPLY)
    says("False", "InProgress", ready=1)
    lines = fleet("deployment", "list").out.splitlines()
    assert lines[0].split() == ["NAME", "IMAGE", "MATCHED", "UPDATED", "READY", "FAILED", "REASON"]
    assert lines[1].split() == ["web", "nginx:1.27", "2", "2", "1", "0", "InProgress"]
    (item,) = fleet("deployment", "list", "-o", "json").json
    assert from_builtins(item, FleetDeployment).name == "web"
    assert "Ready:" in fleet("deployment", "show", "web").out


def test_nothing_prints_the_counts_of_the_generation_before(
    fleet: Fleet, says: Callable[..., None], kube: Kube, namespace: str
) -> None:
    created = fleet(*APPLY)
    assert re.fullmatch(r"web: changed; not yet seen by the operator; change [0-9a-f]{12}\n", created.out)
    says("True", "AllReady", ready=2)
    changed = fleet(*APPLY, "--env", "A=1")
    first, *changes = changed.out.splitlines()
    assert first.startswith("web: changed; not yet seen by the operator; change ")
    assert changes == ['  spec.workload.env.A: (none) → "1"']
    as_json = [
        fleet(*APPLY, "--env", "A=1", "-o", "json").json,
        fleet("deployment", "show", "web", "-o", "json").json,
        *fleet("deployment", "list", "-o", "json").json,
    ]
    for item in as_json:
        assert item["status"].keys() - {"blockers"} == {"observedGeneration", "conditions"}
        assert item["status"]["observedGeneration"] == 1
        assert [(one["status"], one["reason"]) for one in item["status"]["conditions"]] == [("Unknown", "NotYetSeen")]
    row = fleet("deployment", "list").out.splitlines()[1].split()
    assert row == ["web", "nginx:1.27", "-", "-", "-", "-", "NotYetSeen"]
    shown = fleet("deployment", "show", "web").out
    assert "devices:    not yet seen by the operator" in shown
    assert "Unknown (NotYetSeen) generation 2 is not yet seen by the operator; of generation 1 it said True" in shown
    words = kube.kubectl("-n", namespace, "get", "fleetdeployments")
    assert words.splitlines()[0].split()[:4] == ["NAME", "IMAGE", "GENERATION", "SEEN"]
    assert words.splitlines()[1].split()[:4] == ["web", "nginx:1.27", "2", "1"]


def test_wait_names_who_blocks_at_its_end_and_what_to_do(
    fleet: Fleet, says: Callable[..., None], kube: Kube, namespace: str
) -> None:
    for number in range(7):
        item = {
            "apiVersion": API_VERSION,
            "kind": "Device",
            "metadata": {"name": f"pi-{number}", "labels": {"group": "g"}},
            "spec": {},
        }
        kube.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(item))
        workload = {"name": "web", "phase": "Pending", "reason": "Pulling", "generation": 1}
        condition = {"type": "Online", "status": "True", "reason": "", "message": "", "lastTransitionTime": "x"}
        status = {"workloads": [workload], "deployments": 1, "conditions": [condition]}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        kube.kubectl("-n", namespace, "patch", "device", f"pi-{number}", *patch)
    fleet(*APPLY)
    says("False", "InProgress", ready=1)
    answer = fleet(*APPLY, "--wait", "--timeout", "0.3")
    assert answer.code == 8
    assert "web: waiting up to 0.3 s for 7 devices to run it" in answer.err
    assert "web: InProgress" in answer.err
    blocking = "; ".join(f"pi-{number}: Pending (Pulling)" for number in range(5))
    assert f"2 matched, 2 updated, 1 ready, 0 failed; {blocking}; and 2 more" in answer.err
    assert "next: pi-0: wait; if it lasts, can the device reach the registry?" in answer.err
    assert "`fleet deployment show web`" in answer.err


def test_show_names_every_device_that_fails_or_waits_and_why(
    fleet: Fleet, says: Callable[..., None], kube: Kube, namespace: str
) -> None:
    fleet(*APPLY[:-1], "site=lab")
    says("False", "DevicesFailed", failed=1)
    told = {
        "pi-1": ("True", {"phase": "Running", "reason": "Started", "generation": 1}),
        "pi-2": ("True", {"phase": "Failed", "reason": "PortInUse", "generation": 1, "message": "port 80 is taken"}),
        "pi-3": ("False", {"phase": "Pending", "reason": "Pulling", "generation": 1}),
        "pi-4": ("True", {"phase": "Running", "reason": "Started", "generation": 0}),
        "pi-5": ("True", None),
        "pi-7": ("True", {"phase": "Failed", "reason": "SecretMissing", "generation": 0, "message": "no Secret db"}),
        "pi-8": ("False", {"phase": "Pending", "reason": "KeyNotTold", "generation": 0, "message": "it takes secrets"}),
        "pi-6": ("True", {"phase": "Running", "reason": "StateNotSaved", "generation": 1, "message": "disk full"}),
        "home": ("True", None),
    }
    for name, (online, workload) in told.items():
        metadata = {"name": name, "labels": {"site": "home" if name == "home" else "lab"}}
        item = {"apiVersion": API_VERSION, "kind": "Device", "metadata": metadata, "spec": {}}
        kube.kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(item))
        reason = "HeartbeatReceived" if online == "True" else "HeartbeatMissed"
        condition = {"type": "Online", "status": online, "reason": reason, "message": "", "lastTransitionTime": "x"}
        workloads = [{"name": "web", "since": "2026-01-01T00:00:00Z", **workload}] if workload else []
        status = {"workloads": workloads, "deployments": len(workloads), "conditions": [condition]}
        patch = ("--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
        kube.kubectl("-n", namespace, "patch", "device", name, *patch)
    shown = fleet("deployment", "show", "web")
    assert shown.out.splitlines()[-7:] == [
        "pi-2: Failed (PortInUse) port 80 is taken",
        "pi-6: Running (StateNotSaved) disk full",
        "pi-7: Failed (SecretMissing) no Secret db",
        "pi-3: Pending (HeartbeatMissed) it said Pulling last",
        "pi-4: Pending (NotBegun) its order is of generation 0",
        "pi-5: Pending (NotBegun)",
        "pi-8: Pending (HeartbeatMissed) it takes secrets",
    ]
    found = fleet("deployment", "show", "web", "-o", "json").json["status"]["blockers"]
    assert [one["device"] for one in found] == ["pi-2", "pi-6", "pi-7", "pi-3", "pi-4", "pi-5", "pi-8"]
    assert found[0] == {"device": "pi-2", "phase": "Failed", "reason": "PortInUse", "message": "port 80 is taken"}
    row = next(line for line in fleet("device", "show", "pi-2").out.splitlines() if line.startswith("web "))
    assert row.split() == ["web", "Failed", "PortInUse", "2026-01-01T00:00:00Z", "-", "port", "80", "is", "taken"]


def test_the_devices_that_are_named_are_bounded() -> None:
    many = [Blocker(f"pi-{number}", "Pending", "Pulling") for number in range(233)]
    assert named(many)[-1] == "and 213 more: see --output json"
    assert len(named(many)) == 21
    assert named(many[:20])[-1] == "pi-19: Pending (Pulling)"


@pytest.mark.parametrize("verb", ["show", "delete"])
def test_a_deployment_that_is_not_there(fleet: Fleet, verb: str) -> None:
    answer = fleet("deployment", verb, "web")
    assert answer.code == 4
    assert "'web'" in answer.err
    assert "fleet deployment list" in answer.err


def test_a_deletion_waits_for_the_operator(
    start: Start, fleet: Fleet, kube: Kube, namespace: str, probe: KubeProbe
) -> None:
    fleet(*APPLY)
    patch = ("patch", "fleetdeployment", "web", "--type=merge", "-p")
    kube.kubectl("-n", namespace, *patch, json.dumps({"metadata": {"finalizers": [FINALIZER]}}))
    command = start("deployment", "delete", "web", "--output", "json")

    def leaving() -> bool:
        found = probe.deployment("web")
        return found is not None and found.metadata.deletion_timestamp is not None

    wait_until(leaving, "the object is leaving", timeout=30)
    assert not command.answers
    kube.kubectl("-n", namespace, *patch, '{"metadata": {"finalizers": null}}')
    assert command.answer().json == {"deployment": "web", "deleted": True}
    assert probe.deployment("web") is None
