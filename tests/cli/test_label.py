"""`fleet device label`, lists by labels, and what kubectl makes of the same objects, with a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.contract.labels import CARRIED, labels_of
from fleet.contract.objects import API_VERSION
from fleet.kube.client import KubeClient
from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet, Place
from tests.support.kube import Kube

Json = dict[str, Any]


@pytest.fixture(autouse=True)
def server(installed: Place) -> Place:
    return installed


@pytest.fixture
def create(probe: KubeProbe) -> Callable[..., None]:
    def made(name: str, held: dict[str, str], **spec: object) -> None:
        body = {"apiVersion": API_VERSION, "kind": "Device", "metadata": {"name": name, "labels": held}, "spec": spec}
        probe.create(probe.path("devices"), body)

    return made


@pytest.fixture
def labels(probe: KubeProbe) -> Callable[[], dict[str, str]]:
    def look() -> dict[str, str]:
        found = probe.device("pi-1")
        assert found is not None
        assert labels_of(found) == found.metadata.labels
        return found.metadata.labels

    return look


Create = Callable[..., None]
Look = Callable[[], dict[str, str]]


def test_labels_are_set_changed_and_taken_away(fleet: Fleet, create: Create, labels: Look) -> None:
    create("pi-1", {"site": "lab"})
    answer = fleet("device", "label", "pi-1", "ring=early", "example.org/room=")
    assert answer.code == 0, answer.err
    assert answer.out == "pi-1: labels changed; example.org/room=,ring=early,site=lab\n"
    assert labels() == {"site": "lab", "ring": "early", "example.org/room": ""}
    refused = fleet("device", "label", "pi-1", "ring=late", "site-")
    assert refused.code == 5
    assert "pi-1 has ring=early already" in refused.err
    assert "--overwrite" in refused.err
    assert labels()["site"] == "lab", "all of it, or nothing"
    done = fleet("device", "label", "pi-1", "ring=late", "site-", "--overwrite", "-o", "json").json
    assert done == {"device": "pi-1", "changed": True, "labels": {"example.org/room": "", "ring": "late"}}
    assert labels() == {"ring": "late", "example.org/room": ""}
    again = fleet("device", "label", "pi-1", "ring=late", "nothing-")
    assert (again.code, again.out.split(";")[0]) == (0, "pi-1: nothing changed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ring"], "labels 'ring' is not KEY=VALUE"),
        (["ring=-x"], "labels: not a valid"),
        (["-x=1"], "No such option"),
        ([f"{'x' * 64}=1"], "labels: not a valid"),
        (["a/b/c-"], "labels: not a valid"),
        (["ring=a", "ring=b"], "labels gives ring twice"),
        (["ring=a", "ring-"], "ring is set and taken away"),
        ([], "Missing argument"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused(fleet: Fleet, create: Create, words: list[str], said: str) -> None:
    create("pi-1", {})
    answer = fleet("device", "label", "pi-1", *words)
    assert answer.code == 2
    assert said in answer.err


def test_a_device_that_is_not_there(fleet: Fleet) -> None:
    answer = fleet("device", "label", "pi-9", "a=b")
    assert answer.code == 4
    assert "fleet device list" in answer.err


def test_what_a_former_release_wrote_counts_until_it_is_changed_here(
    fleet: Fleet, create: Create, labels: Look, probe: KubeProbe
) -> None:
    create("pi-1", {}, labels={"site": "lab", "ring": "early"})
    assert "ring=early,site=lab" in fleet("device", "list").out
    assert fleet("device", "label", "pi-1", "ring-", "site=home", "--overwrite").code == 0
    assert labels() == {"site": "home"}
    found = probe.device("pi-1")
    assert found is not None
    assert found.spec.labels == {"site": "lab", "ring": "early"}, "an operator of that release reads on"
    assert json.loads(found.metadata.annotations[CARRIED]) == found.spec.labels


def test_somebody_who_writes_in_between_is_not_overwritten(
    fleet: Fleet, create: Create, labels: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    create("pi-1", {"site": "lab"})
    real, first = KubeClient.patch, [True]

    def patch(self: KubeClient, kind: str, name: str, namespace: str, change: Json) -> Json:
        if first.pop() if first else False:
            real(self, kind, name, namespace, {"metadata": {"labels": {"ring": "theirs"}}})
        return real(self, kind, name, namespace, change)

    monkeypatch.setattr(KubeClient, "patch", patch)
    answer = fleet("device", "label", "pi-1", "ring=ours")
    assert answer.code == 5
    assert "pi-1 has ring=theirs already" in answer.err
    assert labels() == {"site": "lab", "ring": "theirs"}


def test_lists_by_labels(fleet: Fleet, create: Create, kube: Kube, namespace: str) -> None:
    create("pi-1", {"ring": "early", "site": "lab"})
    create("pi-2", {"ring": "late"})
    create("pi-3", {}, labels={"ring": "early"})

    def named(selector: str) -> list[str]:
        return [item["metadata"]["name"] for item in fleet("device", "list", "-l", selector, "-o", "json").json]

    assert named("ring=early") == ["pi-1", "pi-3"]
    assert named("ring in (early,late),!site") == ["pi-2", "pi-3"]
    assert fleet("device", "list", "--selector", "ring=none").out == "no devices with such labels\n"
    refused = fleet("device", "list", "--selector", "a b")
    assert refused.code == 2
    assert "--selector 'a b' is no selector" in refused.err
    assert kube.kubectl("-n", namespace, "get", "devices", "-l", "ring=early", "-o", "name").split() == [
        "device.fleet.nationtech.io/pi-1"
    ]


def test_deployments_by_their_own_labels(fleet: Fleet) -> None:
    for name, team in (("web", "red"), ("job", "blue")):
        Path("x.yaml").write_text(
            f"metadata: {{name: {name}, labels: {{team: {team}}}}}\n"
            "spec: {selector: {matchLabels: {a: b}}, workload: {image: x}}\n"
        )
        assert fleet("deployment", "apply", "--file", "x.yaml").code == 0
    found = fleet("deployment", "list", "--selector", "team!=blue", "-o", "json").json
    assert [item["metadata"]["name"] for item in found] == ["web"]
    assert fleet("deployment", "list", "-l", "team=green").out == "no deployments with such labels\n"


EXPRESSIONS = """\
metadata: {name: web}
spec:
  selector:
    matchExpressions:
      - {key: ring, operator: In, values: [early, late]}
      - {key: broken, operator: DoesNotExist}
  workload: {image: x}
"""


def test_a_file_may_select_by_expressions(fleet: Fleet, probe: KubeProbe) -> None:
    Path("web.yaml").write_text(EXPRESSIONS)
    answer = fleet("deployment", "apply", "--file", "web.yaml")
    assert answer.code == 0, answer.err
    assert "ring in (early,late),!broken" in fleet("deployment", "show", "web").out
    assert "nothing changed" in fleet("deployment", "apply", "--file", "web.yaml").out
    found = probe.deployment("web")
    assert found is not None
    assert found.spec.selector.selects({"ring": "late"})
    options = fleet("deployment", "apply", "--name", "web", "--selector", "site=lab", "-o", "json").json
    assert 'spec.selector.matchExpressions[0].key: "ring" → (none)' in options["changes"], "it is another selector"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("values: [early, late]", "values: []", "In needs values"),
        ("DoesNotExist", "DoesNotExist, values: [x]", "DoesNotExist takes no values"),
        ("operator: In", "operator: in", "'in' is none of the values"),
        ("values: [early", "value: [early", "value is unknown; did you mean values?"),
    ],
)
def test_expressions_that_say_nothing_are_refused_by_both_doors(
    fleet: Fleet, kube: Kube, namespace: str, old: str, new: str, said: str
) -> None:
    text = EXPRESSIONS.replace(old, new, 1)
    Path("web.yaml").write_text(text)
    answer = fleet("deployment", "apply", "--file", "web.yaml")
    assert answer.code == 2
    assert said in answer.err
    whole = f"apiVersion: {API_VERSION}\nkind: FleetDeployment\n{text}"
    with pytest.raises(AssertionError):
        kube.kubectl("-n", namespace, "create", "--validate=strict", "-f", "-", stdin=whole)


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("fleetdeployment.spec.selector.matchExpressions.operator", "NotIn also selects devices without the label"),
        ("fleetdeployment.spec.workload.health.startPeriod", "Seconds after the start"),
        ("device.spec", "Deprecated: write metadata.labels"),
        ("device.status.conditions", "Why, in one word"),
    ],
)
def test_kubectl_explains_every_field(kube: Kube, field: str, said: str) -> None:
    assert said in " ".join(kube.kubectl("explain", field).split())
