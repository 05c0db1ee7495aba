"""`fleet deployment history|rollback|restart` with a real API server; the test plays the operator."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from fleet.contract.change import change_of
from fleet.contract.objects import FleetDeployment, StrategyType
from fleet.contract.revision import DEPLOYMENT, RESTARTED, revision_of
from harness.probes.kube import KubeProbe, container_of
from tests.cli.conftest import Fleet, Place
from tests.support.kube import Kube

APPLY = ("deployment", "apply", "--name", "web")
Keep = Callable[[], FleetDeployment]


@pytest.fixture
def keep(kube: Kube, probe: KubeProbe, installed: Place) -> Keep:
    """The operator keeps the deployment as it is now."""
    del installed

    def write() -> FleetDeployment:
        found = probe.deployment("web")
        assert found
        kube.kubectl("create", "-f", "-", stdin=json.dumps(revision_of(found)))
        return found

    return write


def test_history_tells_what_ran_and_who_ordered_it(fleet: Fleet, keep: Keep, kube: Kube, namespace: str) -> None:
    assert fleet(*APPLY, "--image", "web:1", "--all").code == 0
    assert "no revision of web is kept yet" in fleet("deployment", "history", "web").out
    first = change_of(keep().metadata)
    assert first
    patch = '{"spec": {"workload": {"image": "web:2"}}}'
    kube.kubectl("-n", namespace, "patch", "fleetdeployment", "web", "--type=merge", "-p", patch)
    keep()
    _, *rows = [line.split() for line in fleet("deployment", "history", "web").out.splitlines()]
    assert [(row[0], row[2], row[-2:]) for row in rows] == [
        ("2", "-", ["web:2", "yes"]),
        ("1", "admin", [first.id, "web:1"]),
    ]
    told = fleet("deployment", "history", "web", "-o", "json").json
    assert [(one["revision"], one["command"], one["current"]) for one in told] == [
        (2, "another tool", True),
        (1, "fleet deployment apply", False),
    ]
    odd = {"name": "odd", "namespace": namespace, "labels": {DEPLOYMENT: "web"}}
    foreign = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": odd, "revision": 9, "data": {"a": 1}}
    kube.kubectl("create", "-f", "-", stdin=json.dumps(foreign))
    shown = fleet("deployment", "show", "web", "--revision", "1")
    assert "ControllerRevision odd is passed over" in shown.err
    assert 'spec.workload.image: "web:1"' in shown.out.splitlines()
    missing = fleet("deployment", "show", "web", "--revision", "7")
    assert missing.code == 4
    assert "revision 7 of web is not kept" in missing.err
    assert "kept are: 2, 1" in missing.err


def test_a_rollback_brings_back_workload_and_strategy_and_leaves_the_devices(
    fleet: Fleet, keep: Keep, probe: KubeProbe
) -> None:
    assert fleet(*APPLY, "--image", "web:1", "--env", "A=1", "--rolling", "2", "--selector", "site=lab").code == 0
    keep()
    none = fleet("deployment", "rollback", "web")
    assert none.code == 4
    assert "differs from what it is now" in none.err
    words = ("--image", "web:2", "--env", "A-", "--env", "B=2", "--rolling", "0", "--selector", "site=field")
    assert fleet(*APPLY, *words).code == 0
    keep()
    tried = fleet("deployment", "rollback", "web", "--dry-run")
    assert tried.code == 0
    assert "web: would go back to revision 1; nothing was applied" in tried.out
    assert '  spec.workload.image: "web:2" → "web:1"' in tried.out.splitlines()
    before = probe.deployment("web")
    assert before
    assert container_of(before).image == "web:2"
    assert fleet("deployment", "rollback", "web", "--to-revision", "9").code == 4
    answer = fleet("deployment", "rollback", "web", "-o", "json")
    assert answer.code == 0, answer.err
    after = probe.deployment("web")
    assert after
    assert (container_of(after).image, container_of(after).env) == ("web:1", {"A": "1"})
    assert (after.spec.strategy.type, after.spec.strategy.max_unavailable) == (StrategyType.ROLLING, 2)
    assert after.spec.selector.match_labels == {"site": "field"}
    change = change_of(after.metadata)
    assert change
    assert (change.id, change.command) == (answer.json["change"], "fleet deployment rollback")
    again = fleet("deployment", "rollback", "web", "--to-revision", "1")
    assert "nothing changed" in again.out


def test_a_rollback_takes_over_what_another_tool_has_set(
    fleet: Fleet, keep: Keep, probe: KubeProbe, kube: Kube, namespace: str
) -> None:
    assert fleet(*APPLY, "--image", "web:1", "--all").code == 0
    keep()
    patch = '{"spec": {"workload": {"image": "web:broken"}}}'
    kube.kubectl("-n", namespace, "patch", "fleetdeployment", "web", "--type=merge", "-p", patch)
    answer = fleet("deployment", "rollback", "web")
    assert answer.code == 0, answer.err
    found = probe.deployment("web")
    assert found
    assert container_of(found).image == "web:1"


def test_a_restart_is_a_change_of_the_workload_that_no_later_command_takes_back(
    fleet: Fleet, keep: Keep, probe: KubeProbe
) -> None:
    assert fleet(*APPLY, "--image", "web:1", "--all", "--container-label", "team=red").code == 0
    keep()
    moments: list[str] = []
    for _ in range(2):
        answer = fleet("deployment", "restart", "web", "-o", "json")
        assert answer.code == 0, answer.err
        assert answer.json["changed"] is True
        found = probe.deployment("web")
        assert found
        assert container_of(found).labels["team"] == "red"
        moments.append(container_of(found).labels[RESTARTED])
    assert moments[0] != moments[1]
    assert "nothing changed" in fleet(*APPLY, "--image", "web:1").out
    for words in (("--container-label", "team=blue"), ("--image", "web:2")):
        assert fleet(*APPLY, *words).code == 0
        found = probe.deployment("web")
        assert found
        assert container_of(found).labels[RESTARTED] == moments[1]
    assert fleet("deployment", "rollback", "web").code == 0
    found = probe.deployment("web")
    assert found
    assert container_of(found).labels == {"team": "red", RESTARTED: moments[1]}
    assert fleet("deployment", "pause", "web").code == 0
    refused = fleet("deployment", "restart", "web")
    assert refused.code == 5
    assert "resume" in refused.err
