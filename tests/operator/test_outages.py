"""Killing the operator, NATS or the API server delays what is to be done, and loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE, IDENTITIES
from fleet.contract.names import DeviceId
from fleet.contract.objects import DEPLOYMENTS, DEVICES
from fleet.contract.wire import DesiredIndex, Identity, IdentityState
from harness.errors import Unanswered
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Operator

Name = Callable[[str], str]


@pytest.fixture
def own_operator(kinds: Kube, own_nats: Nats, tmp_path: Path) -> Iterator[Operator]:
    """An operator of this test with a NATS server of its own, which reads everything again every 2 s."""
    running = Operator(kinds, own_nats, tmp_path / "operator", kinds.namespace(), resync=2)
    running.start_ready()
    yield running
    running.close()


def runs(operator: Operator, device: str, wanted: dict[str, int]) -> None:
    wait_until(
        lambda: operator.keys.get(DESIRED_INDEX, device),
        f"{device} has orders for {wanted}",
        timeout=20,
        until=lambda index: index == DesiredIndex(wanted),
    )


def prepare(operator: Operator, *devices: str) -> None:
    for device in devices:
        operator.add_device(device, subject=f"sub-{device}", labels={"site": "lab"})
    operator.deploy("web", select={"site": "lab"})
    for device in devices:
        runs(operator, device, {"web": 1})


def test_what_happens_while_the_operator_is_dead_is_done_when_it_is_back(own_operator: Operator) -> None:
    operator = own_operator
    prepare(operator, "pi-1", "pi-2", "pi-3", "pi-4")
    operator.kill()
    operator.edit_deployment("web", workload={"image": "app:2"})
    operator.edit_device("pi-1", revoked=True)
    operator.edit_device("pi-2", labels={"site": "home"})
    operator.delete_device("pi-3")
    operator.edit_device("pi-4", subject="sub-new", enrollment=1)
    operator.keys.delete(DESIRED_INDEX, "pi-4")
    operator.start_ready()
    runs(operator, "pi-4", {"web": 2})
    runs(operator, "pi-2", {})
    runs(operator, "pi-1", {"web": 1})
    operator.await_condition(DEVICES, "pi-1", "Revoked", ("True", "SessionsDropped"))
    wait_until(lambda: operator.objects.device("pi-3"), "pi-3 is gone", timeout=30, until=lambda found: found is None)
    assert operator.keys.get(DESIRED_STATE, "pi-3.web") is None
    wait_until(
        lambda: [operator.registry.get(IDENTITIES, f"sub-{name}") for name in ("pi-3", "pi-4", "new")],
        "the registry is right",
        timeout=30,
        until=lambda found: found == [None, None, Identity(DeviceId("pi-4"), IdentityState.ACTIVE)],
    )


def test_killing_the_operator_at_any_moment_of_a_busy_time_only_delays_it(own_operator: Operator) -> None:
    operator = own_operator
    devices = [f"pi-{number}" for number in range(12)]
    for device in devices:
        operator.add_device(device, subject=f"sub-{device}", labels={"site": "lab"})
    operator.deploy("web", select={"site": "lab"})
    for generation in range(2, 5):
        # Whatever it is doing just then: no moment is chosen.
        operator.kill()
        operator.edit_deployment("web", workload={"image": f"app:{generation}"})
        operator.start_ready()
    for device in devices:
        runs(operator, device, {"web": 4})
        operator.report(device, "web", 4)
    operator.await_condition(DEPLOYMENTS, "web", "Ready", ("True", "ReadyWhenLastHeard"))
    operator.delete_deployment("web")
    operator.kill()
    operator.start_ready()
    wait_until(lambda: operator.objects.deployment("web"), "web is gone", timeout=30, until=lambda found: found is None)
    for device in devices:
        assert operator.keys.get(DESIRED_INDEX, device) == DesiredIndex({})


def test_a_restart_of_nats_is_survived(own_operator: Operator) -> None:
    operator = own_operator
    assert operator.process
    pid = operator.process.pid
    prepare(operator, "pi-1")
    operator.nats.kill()
    wait_until(operator.readiness, "it says what is wrong", timeout=30, until=lambda why: "NATS as fleet-app" in why)
    operator.edit_deployment("web", workload={"image": "app:2"})
    operator.nats.start()
    runs(operator, "pi-1", {"web": 2})
    operator.await_ready()
    operator.beat("pi-1")
    operator.await_condition(DEVICES, "pi-1", "Online", ("True", "HeartbeatReceived"))
    operator.edit_device("pi-1", revoked=True)
    operator.await_condition(DEVICES, "pi-1", "Revoked", ("True", "SessionsDropped"))
    assert operator.process.pid == pid
    assert operator.process.poll() is None


def test_while_nats_hangs_no_device_is_said_to_be_heard_and_afterwards_nobody_was_offline(
    own_operator: Operator,
) -> None:
    """Stopped in the middle: its connections stand, and nothing comes."""
    operator = own_operator
    prepare(operator, "pi-1")
    operator.beat("pi-1", interval=1)
    operator.await_condition(DEVICES, "pi-1", "Online", ("True", "HeartbeatReceived"))
    assert operator.nats.process
    hung = operator.nats.process.pid
    os.kill(hung, signal.SIGSTOP)
    try:
        operator.await_condition(DEVICES, "pi-1", "Online", ("Unknown", "NatsSilent"), timeout=20)
        found = operator.objects.device("pi-1")
        assert found
        assert "has heard nothing from NATS since 20" in next(
            one.message for one in found.status.conditions if one.type == "Online"
        )
        assert "sign of life" in operator.readiness()
    finally:
        os.kill(hung, signal.SIGCONT)
    operator.await_ready()
    operator.beat("pi-1", interval=30)
    operator.await_condition(DEVICES, "pi-1", "Online", ("True", "HeartbeatReceived"))
    told = operator.kube.kubectl("-n", operator.namespace, "get", "events", "-o", "jsonpath={.items[*].reason}")
    assert "HeartbeatMissed" not in told.split()


def test_keys_that_are_lost_with_the_disk_of_nats_are_written_anew(own_operator: Operator) -> None:
    operator = own_operator
    prepare(operator, "pi-1")
    operator.nats.kill()
    store = operator.nats.root / "jetstream"
    store.rename(store.with_name("lost"))
    operator.nats.start()
    wait_until(lambda: _index(operator, "pi-1"), "the index is back", timeout=20, until=lambda i: i is not None)
    assert operator.registry.get(IDENTITIES, "sub-pi-1") == Identity(DeviceId("pi-1"), IdentityState.ACTIVE)
    operator.await_ready()


def _index(operator: Operator, device: str) -> DesiredIndex | None:
    try:
        return operator.keys.get(DESIRED_INDEX, device)
    except Unanswered:
        return None


def test_a_restart_of_the_api_server_is_survived(own_operator: Operator) -> None:
    operator = own_operator
    assert operator.process
    prepare(operator, "pi-1")
    operator.kube.stop()
    wait_until(operator.readiness, "it says what is wrong", timeout=30, until=lambda why: "API server" in why)
    asked = operator.metric("fleet_operator_pass_seconds_count")
    operator.beat("pi-1")
    operator.kube.start()
    operator.await_ready()
    operator.await_condition(DEVICES, "pi-1", "Online", ("True", "HeartbeatReceived"))
    operator.edit_deployment("web", workload={"image": "app:2"})
    runs(operator, "pi-1", {"web": 2})
    assert operator.process.poll() is None
    assert operator.metric("fleet_operator_pass_seconds_count") - asked < 60, "it did not spin meanwhile"
    assert len(operator.log_file.read_bytes()) < 40_000, "nor fill its log"
    assert "Traceback" not in operator.log_file.read_text()
