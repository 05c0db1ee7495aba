"""Least privilege, proven: every rule of the Role is needed, and together they suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fleet.contract.objects import DEPLOYMENTS, DEVICES
from fleet.contract.revision import DEPLOYMENT
from fleet.install.rbac import CAPABILITIES, OPERATOR, Capability, operator_rbac
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Operator

Name = Callable[[str], str]


@pytest.fixture(scope="module")
def operator(kinds: Kube, nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator of this module that reads everything again every half second."""
    running = Operator(kinds, nats, tmp_path_factory.mktemp("operator"), kinds.namespace(), resync=0.5)
    running.start_ready()
    yield running
    running.close()


def work(operator: Operator, device: str, app: str) -> None:
    """Something for each right: an object to hold, a status to tell, a transition to tell of."""
    operator.add_device(device, subject=f"sub-{device}", revoked=True)
    operator.objects.create(f"/apis/apps/v1/namespaces/{operator.namespace}/controllerrevisions", orphan(app))
    operator.deploy(app, select={"for": app})
    # Another name each time: one that was read before may be known still.
    operator.deploy(f"{app}-secret", select={"for": app}, container={"secretEnv": {"A": {"name": app, "key": "a"}}})


def orphan(app: str) -> dict[str, Any]:
    """A revision of a deployment that had the name before, which the operator takes away."""
    spec = {"workload": {"type": "container", "image": "app:0"}}
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": f"{app}-before", "labels": {DEPLOYMENT: app}},
        "revision": 1,
        "data": {"spec": spec},
    }


def done(operator: Operator, device: str, app: str) -> None:
    operator.await_condition(DEVICES, device, "Revoked", ("True", "SessionsDropped"))
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "NoDevices"))
    operator.await_condition(DEPLOYMENTS, f"{app}-secret", "Ready", ("False", "SecretMissing"), timeout=20)
    wait_until(
        lambda: [event["involvedObject"]["name"] for event in operator.objects.events()],
        "the revocation is told",
        timeout=30,
        until=lambda names: device in names,
    )
    path = f"/apis/apps/v1/namespaces/{operator.namespace}/controllerrevisions/{app}-before"
    wait_until(lambda: operator.objects.get(path), "no revision is left", timeout=20, until=lambda found: found is None)


def test_all_rules_together_suffice(operator: Operator, name: Name) -> None:
    device, app = name("pi"), name("web")
    begin = len(operator.log())
    operator.await_ready()
    work(operator, device, app)
    done(operator, device, app)
    operator.delete_device(device)
    operator.delete_deployment(app)
    operator.delete_deployment(f"{app}-secret")
    wait_until(lambda: operator.objects.device(device), "it is gone", timeout=30, until=lambda found: found is None)
    wait_until(lambda: operator.objects.deployment(app), "it is gone", timeout=30, until=lambda found: found is None)
    assert [line for line in operator.log()[begin:] if line["level"] != "info"] == []


@pytest.mark.parametrize("missing", CAPABILITIES, ids=lambda rule: f"{rule.verb}-{rule.resource.replace('/', '-')}")
def test_every_rule_is_needed_and_its_absence_is_named(operator: Operator, missing: Capability, name: Name) -> None:
    device, app = name("pi"), name("web")
    operator.await_ready()
    operator.grant([rule for rule in CAPABILITIES if rule != missing])
    try:
        # The API server answers an established watch without asking again.
        if missing.verb == "watch":
            operator.kill()
            operator.start()
        work(operator, device, app)
        words = f'cannot {missing.verb} resource "{missing.resource}"'
        why = wait_until(operator.readiness, f"it says: {words}", timeout=30, until=lambda said: words in said)
        assert OPERATOR in why, "whose right it is"
        assert any(words in line.get("why", "") for line in operator.log()), "the log says it too"
    finally:
        operator.grant(CAPABILITIES)
    operator.await_ready()
    done(operator, device, app)


def test_nothing_is_granted_beyond_the_namespace_or_by_a_wildcard() -> None:
    account, role, binding = operator_rbac("home")
    assert [item["kind"] for item in (account, role, binding)] == ["ServiceAccount", "Role", "RoleBinding"]
    assert {item["metadata"]["namespace"] for item in (account, role, binding)} == {"home"}
    for rule in role["rules"]:
        assert all(len(values) == 1 for values in rule.values()), "one rule is one right"
        assert "*" not in str(rule)
