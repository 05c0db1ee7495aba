"""`fleet device cordon|uncordon` and `fleet deployment pause|resume`: what they write, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet


def test_a_device_is_cordoned_once(fleet: Fleet, device: Callable[[str], None], probe: KubeProbe) -> None:
    device("pi-1")
    for changed in (True, False):
        answer = fleet("device", "cordon", "pi-1", "-o", "json")
        assert answer.json == {"device": "pi-1", "cordoned": True, "changed": changed, "change": answer.json["change"]}
        assert bool(answer.json["change"]) is changed
    held = probe.device("pi-1")
    assert held
    assert held.spec.cordoned
    assert "nothing was changed" in fleet("device", "cordon", "pi-1").out
    assert fleet("device", "uncordon", "pi-1", "-o", "json").json["changed"] is True
    held = probe.device("pi-1")
    assert held
    assert not held.spec.cordoned
    assert fleet("device", "cordon", "pi-2").code == 4


def test_a_deployment_is_paused_once(fleet: Fleet, device: Callable[[str], None], probe: KubeProbe) -> None:
    device("pi-1")
    assert fleet("deployment", "apply", "--name", "web", "--image", "web:1", "--all").code == 0
    for changed in (True, False):
        answer = fleet("deployment", "pause", "web", "-o", "json")
        assert answer.json == {"deployment": "web", "paused": True, "changed": changed, "change": answer.json["change"]}
        assert bool(answer.json["change"]) is changed
    assert fleet("deployment", "apply", "--name", "web", "--image", "web:2").code == 0
    held = probe.deployment("web")
    assert held
    assert held.spec.paused, "options change what they name, and leave the rest as it is"
    assert fleet("deployment", "resume", "web", "-o", "json").json["changed"] is True
    assert fleet("deployment", "pause", "job").code == 4


@pytest.mark.parametrize("words", [("device", "cordon"), ("device", "uncordon"), ("deployment", "pause")])
def test_a_name_that_cannot_be_is_refused(fleet: Fleet, words: tuple[str, str]) -> None:
    assert fleet(*words, "No_Name").code == 2
