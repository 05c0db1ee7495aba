"""Why a workload is not ready: what Kubernetes says, as a person needs it. And what differs, without a secret."""

from __future__ import annotations

import pytest

from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.compare import differences
from fleet.topology.kubernetes.labels import meta
from fleet.topology.kubernetes.reasons import Surroundings, Why, reasons, settled

FULL = {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2}


def workload(kind: str = "Deployment", **status: object) -> Json:
    metadata = meta("fleet-callout", "here", "callout") | {"generation": 3}
    return {"kind": kind, "metadata": metadata, "spec": {"replicas": 2}, "status": FULL | status}


def around(
    pods: list[Json] | None = None, claims: list[Json] | None = None, warnings: list[Json] | None = None
) -> Surroundings:
    return Surroundings(pods or [], claims or [], warnings or [])


def named(name: str, **more: object) -> Json:
    return {"metadata": meta(name, "here", "callout"), **more}


def warning(kind: str, name: str, reason: str, message: str, at: str = "2026-01-01T00:00:00Z") -> Json:
    about = {"kind": kind, "name": name}
    return {"involvedObject": about, "reason": reason, "message": message, "lastTimestamp": at}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, True),
        ({"observedGeneration": 2}, False),
        ({"updatedReplicas": 1}, False),
        ({"readyReplicas": 1}, False),
        ({"replicas": 3}, False),
    ],
    ids=["all", "not looked at", "old template", "not ready", "one too many"],
)
def test_settled_is_all_of_it(status: dict[str, int], expected: bool) -> None:
    item = workload()
    item["status"] |= status
    assert settled(item) is expected


def test_a_workload_that_nobody_has_looked_at() -> None:
    assert reasons(workload(observedGeneration=2), around()) == [Why("Kubernetes has not looked at it yet")]


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
def test_pods_that_are_refused(kind: str) -> None:
    message = 'pods "x" is forbidden: exceeded quota: small'
    condition = {"type": "ReplicaFailure", "status": "True", "message": message}
    told = [warning("StatefulSet", "fleet-callout", "FailedCreate", message)]
    item = workload(kind, readyReplicas=0, conditions=[condition] if kind == "Deployment" else None)
    found = reasons(item, around(warnings=told if kind == "StatefulSet" else []))
    assert found == [Why(f"Kubernetes makes no pods: {message}", hopeless=True)]


def test_a_claim_that_is_not_served() -> None:
    claim = named("data-fleet-callout-0", status={"phase": "Pending"})
    told = [
        warning("PersistentVolumeClaim", "data-fleet-callout-0", "ProvisioningFailed", "an old one"),
        warning("PersistentVolumeClaim", "data-fleet-callout-0", "ProvisioningFailed", 'no "fast"', "2026-01-02"),
        warning("PersistentVolumeClaim", "another", "ProvisioningFailed", "not ours"),
    ]
    found = reasons(workload(readyReplicas=0), around(claims=[claim], warnings=told))
    assert found == [Why('its volume data-fleet-callout-0 is not there: no "fast"', hopeless=True)]
    bound = named("data-fleet-callout-0", status={"phase": "Bound"})
    assert reasons(workload(readyReplicas=0), around(claims=[bound])) == [Why("0 of 2 pods are ready")]


def container(state: Json, *, crashes: int = 0, last: Json | None = None) -> Json:
    known = {"image": "fleet:x", "ready": False, "restartCount": crashes, "state": state}
    return {"containerStatuses": [known | {"lastState": {"terminated": last} if last else {}}]}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (container({"waiting": {"reason": "ContainerCreating"}}), Why("p is being made: no such secret")),
        (
            container({"waiting": {"reason": "ErrImageNeverPull", "message": "not present"}}),
            Why("the image fleet:x cannot be had: not present", hopeless=True),
        ),
        (
            container({"waiting": {"reason": "CreateContainerConfigError", "message": "runAsNonRoot"}}),
            Why("p cannot start: runAsNonRoot", hopeless=True),
        ),
        (
            container({"terminated": {"exitCode": 1, "reason": "OOMKilled"}}),
            Why("p ended with code 1, 0 times: OOMKilled"),
        ),
        (
            container({"running": {}}, crashes=4, last={"exitCode": 2, "message": "one\ntwo\n"}),
            Why("p ended with code 2, 4 times: one / two", hopeless=True),
        ),
        (container({"running": {}}), Why("p runs, and is not ready: no such secret")),
    ],
    ids=["mount", "image", "config", "ended", "crashes", "probe"],
)
def test_a_pod(status: Json, expected: Why) -> None:
    told = [warning("Pod", "p", "Any", "no such secret")]
    assert reasons(workload(readyReplicas=0), around([named("p", status=status)], warnings=told)) == [expected]


def test_the_hopeless_come_alone_and_pods_of_others_do_not_count() -> None:
    ending = named("old", status={})
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    foreign = {"metadata": meta("p", "here", "nats"), "status": container({"waiting": {"reason": "ErrImagePull"}})}
    assert reasons(workload(readyReplicas=0), around([ending, foreign])) == [Why("the earlier old is still ending")]
    ill = named("new", status=container({"waiting": {"reason": "ErrImagePull"}}))
    (why,) = reasons(workload(readyReplicas=0), around([ending, ill]))
    assert why.hopeless


def item(kind: str, data: Json, **metadata: object) -> Json:
    return {"kind": kind, "metadata": {"name": "x", **metadata}, "data": data, "status": {"any": 1}}


def test_what_the_server_writes_is_no_difference() -> None:
    before = item("ConfigMap", {"a": 1}, resourceVersion="1", managedFields=[{"time": "now"}], generation=1)
    after = item("ConfigMap", {"a": 1}, resourceVersion="2", managedFields=[], generation=2)
    assert differences(before, after) == []


def test_differences_are_told_by_path_and_name() -> None:
    before = item("ConfigMap", {"list": [{"name": "web", "port": 1}], "gone": True, "long": "x"})
    after = item("ConfigMap", {"list": [{"name": "web", "port": 2}], "new": [], "long": "y" * 100})
    assert differences(before, after) == [
        "data.list[web].port: 1 → 2",
        "data.gone: true → (none)",
        f'data.long: "x" → "{"y" * 59}…',
        "data.new: (none) → []",
    ]


def test_a_secret_is_never_told() -> None:
    told = differences(item("Secret", {"a": "b25l", "b": "dHdv"}), item("Secret", {"a": "dHdv", "c": "dHdv"}))
    assert told == ["data.a: (secret) → (secret)", "data.b: (secret) → (none)", "data.c: (none) → (secret)"]
