"""A pod at the command line: from a file, shown, changed as a whole, started anew, and made of a container."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.contract.crd import deployment_crd
from fleet.contract.objects import API_VERSION, FleetDeployment
from fleet.contract.pod import Pod
from fleet.contract.revision import RESTARTED, revision_of
from fleet.contract.wire import from_builtins
from harness.probes.kube import KubeProbe
from harness.wait import wait_until
from tests.cli.conftest import Fleet, Place
from tests.support.kube import Kube

Json = dict[str, Any]

STACK = """\
kind: FleetDeployment
apiVersion: fleet.nationtech.io/v1alpha1
metadata: {name: stack}
spec:
  selector: {matchLabels: {site: lab}}
  workload:
    type: pod
    initContainers: [{name: init, image: "init:1"}]
    containers:
      - {name: web, image: "web:1", dependsOn: [{name: db, condition: Healthy}], labels: {team: red}}
      - {name: db, image: "db:1"}
"""


@pytest.fixture(autouse=True)
def server(installed: Place) -> Place:
    return installed


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "stack.yaml"
    found.write_text(STACK)
    return found


def held(probe: KubeProbe) -> Pod:
    found = probe.deployment("stack")
    assert found is not None
    workload = found.spec.workload
    assert isinstance(workload, Pod)
    return workload


def test_a_pod_is_applied_shown_and_changed(fleet: Fleet, probe: KubeProbe, file: Path) -> None:
    answer = fleet("deployment", "apply", "--file", str(file))
    assert answer.code == 0, answer.err
    assert list(held(probe).parts) == ["init", "web", "db"]
    assert "nothing changed" in fleet("deployment", "apply", "--file", str(file)).out
    shown = fleet("deployment", "show", "stack").out
    assert "init:1, web:1, db:1" in shown
    assert "init, db, web" in shown, "the order in which they start"
    assert "init:1, web:1, db:1" in fleet("deployment", "list").out
    file.write_text(STACK.replace("db:1", "db:2"))
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    assert held(probe).parts["db"].image == "db:2"


def test_an_option_of_one_container_is_refused_for_several(fleet: Fleet, probe: KubeProbe, file: Path) -> None:
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    refused = fleet("deployment", "apply", "--name", "stack", "--image", "web:2")
    assert refused.code == 2
    assert "says nothing of which is meant" in refused.err
    assert fleet("deployment", "apply", "--name", "stack", "--rolling", "2").code == 0
    assert list(held(probe).parts) == ["init", "web", "db"]


def test_a_restart_marks_each_container_and_no_later_command_takes_it_back(
    fleet: Fleet, probe: KubeProbe, file: Path
) -> None:
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    assert fleet("deployment", "restart", "stack").code == 0
    marks = {name: one.labels[RESTARTED] for name, one in held(probe).parts.items()}
    assert len(set(marks.values())) == 1
    assert held(probe).parts["web"].labels["team"] == "red"
    assert "nothing changed" in fleet("deployment", "apply", "--file", str(file)).out
    assert {name: one.labels[RESTARTED] for name, one in held(probe).parts.items()} == marks


def test_after_a_restart_a_container_of_the_pod_can_still_go(fleet: Fleet, probe: KubeProbe, file: Path) -> None:
    """Kubernetes keeps what another manager owns: the mark of a restart must not hold what the file leaves out."""
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    assert fleet("deployment", "restart", "stack").code == 0
    file.write_text(STACK.replace('    initContainers: [{name: init, image: "init:1"}]\n', ""))
    answer = fleet("deployment", "apply", "--file", str(file))
    assert answer.code == 0, answer.err
    assert list(held(probe).parts) == ["web", "db"]
    assert all(RESTARTED in one.labels for one in held(probe).parts.values()), "the others are not started anew"


def test_after_a_restart_a_container_can_still_become_a_pod(fleet: Fleet, probe: KubeProbe, file: Path) -> None:
    file.write_text(STACK.partition("  workload:")[0] + "  workload: {image: 'web:1'}\n")
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    assert fleet("deployment", "restart", "stack").code == 0
    file.write_text(STACK)
    answer = fleet("deployment", "apply", "--file", str(file))
    assert answer.code == 0, answer.err
    assert list(held(probe).parts) == ["init", "web", "db"]


def test_a_pod_goes_back_to_what_it_was_before_a_container_went(
    fleet: Fleet, probe: KubeProbe, kube: Kube, file: Path
) -> None:
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    found = probe.deployment("stack")
    assert found
    kube.kubectl("create", "-f", "-", stdin=json.dumps(revision_of(found)))
    assert fleet("deployment", "restart", "stack").code == 0
    file.write_text(STACK.replace('    initContainers: [{name: init, image: "init:1"}]\n', ""))
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    answer = fleet("deployment", "rollback", "stack", "--to-revision", "1")
    assert answer.code == 0, answer.err
    assert list(held(probe).parts) == ["init", "web", "db"]


@pytest.fixture
def newer(kube: Kube, namespace: str) -> Iterator[Json]:
    """A deployment of a version that knows more than this one: `newer` of a pod, and `shared` of a port."""
    known, more = deployment_crd(), deployment_crd()
    schema = more["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    fields = schema["properties"]["spec"]["properties"]["workload"]["properties"]
    ports = fields["containers"]["items"]["properties"]["ports"]["items"]["properties"]
    fields["newer"] = ports["shared"] = {"type": "string"}
    parts = [
        {"name": "web", "image": "web:1", "ports": [{"host": 8080, "container": 80, "shared": "yes"}]},
        {"name": "db", "image": "db:1", "labels": {"team": "red"}},
    ]
    spec = {"workload": {"type": "pod", "newer": "yes", "containers": parts}}
    item = {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": {"name": "stack"}, "spec": spec}

    def apply(one: Json) -> Json:
        args = f"-n {namespace} apply --server-side --field-manager fleet -f - -o json".split()
        return json.loads(kube.kubectl(*args, stdin=json.dumps(one)))

    def taken() -> Json | None:
        """The API server keeps what it was told of anew some time later."""
        found = apply(item)
        return found if all(one in json.dumps(found["spec"]) for one in ('"newer"', '"shared"')) else None

    apply(more)
    try:
        yield wait_until(taken, "the API server knows the newer fields", timeout=30) or {}
    finally:
        apply(known)


def test_a_restart_and_a_rollback_keep_what_only_a_newer_version_knows(
    fleet: Fleet, kube: Kube, namespace: str, newer: Json
) -> None:
    def holds() -> Json:
        found = json.loads(kube.kubectl("-n", namespace, "get", "fdep", "stack", "-o", "json"))
        return found["spec"]["workload"]

    answer = fleet("deployment", "restart", "stack")
    assert answer.code == 0, answer.err
    now = holds()
    assert len({one["labels"].pop(RESTARTED) for one in now["containers"]}) == 1
    assert now == newer["spec"]["workload"]
    assert now["newer"] == now["containers"][0]["ports"][0]["shared"] == "yes"
    revision = revision_of(from_builtins(newer, FleetDeployment)) | {"data": {"spec": newer["spec"]}}
    kube.kubectl("create", "-f", "-", stdin=json.dumps(revision))
    change = [
        {"op": "remove", "path": "/spec/workload/newer"},
        {"op": "replace", "path": "/spec/workload/containers/1/image", "value": "db:2"},
    ]
    kube.kubectl("-n", namespace, "patch", "fdep", "stack", "--type=json", "-p", json.dumps(change))
    answer = fleet("deployment", "rollback", "stack")
    assert answer.code == 0, answer.err
    assert holds()["newer"] == holds()["containers"][0]["ports"][0]["shared"] == "yes"


def test_a_container_becomes_a_pod_and_a_pod_a_container(fleet: Fleet, probe: KubeProbe, file: Path) -> None:
    alone = STACK.partition("  workload:")[0] + "  workload: {image: 'web:1', env: {A: '1'}, limits: {pids: 5}}\n"
    file.write_text(alone)
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    file.write_text(STACK)
    answer = fleet("deployment", "apply", "--file", str(file))
    assert answer.code == 0, answer.err
    assert list(held(probe).parts) == ["init", "web", "db"]
    file.write_text(alone)
    answer = fleet("deployment", "apply", "--file", str(file))
    assert answer.code == 0, answer.err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: db, condition", "name: absent, condition", "depends on absent"),
        ("{name: db, image", "{name: db, dependsOn: [{name: web}], image", "wait for each other: web, db"),
        ("{name: db, image", "{name: web, image", "web is named 2 times"),
        ('image: "db:1"', 'image: "db:1", imagee: x', "did you mean image?"),
        ("type: pod", "type: pod\n    env: {A: '1'}", "spec.workload.env is unknown"),
    ],
)
def test_what_no_device_can_start_is_refused_with_its_line(
    fleet: Fleet, file: Path, old: str, new: str, says: str
) -> None:
    assert old in STACK
    file.write_text(STACK.replace(old, new))
    refused = fleet("deployment", "apply", "--file", str(file))
    assert refused.code == 2
    assert says in refused.err
    assert "line " in refused.err


def largest(size: int) -> str:
    """As many containers as there may be, each with the longest name, and an environment of so many bytes."""
    each = "".join(
        f"      - {{name: {f'c{number}'.ljust(63, 'x')}, image: 'web:1', env: {{A: '{'x' * size}'}}}}\n"
        for number in range(16)
    )
    inits = each.replace("name: c", "name: i")
    return STACK.partition("    initContainers")[0] + f"    initContainers:\n{inits}    containers:\n{each}"


def test_the_largest_pod_is_taken_and_one_that_no_device_can_be_sent_is_refused_at_the_door(
    fleet: Fleet, probe: KubeProbe, file: Path
) -> None:
    file.write_text(largest(15_000))
    answer = fleet("deployment", "apply", "--file", str(file))
    assert answer.code == 0, answer.err
    assert len(held(probe).parts) == 32
    file.write_text(largest(17_000))
    refused = fleet("deployment", "apply", "--file", str(file))
    assert refused.code == 2
    assert "more than the 524288 that a device can be sent" in refused.err
    assert held(probe).parts["c0".ljust(63, "x")].env["A"] == "x" * 15_000


def apply_circle(kube: Kube, namespace: str, name: str) -> None:
    """As a manager whose fields a file of `fleet` takes out again: those of another's stay, and are named."""
    wrong = STACK.replace("{name: stack}", f"{{name: {name}}}").replace(
        "{name: db, image", "{name: db, dependsOn: [{name: web}], image"
    )
    kube.kubectl(*f"-n {namespace} apply --server-side --field-manager fleet -f -".split(), stdin=wrong)


@pytest.fixture
def circle(kube: Kube, namespace: str) -> str:
    """The name of a pod that can never start; no operator has seen it."""
    apply_circle(kube, namespace, "circle")
    return "circle"


WHY = "wait for each other: web, db"


def test_a_pod_that_can_never_start_is_listed_with_its_reason_and_hides_no_other(
    fleet: Fleet, kube: Kube, namespace: str, file: Path, circle: str
) -> None:
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    said = {"type": "Ready", "status": "False", "reason": "InvalidSpec", "message": WHY, "observedGeneration": 1}
    status = {"observedGeneration": 1, "conditions": [{**said, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    patch = json.dumps({"status": {"matched": 0, "updated": 0, "ready": 0, "failed": 0, "images": [], **status}})
    kube.kubectl("-n", namespace, "patch", "fdep", circle, "--type=merge", "--subresource=status", "-p", patch)
    listed = fleet("deployment", "list", "--output", "wide")
    assert listed.code == 0, listed.err
    rows = {line.split()[0]: line.split() for line in listed.out.splitlines()[1:]}
    assert rows[circle] == [circle, "-", "-", "-", "-", "-", "InvalidSpec", "-", "-", "-", "-"]
    assert "stack" in rows
    every = json.loads(fleet("deployment", "list", "--output", "json").out)
    raw = next(one for one in every if one["metadata"]["name"] == circle)
    assert raw["spec"]["workload"]["containers"][1]["dependsOn"] == [{"name": "web"}]
    assert WHY in fleet("deployment", "show", circle).out
    told = fleet("doctor").out
    assert f"{circle} InvalidSpec" in told
    assert "invalid.invalid" not in told, "no registry is made up"
    assert "InvalidSpec" in kube.kubectl("-n", namespace, "get", "fdep", circle)


@pytest.mark.parametrize("output", ["table", "wide", "json"])
def test_show_says_what_is_wrong_before_an_operator_has(fleet: Fleet, circle: str, output: str) -> None:
    shown = fleet("deployment", "show", circle, "--output", output)
    assert shown.code == 0, shown.err
    assert "NotYetSeen" in shown.out
    assert (WHY in shown.out) == (output != "json")


def test_a_pod_that_can_never_start_is_mended_by_a_file(
    fleet: Fleet, probe: KubeProbe, circle: str, tmp_path: Path
) -> None:
    file = tmp_path / "circle.yaml"
    file.write_text(STACK.replace("{name: stack}", f"{{name: {circle}}}"))
    refused = fleet("deployment", "restart", circle)
    assert refused.code == 2
    assert WHY in refused.err
    answer = fleet("deployment", "apply", "--file", str(file))
    assert answer.code == 0, answer.err
    found = probe.deployment(circle)
    assert found is not None
    assert found.spec.workload.parts["web"].image == "web:1"


def test_a_pod_that_can_never_start_goes_back_to_its_last_revision(
    fleet: Fleet, probe: KubeProbe, kube: Kube, namespace: str, file: Path
) -> None:
    assert fleet("deployment", "apply", "--file", str(file)).code == 0
    found = probe.deployment("stack")
    assert found
    kube.kubectl("create", "-f", "-", stdin=json.dumps(revision_of(found)))
    apply_circle(kube, namespace, "stack")
    assert "yes" not in fleet("deployment", "history", "stack").out, "none of them is what it is now"
    answer = fleet("deployment", "rollback", "stack")
    assert answer.code == 0, answer.err
    assert held(probe) == found.spec.workload


def test_a_pod_that_can_never_start_can_be_deleted(fleet: Fleet, circle: str) -> None:
    assert fleet("deployment", "delete", circle).code == 0
    assert fleet("deployment", "delete", circle).code == 4
    assert circle not in fleet("deployment", "list").out
