"""`fleet device events` and `fleet deployment events`, and who ordered what: the test plays the operator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.contract.change import change_of
from harness.probes.kube import KubeProbe
from tests.cli.conftest import Fleet
from tests.support.kube import Kube

Json = dict[str, Any]
Tell = Callable[..., None]


@pytest.fixture
def tell(kube: Kube, namespace: str) -> Tell:
    """The operator writes an Event."""

    def write(about: Json, name: str, reason: str, last: str, **more: object) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": about,
            "type": "Normal",
            "reason": reason,
            "message": f"it was {reason}",
            "lastTimestamp": last,
            **more,
        }
        kube.kubectl("apply", "-f", "-", stdin=json.dumps(body))

    return write


def about(kind: str, name: str, namespace: str, uid: str) -> Json:
    return {"kind": kind, "name": name, "namespace": namespace, "uid": uid}


def test_the_events_of_one_device_stand_in_the_order_of_time(
    fleet: Fleet, device: Callable[[str], None], tell: Tell, probe: KubeProbe, namespace: str
) -> None:
    device("pi-1")
    found = probe.device("pi-1")
    assert found
    assert "no events of pi-1 are kept" in fleet("device", "events", "pi-1").out
    mine = about("Device", "pi-1", namespace, found.metadata.uid)
    tell(mine, "pi-1.b", "Started", "2026-11-29T10:00:02Z", count=7, firstTimestamp="2026-11-29T09:00:00Z")
    tell(mine, "pi-1.a", "Pulling", "2026-11-29T10:00:01Z")
    tell({**mine, "uid": "of-the-one-before"}, "pi-1.c", "Old", "2026-11-29T10:00:00Z")
    tell({**mine, "kind": "FleetDeployment"}, "pi-1.d", "Other", "2026-11-29T10:00:00Z")
    answer = fleet("device", "events", "pi-1")
    assert [line.split() for line in answer.out.splitlines()[1:]] == [
        ["2026-11-29T10:00:01Z", "Normal", "Pulling", "1", "it", "was", "Pulling"],
        ["2026-11-29T10:00:02Z", "Normal", "Started", "7", "it", "was", "Started"],
    ]
    told = fleet("device", "events", "pi-1", "-o", "json").json
    assert [(one["reason"], one["count"], one["first"]) for one in told] == [
        ("Pulling", 1, "2026-11-29T10:00:01Z"),
        ("Started", 7, "2026-11-29T09:00:00Z"),
    ]
    assert fleet("device", "events", "pi-2").code == 4
    assert fleet("deployment", "events", "pi-1").code == 4


def test_who_follows_sees_each_event_once(
    fleet: Fleet,
    device: Callable[[str], None],
    tell: Tell,
    probe: KubeProbe,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device("pi-1")
    found = probe.device("pi-1")
    assert found
    mine = about("Device", "pi-1", namespace, found.metadata.uid)
    tell(mine, "pi-1.a", "Pulling", "2026-11-29T10:00:01Z")
    looks = iter([lambda: tell(mine, "pi-1.b", "Started", "2026-11-29T10:00:02Z"), lambda: None])

    def next_look(_: float) -> None:
        (next(looks, None) or _interrupt)()

    monkeypatch.setattr("fleet.cli.events.time", SimpleNamespace(sleep=next_look))
    answer = fleet("device", "events", "pi-1", "--follow")
    assert answer.code == 130
    assert [line.split()[2] for line in answer.out.splitlines()] == ["Pulling:", "Started:"]


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_each_order_says_who_gave_it_and_by_which_command(
    fleet: Fleet, device: Callable[[str], None], probe: KubeProbe, kube: Kube, namespace: str
) -> None:
    device("pi-1")
    found = probe.device("pi-1")
    assert found
    enrolled = change_of(found.metadata)
    assert enrolled
    assert (enrolled.command, enrolled.by) == ("fleet device enroll", "admin")
    for words in (("cordon",), ("uncordon",), ("upgrade", "--to", "v0.1.2")):
        answer = fleet("device", words[0], "pi-1", *words[1:], "-o", "json")
        found = probe.device("pi-1")
        assert found
        change = change_of(found.metadata)
        assert change
        assert (change.id, change.command, change.by) == (answer.json["change"], f"fleet device {words[0]}", "admin")
    kube.kubectl("-n", namespace, "patch", "device", "pi-1", "--type=merge", "-p", '{"spec": {"cordoned": true}}')
    found = probe.device("pi-1")
    assert found
    assert change_of(found.metadata) is None, "kubectl did that, and nobody else is said to have"


def test_an_applied_deployment_says_it_too_and_a_pause_in_between_is_no_conflict(
    fleet: Fleet, device: Callable[[str], None], probe: KubeProbe
) -> None:
    device("pi-1")
    apply = ("deployment", "apply", "--name", "web", "--all", "--image")
    pause, resume = ("deployment", "pause", "web"), ("deployment", "resume", "web")
    seen: list[tuple[str, str]] = []
    for words in ((*apply, "web:1"), pause, (*apply, "web:2"), resume):
        answer = fleet(*words, "-o", "json")
        assert answer.code == 0, answer.err
        found = probe.deployment("web")
        assert found
        change = change_of(found.metadata)
        assert change
        assert change.id == answer.json["change"]
        seen.append((change.command, change.by))
    assert seen == [(f"fleet deployment {verb}", "admin") for verb in ("apply", "pause", "apply", "resume")]
    again = fleet(*apply, "web:2", "-o", "json").json
    assert (again["changed"], again["change"]) == (False, "")


def test_a_file_that_was_shown_does_not_bring_back_who_ordered_it(
    fleet: Fleet, device: Callable[[str], None], probe: KubeProbe, tmp_path: Path
) -> None:
    device("pi-1")
    assert fleet("deployment", "apply", "--name", "web", "--image", "web:1", "--all").code == 0
    assert fleet("deployment", "pause", "web").code == 0
    shown = fleet("deployment", "show", "web", "-o", "json").json
    shown["spec"]["workload"]["image"] = "web:2"
    (tmp_path / "web.json").write_text(json.dumps(shown))
    answer = fleet("deployment", "apply", "--file", str(tmp_path / "web.json"), "--all", "-o", "json")
    assert answer.code == 0, answer.err
    found = probe.deployment("web")
    assert found
    change = change_of(found.metadata)
    assert change
    assert change.id == answer.json["change"]
