"""`fleet device upgrade|rollback` with a real API server; the test plays the operator and the device."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fleet.contract.objects import Device
from harness.probes.kube import KubeProbe
from harness.wait import wait_until
from tests.cli.conftest import Background, Fleet, Place
from tests.doubles.zitadel.idp import Idp
from tests.support.kube import Kube

PAT = ("--admin-token-file", "admin.pat")
Start = Callable[..., Background]
INFO = {"agentVersion": "v0.1.0", "arch": "x", "os": "x", "kernel": "x", "memory": 1, "disk": 1, "bootId": "b"}


class Stage:
    """One enrolled device, of which the test says what the operator would."""

    def __init__(self, fleet: Fleet, kube: Kube, namespace: str, probe: KubeProbe) -> None:
        self._kube, self._namespace, self._probe = kube, namespace, probe
        assert fleet("device", "enroll", "--device-id", "pi-1", "--out", "pi-1.json", *PAT).code == 0

    @property
    def device(self) -> Device:
        found = self._probe.device("pi-1")
        assert found
        return found

    def says(self, reason: str, message: str = "", **upgrade: Any) -> None:  # noqa: ANN401
        seen = self.device.metadata.generation
        status = "True" if upgrade.get("phase") == "Committed" else "False"
        now = "2026-01-01T00:00:00Z"
        condition = {"type": "Upgraded", "status": status, "reason": reason, "message": message}
        condition = {**condition, "lastTransitionTime": now, "observedGeneration": seen}
        told = {"generation": 1, "reason": "Other" if reason == "RolloutHalted" else reason, **upgrade}
        reported = {"info": {**INFO, "upgrade": told}} if upgrade else {}
        patch = json.dumps({"status": {"conditions": [condition], **reported}})
        words = ("patch", "device", "pi-1", "--subresource=status", "--type=merge", "-p", patch)
        self._kube.kubectl("-n", self._namespace, *words)

    def ordered(self, order: int) -> None:
        wait_until(lambda: self.device.spec.agent_order, f"order {order}", timeout=30, until=order.__eq__)


@pytest.fixture
def stage(installed: Place, idp: Idp, fleet: Fleet, kube: Kube, namespace: str, probe: KubeProbe) -> Stage:
    """Function: an installed server and a device."""
    del installed, idp
    return Stage(fleet, kube, namespace, probe)


def test_an_order_is_written_and_raised_every_time(stage: Stage, fleet: Fleet) -> None:
    for order in (1, 2):
        answer = fleet("device", "upgrade", "pi-1", "--to", "v0.2.0", "-o", "json")
        wanted = {"device": "pi-1", "version": "v0.2.0", "order": order, "state": "ordered"}
        assert answer.json == {**wanted, "change": answer.json["change"]}
        assert answer.json["change"]
        assert (stage.device.spec.agent_version, stage.device.spec.agent_order) == ("v0.2.0", order)


def test_how_many_versions_stay_is_said_with_an_order_and_holds(stage: Stage, fleet: Fleet) -> None:
    assert fleet("device", "upgrade", "pi-1", "--to", "v0.2.0", "--keep", "0").code == 2
    assert stage.device.spec.agent_version == ""
    assert fleet("device", "upgrade", "pi-1", "--to", "v0.2.0", "--keep", "2").code == 0
    assert stage.device.spec.agent_versions_kept == 2
    assert fleet("device", "upgrade", "pi-1", "--to", "v0.3.0").code == 0
    assert stage.device.spec.agent_versions_kept == 2


def test_waiting_tells_how_it_goes_until_it_is_confirmed(stage: Stage, start: Start) -> None:
    waiting = start("device", "upgrade", "pi-1", "--to", "v0.2.0", "--wait")
    stage.ordered(1)
    stage.says("Downloading", "v0.2.0: Downloading")
    stage.says("Confirmed", "v0.2.0: Committed", phase="Committed", candidate="v0.2.0")
    answer = waiting.answer()
    assert answer.code == 0, answer
    assert "pi-1 runs v0.2.0 (Confirmed)" in answer.out
    told = answer.err.splitlines()
    assert told[0] == "pi-1: waiting up to 300 s for v0.2.0 to be confirmed"
    assert told[-1] == "pi-1: Confirmed: v0.2.0: Committed"


@pytest.mark.parametrize(
    ("reason", "code", "next_step"),
    [
        ("SignatureInvalid", 1, "publish the agent and its manifest as they were built"),
        ("WorkloadUnhealthy", 1, "mend the workload, then order it again"),
        ("UnknownVersion", 4, "see `fleet agent list`"),
        ("RolloutHalted", 1, "see why they failed"),
    ],
)
def test_a_refusal_is_explained(stage: Stage, start: Start, reason: str, code: int, next_step: str) -> None:
    waiting = start("device", "upgrade", "pi-1", "--to", "v0.2.0", "--wait")
    stage.ordered(1)
    stage.says(reason, "so it is", phase="Refused", candidate="v0.2.0")
    answer = waiting.answer()
    assert answer.code == code
    assert f"pi-1 does not run v0.2.0: {reason}: so it is" in answer.err
    assert f"next: {next_step}" in answer.err


def test_waiting_without_end_says_what_it_waits_for(stage: Stage, start: Start) -> None:
    """No lock, for example: that goes on by itself."""
    waiting = start("device", "upgrade", "pi-1", "--to", "v0.2.0", "--wait", "--timeout", "2")
    stage.ordered(1)
    stage.says("WaitingForLock", "v0.2.0: SelfTested")
    answer = waiting.answer()
    assert answer.code == 8
    assert "last seen: WaitingForLock: v0.2.0: SelfTested" in answer.err
    assert "it goes on by itself" in answer.err


def test_rolling_back_goes_to_the_version_before(stage: Stage, fleet: Fleet) -> None:
    refused = fleet("device", "rollback", "pi-1")
    assert refused.code == 5
    assert "no version to go back to" in refused.err
    versions = {"candidate": "v0.2.0", "committed": "v0.2.0", "previous": "v0.1.0"}
    stage.says("Confirmed", "", phase="Committed", **versions)
    assert fleet("device", "rollback", "pi-1").code == 0
    assert stage.device.spec.agent_version == "v0.1.0"


def test_rolling_back_while_rolling_forward_goes_to_where_it_comes_from(stage: Stage, fleet: Fleet) -> None:
    versions = {"candidate": "v0.3.0", "committed": "v0.2.0", "previous": "v0.1.0"}
    stage.says("InProgress", "", phase="Starting", **versions)
    assert fleet("device", "rollback", "pi-1").code == 0
    assert stage.device.spec.agent_version == "v0.2.0"


@pytest.mark.parametrize("version", ["0.2.0", "v1", "v0.2.0+build", "latest"])
def test_what_cannot_be_a_version_is_refused_at_the_door(fleet: Fleet, version: str) -> None:
    answer = fleet("device", "upgrade", "pi-1", "--to", version)
    assert answer.code == 2
    assert version in answer.err


def test_a_revoked_or_unknown_device_is_not_upgraded(stage: Stage, fleet: Fleet, kube: Kube, namespace: str) -> None:
    assert fleet("device", "upgrade", "pi-2", "--to", "v0.2.0").code == 4
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", '{"spec":{"revoked":true}}')
    answer = fleet("device", "upgrade", "pi-1", "--to", "v0.2.0")
    assert answer.code == 5
    assert stage.device.spec.agent_version == ""
