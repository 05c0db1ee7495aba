"""What a run may send to a cluster that is only visited."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.errors import Misused
from harness.targets.cluster.policy import RUN_LABEL, Forbidden, Rules, Target, Verdict, check_owner, judge, marked

OURS = "/apis/fleet.nationtech.io/v1alpha1/namespaces/lab"
RUN = Rules("lab", "run-1")
LOOK = Rules("lab")
PAGE = "/api/v1/namespaces/lab/pods/callout-0:8080/proxy/metrics"
WRITES = ("POST", "PUT", "PATCH", "DELETE")


@pytest.mark.parametrize("rules", [RUN, LOOK])
@pytest.mark.parametrize(
    "path", ["/api/v1/namespaces/lab/pods", "/version", "/apis", f"{OURS}/devices/pi-1", "/", PAGE]
)
def test_every_look_is_sent(rules: Rules, path: str) -> None:
    assert judge(rules, "GET", path)[0] is Verdict.SEND


@pytest.mark.parametrize("rules", [RUN, LOOK])
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/lab/pods/nats-0/exec",
        "/api/v1/namespaces/lab/pods/nats-0/portforward",
        "/api/v1/namespaces/lab/pods/nats-0/attach",
        "/api/v1/namespaces/lab/services/web/proxy/delete-all",
        "/api/v1/namespaces/lab/pods/web-0:80/proxy/metrics/../delete-all",
    ],
)
def test_a_look_that_opens_a_door_is_not(rules: Rules, path: str) -> None:
    with pytest.raises(Forbidden, match="may be more than a look"):
        judge(rules, "GET", path)


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("path", [f"{OURS}/devices", f"{OURS}/devices/pi-1", "/api/v1/namespaces", "/anything"])
def test_read_only_sends_no_write_at_all(method: str, path: str) -> None:
    with pytest.raises(Forbidden, match="may only look"):
        judge(LOOK, method, path)


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/namespaces/lab/secrets",
        "/api/v1/namespaces/lab/pods/nats-0",
        "/apis/apps/v1/namespaces/lab/deployments/callout",
        "/apis/coordination.k8s.io/v1/namespaces/lab/leases/fleet-test-run",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/devices.fleet.nationtech.io",
        "/apis/fleet.nationtech.io/v1alpha1/namespaces/other/devices",
        "/apis/fleet.nationtech.io/v1alpha1/devices",
        OURS,
    ],
)
def test_nothing_but_our_kinds_in_our_namespace_is_written(method: str, path: str) -> None:
    with pytest.raises(Forbidden, match="writes nothing but devices and fleetdeployments in lab"):
        judge(RUN, method, path)


def test_a_login_may_ask_who_it_is() -> None:
    for version in ("v1", "v1beta1"):
        path = f"/apis/authentication.k8s.io/{version}/selfsubjectreviews"
        assert judge(RUN, "POST", path)[0] is Verdict.SEND
        with pytest.raises(Forbidden):
            judge(RUN, "DELETE", path)


def test_what_is_made_is_marked_and_what_is_changed_must_be_ours() -> None:
    assert judge(RUN, "POST", f"{OURS}/devices") == (Verdict.MARK, Target("devices", ""))
    for method in ("PUT", "PATCH", "DELETE"):
        assert judge(RUN, method, f"{OURS}/devices/pi-1") == (Verdict.OWN, Target("devices", "pi-1"))
    assert judge(RUN, "PATCH", f"{OURS}/fleetdeployments/web/status")[1] == Target("fleetdeployments", "web")
    with pytest.raises(Forbidden, match="does not DELETE all devices at once"):
        judge(RUN, "DELETE", f"{OURS}/devices")


@pytest.mark.parametrize(
    ("labels", "says"),
    [({}, "somebody who is no test run"), ({RUN_LABEL: "run-2"}, "the run run-2"), ({RUN_LABEL: "run-1"}, "")],
)
def test_only_the_runs_own_mark_counts(labels: dict[str, str], says: str) -> None:
    held = {"metadata": {"labels": labels}}
    if not says:
        return check_owner(RUN, Target("devices", "pi-1"), held)
    with pytest.raises(Forbidden, match=f"devices/pi-1 was made by {says}"):
        check_owner(RUN, Target("devices", "pi-1"), held)
    return None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"metadata": {"name": "pi-1", "labels": {"site": "lab", RUN_LABEL: "run-2"}}}, "application/json"),
        ({"spec": {"revoked": True}}, "application/merge-patch+json"),
        ({"metadata": None}, "application/apply-patch+yaml"),
    ],
)
def test_the_mark_is_set_whatever_was_sent(body: dict[str, Any], kind: str) -> None:
    sent = json.loads(marked(RUN, json.dumps(body).encode(), kind))
    assert sent["metadata"]["labels"][RUN_LABEL] == "run-1"
    assert sent.get("spec") == body.get("spec")


def test_yaml_is_marked_too_and_what_cannot_be_is_refused() -> None:
    assert json.loads(marked(RUN, b"metadata:\n  name: pi-1\n", "application/yaml"))["metadata"]["name"] == "pi-1"
    for body in (b"[1]", b"{", b"\x00\x01"):
        with pytest.raises(Misused):
            marked(RUN, body, "application/json")


_PATCH = "application/json-patch+json"
_MARK = f"/metadata/labels/{RUN_LABEL.replace('/', '~1')}"


@pytest.mark.parametrize(
    "step",
    [
        {"op": "remove", "path": _MARK},
        {"op": "replace", "path": "/metadata/labels", "value": {}},
        {"op": "replace", "path": "/metadata", "value": {}},
        {"op": "replace", "path": "", "value": {}},
        {"op": "move", "from": _MARK, "path": "/metadata/annotations/a"},
        {"op": "move", "from": "/metadata", "path": "/spec/a"},
        {"op": "remove"},
    ],
)
def test_a_json_patch_can_not_take_the_mark_away(step: dict[str, Any]) -> None:
    steps = [{"op": "replace", "path": "/spec/revoked", "value": True}, step]
    with pytest.raises(Misused, match=r"labels|no JSON patch"):
        marked(RUN, json.dumps(steps).encode(), _PATCH)


def test_a_json_patch_of_anything_else_is_sent_as_it_is() -> None:
    """`fleet deployment restart` sends such a one."""
    steps = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"},
        {"op": "add", "path": "/metadata/annotations/a~1b", "value": "c"},
        {"op": "add", "path": "/spec/workload/labels", "value": {"a": "b"}},
    ]
    body = json.dumps(steps).encode()
    assert marked(RUN, body, _PATCH) == body
