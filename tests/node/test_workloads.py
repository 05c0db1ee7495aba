"""What is made of pods, claims, events and logs, without a cluster."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.errors import TargetUnavailable
from harness.targets.node.logs import Follower
from harness.targets.node.plan import Plan, machines
from harness.targets.node.volumes import unclaimed, unserved, volume_for
from harness.targets.node.workloads import by_part, deaths, event_of, health_port, is_ready, status_of

Json = dict[str, Any]


def pod(name: str, component: str = "callout", *, ready: bool = True, restarts: int = 0, gone: bool = False) -> Json:
    container: Json = {"name": component, "restartCount": restarts, "state": {"running": {}}}
    return {
        "metadata": {
            "name": name,
            "labels": {"app.kubernetes.io/component": component},
            **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if gone else {}),
        },
        "spec": {},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": str(ready), "message": "" if ready else "containers not ready"}],
            "containerStatuses": [container],
        },
    }


def test_a_part_is_all_pods_of_a_component_and_ready_with_one() -> None:
    pods = by_part([pod("b", ready=False), pod("a", gone=True), pod("c", restarts=2), {"metadata": {"name": "x"}}])
    assert [it["metadata"]["name"] for it in pods["callout"]] == ["b", "c", "a"], "those on their way out last"
    status = status_of("callout", pods["callout"], 7)
    assert (status.side, status.pid, status.starts, status.ready) == ("product", 7, 5, True)


def test_a_part_without_a_ready_pod_says_why() -> None:
    assert not is_ready(pod("a", gone=True)), "traffic to a pod that leaves is over"
    waiting = pod("n-0", "nats", ready=False)
    waiting["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "5s"}}
    status = status_of("nats", [waiting, pod("n-1", "nats", ready=False)], None)
    assert status.side == "world"
    assert status.unready == (
        "n-0 is Running, not ready (CrashLoopBackOff 5s); n-1 is Running, not ready (containers not ready)"
    )


def test_a_death_counts_from_when_it_is_asked_for() -> None:
    ended = pod("operator-1", "operator", restarts=1)
    last = {"terminated": {"finishedAt": "2026-01-01T12:00:00Z", "reason": "OOMKilled", "exitCode": 137}}
    ended["status"]["containerStatuses"][0]["lastState"] = last
    noon = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    assert deaths([ended, pod("x")], noon) == ["operator-1/operator ended (OOMKilled, exit code 137)"]
    assert deaths([ended], noon + datetime.timedelta(seconds=1)) == []


def test_an_event_is_told_on_both_clocks() -> None:
    item = {
        "lastTimestamp": "1970-01-01T00:01:40Z",
        "type": "Warning",
        "reason": "BackOff",
        "message": "restarting",
        "involvedObject": {"kind": "Pod", "name": "nats-0"},
    }
    event = event_of(item, offset=90)
    assert event is not None
    assert (event.component, event.what) == ("pod/nats-0", "Warning BackOff: restarting")
    assert (event.wall, event.monotonic) == pytest.approx((100.999, 10.999)), "at the end of the second that it names"
    exact = event_of(item | {"eventTime": "1970-01-01T00:01:40.250000Z"}, offset=90)
    assert exact is not None
    assert exact.wall == 100.25
    assert event_of({"involvedObject": {}}, 0) is None, "an event without any time has no place in a timeline"


def test_a_pods_own_page_is_on_the_port_of_its_readiness_probe() -> None:
    ports = [{"name": "nats", "containerPort": 4222}, {"name": "monitor", "containerPort": 8222}]
    container: Json = {"ports": ports, "readinessProbe": {"httpGet": {"port": "monitor"}}}
    assert health_port({"spec": {"containers": [container]}}) == 8222
    assert health_port({"spec": {"containers": [{"readinessProbe": {"httpGet": {"port": 8443}}}]}}) == 8443
    inside: Json = {"readinessProbe": {"exec": {"command": ["wget"]}}}
    with pytest.raises(TargetUnavailable, match="fleet-nats-0 answers inside its own pod alone"):
        health_port({"metadata": {"name": "fleet-nats-0"}, "spec": {"containers": [inside]}})


def claim(uid: str, storage_class: str = "standard", volume: str = "") -> Json:
    spec: Json = {"storageClassName": storage_class, "accessModes": ["ReadWriteOnce"], "volumeName": volume}
    spec["resources"] = {"requests": {"storage": "1Gi"}}
    return {"metadata": {"uid": uid, "name": "data", "namespace": "n"}, "spec": spec}


def test_claims_of_our_class_get_a_volume_once_and_lose_it_with_their_end() -> None:
    one, two = claim("1"), claim("2")
    volume = volume_for(one, Path("/volumes/1"))
    assert unserved([one, two, claim("3", "other"), claim("4", volume="given")], [volume]) == [two]
    assert unclaimed([two], [volume]) == [volume]
    assert unclaimed([one], [volume, {"spec": {"storageClassName": "other"}}]) == []


def test_what_pods_say_is_copied_line_by_line(tmp_path: Path) -> None:
    """In whole lines and without the kubelet's marks; of our namespaces only; also when a pod comes anew."""
    plan = Plan(tmp_path, machines(2), "g", 1, (2,), {}, "pause")
    plan.save()
    logs = tmp_path / "logs"
    logs.mkdir()
    follower = Follower(tmp_path, logs, ["fleet"])

    def say(machine: str, pod: str, text: str) -> None:
        file = tmp_path / "machines" / machine / "pod-logs" / pod / "nats" / "0.log"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as log:
            log.write(text)

    say("n1", "fleet_nats-0_uid1", "2026-01-01T00:00:00Z stdout F first\n2026-01-01T00:00:00Z stderr F sec")
    say("n1", "other_nats-0_uid9", "2026-01-01T00:00:00Z stdout F not ours\n")
    follower.poll()
    say("n1", "fleet_nats-0_uid1", "ond\n")
    say("n2", "fleet_nats-0_uid2", "2026-01-01T00:00:00Z stdout F third\n")
    follower.poll()
    follower.poll()
    assert (logs / "nats.log").read_text() == "first\nsecond\nthird\n"
