"""What `fleet deployment apply` changes, what it leaves, and what it refuses, with a real API server."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.contract.errors import InvalidInput
from fleet.contract.objects import FleetDeployment, StrategyType
from fleet.contract.wire import Container, Health, Port, Restart
from fleet.kube.client import KubeClient
from harness.probes.kube import KubeProbe, container_of
from tests.cli.conftest import Fleet, Place
from tests.support.kube import Kube

NEW = ("deployment", "apply", "--name", "web", "--image", "nginx:1.27", "--selector", "site=lab")
WEB = """\
apiVersion: fleet.nationtech.io/v1alpha1
kind: FleetDeployment
metadata:
  name: web
  labels: {team: red}
spec:
  selector:
    matchLabels: {site: lab}
  workload:
    image: nginx:1.27
    env: {A: "1"}
"""


@pytest.fixture(autouse=True)
def server(installed: Place) -> Place:
    return installed


Look = Callable[[], FleetDeployment]


@pytest.fixture
def web(probe: KubeProbe) -> Look:
    def look() -> FleetDeployment:
        found = probe.deployment("web")
        assert found is not None
        return found

    return look


def change(fleet: Fleet, *options: str) -> Any:  # noqa: ANN401 - JSON
    answer = fleet("deployment", "apply", "--name", "web", *options, "-o", "json")
    assert answer.code == 0, answer.err
    return answer.json


def test_options_change_what_they_name_and_leave_the_rest(fleet: Fleet, web: Look) -> None:
    full = ("--port", "80:8080", "--env", "A=1", "--env", "B=2", "--restart", "no", "--rolling", "2")
    assert change(fleet, *NEW[4:], *full, "--health-command", "true", "--health-interval", "3")["created"] is True
    before = web().spec
    done = change(fleet, "--image", "nginx:1.28")
    assert done["changes"] == ['spec.workload.image: "nginx:1.27" → "nginx:1.28"']
    assert web().spec.selector == before.selector
    assert web().spec.strategy == before.strategy
    assert web().spec.workload == Container(
        "nginx:1.28",
        env={"A": "1", "B": "2"},
        ports=(Port(80, 8080),),
        restart=Restart.NO,
        health=Health(("true",), interval=3),
    )


def test_a_file_may_come_from_standard_input(fleet: Fleet, web: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(text: str) -> Any:  # noqa: ANN401 - an answer
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return fleet("deployment", "apply", "--file", "-")

    assert answer(WEB).code == 0
    assert container_of(web()).env == {"A": "1"}
    refused = answer(WEB.replace("image:", "imege:"))
    assert refused.code == 2, refused.err
    assert "standard input" in refused.err


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        (["--env", "B=3", "--env", "A-"], ['spec.workload.env.A: "1" → (none)', 'spec.workload.env.B: "2" → "3"']),
        (["--port", "81:8080"], ["spec.workload.ports[0].host: 80 → 81"]),
        (["--port", ""], None),
        (["--health-interval", "7"], ["spec.workload.health.interval: 3 → 7"]),
        (["--health-command", ""], None),
        (["--command", "sleep 9"], ['spec.workload.command[0]: (none) → "sleep"']),
        (["--rolling", "0"], ['spec.strategy.type: "Rolling" → (none)']),
        (["--selector", "room=a"], ['spec.selector.matchLabels.site: "lab" → (none)']),
        (["--all"], ['spec.selector.matchLabels.site: "lab" → (none)']),
        (["--selector", "site=lab"], []),
        (["--restart", "unless-stopped"], []),
    ],
    ids=str,
)
def test_one_option_is_one_change(fleet: Fleet, web: Look, options: list[str], changes: list[str] | None) -> None:
    full = ("--port", "80:8080", "--env", "A=1", "--env", "B=2", "--rolling", "2")
    change(fleet, *NEW[4:], *full, "--health-command", "true", "--health-interval", "3")
    before = web()
    tried = change(fleet, *options, "--dry-run")
    assert web().metadata.resource_version == before.metadata.resource_version, "a dry run writes nothing"
    done = change(fleet, *options)
    assert done["changes"] == tried["changes"]
    assert done["changed"] is (changes != [])
    assert (web().metadata.generation == 1) is (changes == [])
    if changes:
        assert done["changes"][: len(changes)] == changes
    if options == ["--port", ""]:
        assert container_of(web()).ports == ()
    if options == ["--health-command", ""]:
        assert container_of(web()).health is None
    if options == ["--all"]:
        assert web().spec.selector.match_labels == {}
    if options == ["--rolling", "0"]:
        assert web().spec.strategy.type is StrategyType.ALL_AT_ONCE


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--image", "x"], "--selector is missing for a new deployment"),
        (["--selector", "site=lab"], "--image is missing, and there is no deployment 'web' to change"),
        (["--image", "x", "--all", "--selector", "a=b"], "--all and --selector contradict each other"),
        (["--image", "x", "--all", "--env", "A=1", "--env", "A=2"], "--env gives A twice: '1' and '2'"),
        (["--image", "x", "--all", "--env", "A=1", "--env", "A-"], "--env sets A and takes it away"),
        (["--image", "x", "--all", "--health-interval", "3"], "--health-interval counts only with a health check"),
        (["--image", "x", "--all", "--health-command", "", "--health-interval", "3"], "--health-interval counts only"),
        (["--image", "x", "--all", "--timeout", "3"], "--timeout counts only with --wait"),
        (["--image", "x", "--all", "--wait", "--dry-run"], "--wait has nothing to wait for with --dry-run"),
    ],
    ids=str,
)
def test_what_would_be_ignored_or_reach_everything_is_refused(
    fleet: Fleet, probe: KubeProbe, options: list[str], said: str
) -> None:
    answer = fleet("deployment", "apply", "--name", "web", *options)
    assert answer.code == 2
    assert said in answer.err
    assert "next: " in answer.err
    assert probe.deployment("web") is None


def test_a_dry_run_of_a_new_one_tells_all_of_it(fleet: Fleet, probe: KubeProbe) -> None:
    answer = fleet(*NEW, "--dry-run")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[0] == "web: would be created; nothing was applied"
    assert '  spec.workload.image: (none) → "nginx:1.27"' in answer.out.splitlines()
    assert probe.deployment("web") is None


def test_a_dry_run_is_judged_by_the_server(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.cli.deployment_source.from_builtins", _taken)
    answer = fleet(*NEW, "--dry-run", "--image", "https://x")
    assert answer.code == 2
    assert "spec.workload.image" in answer.err


def test_a_server_that_does_not_know_a_field_says_so(fleet: Fleet, namespace: str) -> None:
    """As one of a former release, which would drop it in silence."""
    change(fleet, *NEW[4:])
    client = KubeClient()
    found = client.find("FleetDeployment", "web", namespace)
    assert found is not None
    of_a_later_release = {**found["spec"], "canary": {"percent": 5}}
    meta = {"name": "web", "namespace": namespace}
    with pytest.raises(InvalidInput, match="canary"):
        client.put({**found, "metadata": meta, "spec": of_a_later_release})


def test_a_file_in_yaml_is_the_whole_of_it(fleet: Fleet, web: Look) -> None:
    change(fleet, *NEW[4:], "--env", "B=2", "--port", "80:80")
    Path("web.yaml").write_text(WEB)
    answer = fleet("deployment", "apply", "--file", "web.yaml")
    assert answer.code == 0, answer.err
    first, *changes = answer.out.splitlines()
    assert first.startswith("web: changed; ")
    assert set(changes) == {
        '  spec.workload.env.B: "2" → (none)',
        "  spec.workload.ports[0].host: 80 → (none)",
        "  spec.workload.ports[0].container: 80 → (none)",
        '  metadata.labels.team: (none) → "red"',
        '  spec.workload.env.A: (none) → "1"',
    }
    assert web().metadata.labels == {"team": "red"}
    assert web().spec.workload == Container("nginx:1.27", env={"A": "1"})
    assert "nothing changed" in fleet("deployment", "apply", "--file", "web.yaml").out


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("selector:", "selecter:", "web.yaml: line 7: spec.selecter is unknown; did you mean selector?"),
        ("    env", "    prots: []\n    env", "line 11: spec.workload.prots is unknown; did you mean ports?"),
        ("  name: web", "  name: web\n  namespace: other", "web.yaml: metadata.namespace is 'other', and the server"),
        ("  name: web", "  name: web\n  nmae: x", "line 5: metadata.nmae is unknown; did you mean name?"),
        ("  name: web", "  name: web\n  ownerReferences: []", "line 5: metadata.ownerReferences is unknown"),
        ("kind: FleetDeployment", "kind: Deployment", "web.yaml holds a Deployment of fleet.nationtech.io/v1alpha1"),
        ("v1alpha1", "v1", "web.yaml holds a FleetDeployment of fleet.nationtech.io/v1"),
        ("apiVersion", "---\na: b\n---\napiVersion", "it holds several documents"),
        ("{site: lab}", "{}", "web.yaml: its selector is empty, which selects every device of the fleet"),
        ("  selector:\n    matchLabels: {site: lab}\n", "", "its selector is empty"),
        ("{site: lab}", "{site: -lab}", "spec.selector.matchLabels"),
        ("{team: red}", "{team: 'red car'}", "metadata.labels"),
        ("image: nginx:1.27", "image: https://nginx", "leave out 'https://'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_file_that_is_not_as_meant_is_refused(fleet: Fleet, probe: KubeProbe, old: str, new: str, said: str) -> None:
    Path("web.yaml").write_text(WEB.replace(old, new, 1))
    answer = fleet("deployment", "apply", "--file", "web.yaml")
    assert answer.code == 2, answer.err
    assert said in answer.err
    assert "next: " in answer.err
    assert probe.deployment("web") is None


def test_every_device_is_asked_for_by_a_word(fleet: Fleet, web: Look) -> None:
    Path("web.yaml").write_text(WEB)
    contradiction = fleet("deployment", "apply", "--file", "web.yaml", "--all")
    assert contradiction.code == 2
    assert "--all and the selector of web.yaml contradict each other" in contradiction.err
    Path("web.yaml").write_text(WEB.replace("{site: lab}", "{}"))
    assert fleet("deployment", "apply", "--file", "web.yaml", "--all").code == 0
    assert web().spec.selector.match_labels == {}
    assert change(fleet, "--image", "nginx:1.28")["changed"] is True, "it stays, and nobody has to say it again"


@pytest.mark.parametrize("command", ["fleet", "kubectl"])
def test_what_is_shown_can_be_applied(fleet: Fleet, kube: Kube, namespace: str, web: Look, command: str) -> None:
    change(fleet, *NEW[4:], "--env", "A=1", "--rolling", "0", "--restart", "unless-stopped")
    shown = (
        fleet("deployment", "show", "web", "-o", "json").out
        if command == "fleet"
        else kube.kubectl("-n", namespace, "get", "fdep", "web", "-o", "yaml", "--show-managed-fields")
    )
    Path("web.yaml").write_text(shown)
    assert fleet("deployment", "apply", "--file", "web.yaml", "-o", "json").json["changed"] is False
    Path("web.yaml").write_text(shown.replace("nginx:1.27", "nginx:2"))
    assert fleet("deployment", "apply", "--file", "web.yaml", "-o", "json").json["changed"] is True
    assert fleet("deployment", "apply", "--file", "web.yaml", "-o", "json").json["changed"] is False, "a repeat"
    change(fleet, "--env", "THEIRS=1")
    stale = fleet("deployment", "apply", "--file", "web.yaml")
    assert stale.code == 5
    assert "web has changed since this file was written: it is at generation 3" in stale.err
    assert container_of(web()).env == {"A": "1", "THEIRS": "1"}


def test_two_who_change_at_once_lose_nothing(fleet: Fleet, web: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one writes after this one has looked, and before it writes."""
    change(fleet, *NEW[4:])
    real, once = KubeClient.put, threading.Lock()

    def put(self: KubeClient, item: dict[str, Any], *, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        if not dry_run and once.acquire(blocking=False):
            theirs = {"spec": {"workload": {"env": {"THEIRS": "1"}}}}
            self.patch("FleetDeployment", "web", item["metadata"]["namespace"], theirs)
        return real(self, item, dry_run=dry_run, force=force)

    monkeypatch.setattr(KubeClient, "put", put)
    change(fleet, "--env", "OURS=1")
    assert container_of(web()).env == {"OURS": "1", "THEIRS": "1"}


def test_who_never_gets_a_turn_is_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    change(fleet, *NEW[4:])
    real, count = KubeClient.put, iter(range(100))

    def put(self: KubeClient, item: dict[str, Any], *, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        if not dry_run:
            theirs = {"metadata": {"annotations": {"n": str(next(count))}}}
            self.patch("FleetDeployment", "web", item["metadata"]["namespace"], theirs)
        return real(self, item, dry_run=dry_run, force=force)

    monkeypatch.setattr(KubeClient, "put", put)
    answer = fleet("deployment", "apply", "--name", "web", "--env", "OURS=1")
    assert answer.code == 5
    assert "the object has been modified" in answer.err


def test_two_who_make_one_name_at_once_are_told(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    real, once = KubeClient.put, threading.Lock()

    def put(self: KubeClient, item: dict[str, Any], *, dry_run: bool = False, force: bool = False) -> dict[str, Any]:
        if not dry_run and once.acquire(blocking=False):
            workload = {"type": "container", "image": "theirs:1"}
            self.create({**item, "spec": {"workload": workload, "selector": {"matchLabels": {"a": "b"}}}})
        return real(self, item, dry_run=dry_run, force=force)

    monkeypatch.setattr(KubeClient, "put", put)
    answer = fleet(*NEW)
    assert answer.code == 5
    assert "web" in answer.err


def test_what_another_has_set_does_not_stay_in_silence(fleet: Fleet, kube: Kube, namespace: str, web: Look) -> None:
    change(fleet, *NEW[4:], "--env", "A=1")
    theirs = json.dumps({"spec": {"workload": {"env": {"B": "2"}}}})
    kube.kubectl("-n", namespace, "patch", "fdep", "web", "--type=merge", "-p", theirs, "--field-manager=theirs")
    Path("web.yaml").write_text(WEB)
    answer = fleet("deployment", "apply", "--file", "web.yaml")
    assert answer.code == 5
    assert "web: spec.workload.env.B would stay as it is, for another has set it" in answer.err
    assert "(one of: theirs)" in answer.err
    assert container_of(web()).env == {"A": "1", "B": "2"}


def _taken(value: object, kind: type) -> object:
    """A door that lets everything in."""
    del kind
    return value
