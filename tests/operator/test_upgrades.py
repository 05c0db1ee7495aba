"""Orders of agent versions, on real servers: who writes them, and what happens when somebody else did."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fleet.contract.buckets import AGENT_TARGET
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.objects import DEVICES
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.wire import AgentTarget
from harness.errors import HarnessError
from harness.wait import wait_until
from tests.support.operator import Operator

Name = Callable[[str], str]
UNPUBLISHED = AgentVersion("v9.9.9")


def test_an_unknown_version_is_refused_in_the_status(operator: Operator, name: Name) -> None:
    device = name("pi")
    operator.add_device(device, agentVersion=str(UNPUBLISHED))
    operator.await_condition(DEVICES, device, "Upgraded", ("False", "UnknownVersion"))
    assert operator.keys.get(AGENT_TARGET, device) is None


def test_what_is_not_wanted_any_more_is_withdrawn(operator: Operator, name: Name) -> None:
    """Also an order that another operator gave."""
    device = name("pi")
    operator.add_device(device)
    operator.await_condition(DEVICES, device, "Enrolled", ("False", "NoSubject"))
    given = AgentTarget(UNPUBLISHED, Digest("sha256:" + "1" * 64), 7)
    operator.keys.put(AGENT_TARGET, device, given)
    wait_until(
        lambda: operator.keys.get(AGENT_TARGET, device),
        "the order is withdrawn",
        timeout=30,
        until=lambda target: isinstance(target, AgentTarget) and target.withdrawn and target.generation == 7,
    )


def test_how_an_attempt_ended_stands_in_the_status(operator: Operator, name: Name) -> None:
    device = name("pi")
    operator.add_device(device, agentVersion=str(UNPUBLISHED), agentOrder=1)
    operator.await_condition(DEVICES, device, "Upgraded", ("False", "UnknownVersion"))
    operator.keys.put(AGENT_TARGET, device, AgentTarget(UNPUBLISHED, Digest("sha256:" + "1" * 64), 3, order=1))
    operator.inform(device, upgrade=UpgradeStatus(3, UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED))
    operator.await_condition(DEVICES, device, "Upgraded", ("True", "Confirmed"))
    counted = 'fleet_operator_upgrades{reason="Confirmed"}'
    wait_until(lambda: operator.metric(counted), "it is counted", timeout=30)


@pytest.mark.parametrize("version", ["0.1.2", "v1", "v01.2.3", "v0.1.2+build", "latest"])
def test_what_is_no_version_is_refused_at_the_door(operator: Operator, name: Name, version: str) -> None:
    with pytest.raises(HarnessError, match="agentVersion"):
        operator.add_device(name("pi"), agentVersion=version)
