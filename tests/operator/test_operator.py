"""The operator at work: Kubernetes objects in, keys and status out, on real servers."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet.contract.buckets import (
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    DEVICE_STATE,
    IDENTITIES,
)
from fleet.contract.names import DeviceId
from fleet.contract.objects import DEPLOYMENTS, DEVICES
from fleet.contract.wire import Container, Desired, DesiredIndex, Identity, IdentityState, Phase
from harness.wait import wait_until
from tests.support.operator import Operator

Name = Callable[[str], str]


def await_index(operator: Operator, device: str, wanted: dict[str, int], timeout: float = 30) -> None:
    wait_until(
        lambda: operator.keys.get(DESIRED_INDEX, device),
        f"{device} has orders for {wanted}",
        timeout=timeout,
        until=lambda index: index == DesiredIndex(wanted),
        interval=0.005,
    )


def test_a_device_is_registered_and_given_an_index(operator: Operator, name: Name) -> None:
    device = name("pi")
    operator.add_device(device, subject=f"sub-{device}")
    await_index(operator, device, {})
    operator.await_condition(DEVICES, device, "Enrolled", ("True", "IdentityRegistered"))
    assert operator.registry.get(IDENTITIES, f"sub-{device}") == Identity(DeviceId(device), IdentityState.ACTIVE)
    assert operator.condition(DEVICES, device, "Online") == ("Unknown", "NeverSeen")


def test_every_change_reaches_nats(operator: Operator, name: Name) -> None:
    device, app = name("pi"), name("web")
    operator.add_device(device, labels={"for": app})
    await_index(operator, device, {})
    operator.deploy(app, select={"for": app})
    await_index(operator, device, {app: 1})
    for generation in range(2, 7):
        operator.edit_deployment(app, workload={"image": f"app:{generation}"})
        await_index(operator, device, {app: generation})
    assert operator.keys.get(DESIRED_STATE, f"{device}.{app}") == Desired(6, Container("app:6"))


def test_a_deployment_goes_through_its_whole_life(operator: Operator, name: Name) -> None:
    one, two, app = name("pi"), name("pi"), name("web")
    for device in (one, two):
        operator.add_device(device, labels={"for": app})
    operator.deploy(app, select={"for": app})
    for device in (one, two):
        await_index(operator, device, {app: 1})
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "InProgress"))
    operator.report(one, app, 1)
    operator.report(two, app, 1, Phase.FAILED)
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "DevicesFailed"))
    operator.report(two, app, 1)
    # No heartbeat of them was ever heard.
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "ReadyWhenLastHeard"))
    operator.edit_device(two, labels={"for": "nothing"})
    await_index(operator, two, {})
    wait_until(
        lambda: operator.keys.get(DESIRED_STATE, f"{two}.{app}"), "its entry is gone", timeout=30, until=lambda e: not e
    )
    operator.delete_deployment(app)
    wait_until(lambda: operator.objects.deployment(app), "it is gone", timeout=30, until=lambda found: found is None)
    assert operator.keys.get(DESIRED_INDEX, one) == DesiredIndex({})
    assert operator.keys.get(DESIRED_STATE, f"{one}.{app}") is None
    said = operator.keys.get(DEVICE_STATE, one)
    assert said is not None
    assert app not in said.states


def test_heartbeats_make_and_keep_a_device_online_and_their_absence_is_noticed(operator: Operator, name: Name) -> None:
    device = name("pi")
    operator.add_device(device)
    operator.inform(device, arch="riscv64")
    # A clock that is years off, which decides nothing.
    operator.beat(device, interval=0.3, at=946684800)
    operator.await_condition(DEVICES, device, "Online", ("True", "HeartbeatReceived"))
    started = time.monotonic()
    found = operator.objects.device(device)
    assert found
    assert found.status.info
    assert found.status.info.arch == "riscv64"
    version = found.metadata.resource_version
    for _ in range(3):
        operator.beat(device, interval=0.3)
    still = operator.objects.device(device)
    assert still
    assert still.metadata.resource_version == version, "heartbeats are no transitions"
    operator.await_condition(DEVICES, device, "Online", ("False", "HeartbeatMissed"))
    assert time.monotonic() - started > 0.5, "three intervals"
    operator.beat(device)
    operator.await_condition(DEVICES, device, "Online", ("True", "HeartbeatReceived"))
    assert operator.condition(DEVICES, device, "ClockDiffers") == ("True", "ClockWrong")


def test_a_deleted_device_leaves_nothing_behind(operator: Operator, name: Name) -> None:
    device, app = name("pi"), name("web")
    operator.add_device(device, subject=f"sub-{device}", labels={"for": app})
    operator.deploy(app, select={"for": app})
    await_index(operator, device, {app: 1})
    operator.beat(device, interval=60)
    operator.inform(device)
    operator.report(device, app, 1)
    operator.keys.put_raw(DEVICE_INFO, f"{device}.stray", b"{")
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "AllReady"))
    operator.delete_device(device)
    wait_until(lambda: operator.objects.device(device), "it is gone", timeout=30, until=lambda found: found is None)
    assert operator.registry.get(IDENTITIES, f"sub-{device}") is None
    for bucket in (DESIRED_INDEX, DEVICE_STATE, DEVICE_INFO, DEVICE_HEARTBEAT):
        assert operator.keys.raw(bucket, device) is None, bucket.name
    for bucket, key in ((DESIRED_STATE, app), (DEVICE_INFO, "stray")):
        assert operator.keys.raw(bucket, f"{device}.{key}") is None, bucket.name
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "NoDevices"))


def test_a_status_that_somebody_else_wrote_is_put_right(operator: Operator, name: Name) -> None:
    app = name("web")
    operator.deploy(app, select={"for": app})
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "NoDevices"))
    stale = {"observedGeneration": 99, "matched": 7, "updated": 7, "ready": 7, "failed": 0}
    operator.objects.patch(f"{operator.objects.path(DEPLOYMENTS, app)}/status", {"status": stale})

    def counts() -> tuple[int, int] | None:
        found = operator.objects.deployment(app)
        return (found.status.observed_generation, found.status.matched) if found else None

    wait_until(counts, "the counts are right again", timeout=30, until=lambda seen: seen == (1, 0))


def test_transitions_are_told_as_events(operator: Operator, name: Name) -> None:
    device, app = name("pi"), name("web")
    operator.add_device(device, labels={"for": app})
    operator.deploy(app, select={"for": app})
    await_index(operator, device, {app: 1})
    operator.beat(device, interval=60)
    operator.await_condition(DEVICES, device, "Online", ("True", "HeartbeatReceived"))
    operator.report(device, app, 1)
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("True", "AllReady"))

    def told() -> list[tuple[str, str]]:
        return [(event["type"], event["reason"]) for event in operator.events(app)]

    wanted = {("Normal", "GenerationOrdered"), ("Normal", "AllReady")}
    wait_until(told, "the events are there", timeout=20, until=lambda events: wanted <= set(events))
    assert len(told()) == len(set(told())), "each is told once"


def test_kubectl_moves_a_device_by_its_labels(operator: Operator, name: Name) -> None:
    """Also one that a former release made, whose labels stood in its spec: they are carried over, once."""
    device, app, kubectl = name("pi"), name("web"), operator.kube.kubectl
    operator.add_device(device, labels={"for": app})
    expressions = [{"key": "for", "operator": "In", "values": [app]}, {"key": "broken", "operator": "DoesNotExist"}]
    operator.deploy(app, selector={"matchExpressions": expressions})
    await_index(operator, device, {app: 1})

    def found() -> str:
        return kubectl("-n", operator.namespace, "get", "devices", "-l", f"for={app}", "-o", "name").strip()

    wait_until(found, "kubectl finds it", timeout=30, until=lambda names: names.endswith(f"/{device}"))
    label = ("-n", operator.namespace, "label", "device", device)
    for change, wanted in (("broken=yes", {}), ("broken-", {app: 1}), ("for-", {}), (f"for={app}", {app: 1})):
        kubectl(*label, change)
        await_index(operator, device, wanted)
    held = operator.objects.device(device)
    assert held
    assert held.spec.labels == {"for": app}, "a server of the release before finds them where it looks"
