"""A deployment whose spec does not parse is told by its conditions, and ends nothing that runs.

As `kubectl apply` writes it: of all containers of a pod together, Kubernetes has few rules (decision 070).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE
from fleet.contract.objects import DEPLOYMENTS, DEVICES, DeploymentStatus
from fleet.contract.wire import Desired, DesiredIndex, from_builtins
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Json, Operator

Name = Callable[[str], str]


@pytest.fixture(scope="module")
def operator(kinds: Kube, nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """An operator of this module that reads everything again every half second."""
    running = Operator(kinds, nats, tmp_path_factory.mktemp("operator"), kinds.namespace(), resync=0.5)
    running.start_ready()
    yield running
    running.close()


def pod(*parts: Json, init: Json | None = None) -> Json:
    given = [{"image": f"{one['name']}:1", **one} for one in parts]
    return {"type": "pod", "containers": given, **({"initContainers": [{"image": "i:1", **init}]} if init else {})}


def after(*names: str, condition: str = "Started") -> Json:
    return {"dependsOn": [{"name": name, "condition": condition} for name in names]}


PORT: Json = {"ports": [{"host": 8080, "container": 80}]}
GOOD = pod({"name": "web"}, {"name": "db"})
INVALID = {
    "a circle of two": (pod({"name": "web", **after("db")}, {"name": "db", **after("web")}), "wait for each other"),
    "a circle of three": (
        pod({"name": "a", **after("b")}, {"name": "b", **after("c")}, {"name": "c", **after("a")}, {"name": "d"}),
        "wait for each other: a, b, c",
    ),
    "a circle of ends": (
        pod(
            {"name": "a", "restart": "no", **after("b", condition="Completed")},
            {"name": "b", "restart": "no", **after("a", condition="Completed")},
        ),
        "wait for each other: a, b",
    ),
    "one port twice": (pod({"name": "web", **PORT}, {"name": "db", **PORT}), "8080/tcp of the device is named 2 times"),
    "one port twice, once of an init container": (
        pod({"name": "web", **PORT}, init={"name": "first", **PORT}),
        "8080/tcp of the device is named 2 times",
    ),
}


def await_order(operator: Operator, device: str, wanted: DesiredIndex) -> None:
    wait_until(
        lambda: operator.keys.get(DESIRED_INDEX, device),
        f"{device} is ordered {wanted.deployments}",
        timeout=30,
        until=lambda index: index == wanted,
    )


def stands(operator: Operator, app: str) -> DeploymentStatus:
    """Its status alone: the probe refuses a whole object that does not parse."""
    found = operator.objects.get(operator.objects.path(DEPLOYMENTS, app))
    return from_builtins((found or {}).get("status", {}), DeploymentStatus)


def await_reason(operator: Operator, app: str, reason: str) -> DeploymentStatus:
    """`Ready` and `Progressing` are False for this reason."""
    wanted = {"Ready": ("False", reason), "Progressing": ("False", reason)}
    return wait_until(
        lambda: stands(operator, app),
        f"{app} is {reason}",
        timeout=30,
        until=lambda it: {one.type: (one.status, one.reason) for one in it.conditions} == wanted,
    )


def ordered(operator: Operator, device: str, app: str) -> Desired:
    found = operator.keys.get(DESIRED_STATE, f"{device}.{app}")
    assert isinstance(found, Desired)
    return found


def invalid_events(operator: Operator, app: str) -> list[str]:
    found = operator.events(app)
    return [one["message"] for one in found if (one["type"], one["reason"]) == ("Warning", "InvalidSpec")]


def await_two_passes(operator: Operator) -> None:
    def passes() -> float:
        return operator.metric("fleet_operator_pass_seconds_count")

    seen = passes()
    wait_until(lambda: passes() - seen, "two more passes", timeout=30, until=lambda more: more >= 2)


@pytest.mark.parametrize(("workload", "says"), INVALID.values(), ids=INVALID)
def test_conditions_and_one_event_say_why_and_what_was_ordered_stays(
    operator: Operator, name: Name, workload: Json, says: str
) -> None:
    device, late, app = name("pi"), name("pi"), name("web")
    operator.add_device(device, subject=f"sub-{device}", labels={"for": app})
    operator.deploy(app, select={"for": app}, workload=GOOD)
    await_order(operator, device, DesiredIndex({app: 1}))
    before = ordered(operator, device, app)
    operator.edit_deployment(app, workload=workload)
    found = await_reason(operator, app, "InvalidSpec")
    assert found.observed_generation == found.conditions[0].observed_generation == 2
    assert says in found.conditions[0].message
    assert (found.matched, found.updated, found.ready, found.failed) == (0, 0, 0, 0)
    (message,) = wait_until(lambda: invalid_events(operator, app), "it is told as an event", timeout=30)
    assert says in message
    operator.add_device(late, subject=f"sub-{late}", labels={"for": app})
    operator.await_condition(DEVICES, late, "Enrolled", ("True", "IdentityRegistered"))
    await_two_passes(operator)
    assert len(invalid_events(operator, app)) == 1
    assert operator.keys.get(DESIRED_INDEX, device) == DesiredIndex({app: 1})
    assert ordered(operator, device, app) == before
    assert (operator.keys.get(DESIRED_INDEX, late) or DesiredIndex()).deployments == {}


def test_a_corrected_one_is_carried_out_and_says_nothing_of_before(operator: Operator, name: Name) -> None:
    device, app = name("pi"), name("web")
    operator.add_device(device, subject=f"sub-{device}", labels={"for": app})
    operator.deploy(app, select={"for": app}, workload=INVALID["a circle of two"][0])
    await_reason(operator, app, "InvalidSpec")
    operator.edit_deployment(app, workload=GOOD)
    await_order(operator, device, DesiredIndex({app: 2}))
    operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "InProgress"))
    assert stands(operator, app).matched == 1


def test_another_fault_is_told_in_place_of_the_first(operator: Operator, name: Name) -> None:
    app = name("web")
    operator.deploy(app, select={"for": app}, workload=INVALID["a circle of two"][0])
    await_reason(operator, app, "InvalidSpec")
    operator.edit_deployment(app, workload=INVALID["one port twice"][0])
    says = INVALID["one port twice"][1]
    wait_until(
        lambda: stands(operator, app).conditions[0].message,
        "the second fault is told",
        timeout=30,
        until=lambda message: says in message,
    )


def test_an_operator_that_starts_over_it_says_the_same(kinds: Kube, own_nats: Nats, tmp_path: Path) -> None:
    """Nothing is known then of the spec before."""
    operator = Operator(kinds, own_nats, tmp_path / "operator", kinds.namespace(), resync=0.5)
    operator.deploy("app", select={"for": "app"}, workload=INVALID["a circle of two"][0])
    try:
        operator.start_ready()
        await_reason(operator, "app", "InvalidSpec")
        row = kinds.kubectl("get", "fdep", "app", "-n", operator.namespace)
        assert "InvalidSpec" in row
    finally:
        operator.close()


def test_it_can_be_deleted(operator: Operator, name: Name) -> None:
    """Nothing of a spec counts any more then; a finalizer that nobody takes off would keep its namespace, too."""
    device, app = name("pi"), name("web")
    operator.add_device(device, subject=f"sub-{device}", labels={"for": app})
    operator.deploy(app, select={"for": app}, workload=GOOD)
    await_order(operator, device, DesiredIndex({app: 1}))
    operator.edit_deployment(app, workload=INVALID["a circle of two"][0])
    await_reason(operator, app, "InvalidSpec")
    operator.delete_deployment(app)
    await_order(operator, device, DesiredIndex())
    path = operator.objects.path(DEPLOYMENTS, app)
    wait_until(lambda: operator.objects.get(path), "it is gone", timeout=30, until=lambda it: it is None)
