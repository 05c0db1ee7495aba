"""Least privilege, proven: every rule of the Role is needed, and together they suffice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from fleet.contract.objects import DEPLOYMENTS, DEVICES
from fleet.scores.rbac import CAPABILITIES, OPERATOR, Capability, operator_rbac
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
    operator.deploy(app, select={"for": app})


def done(operator: Operator, device: str, app: str) -> None:
    operator.await_condition(DEVICES, device, "Revoked", ("True", "SessionsDropped"))
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "NoDevices"))
    wait_until(
        lambda: [event["involvedObject"]["name"] for event in operator.objects.events()],
        "the revocation is told",
        timeout=10,
        until=lambda names: device in names,
    )


def test_all_rules_together_suffice(operator: Operator, name: Name) -> None:
    device, app = name("pi"), name("web")
    begin = len(operator.log())
    operator.await_ready()
    work(operator, device, app)
    done(operator, device, app)
    operator.delete_device(device)
    operator.delete_deployment(app)
    wait_until(lambda: operator.objects.device(device), "it is gone", timeout=10, until=lambda found: found is None)
    wait_until(lambda: operator.objects.deployment(app), "it is gone", timeout=10, until=lambda found: found is None)
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
