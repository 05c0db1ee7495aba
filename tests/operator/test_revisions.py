"""The operator keeps the revisions of deployments, whichever tool has changed them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest

from fleet.contract.objects import DEPLOYMENTS
from fleet.contract.pod import images
from fleet.contract.revision import DEPLOYMENT, KEPT, Revision, parse_revision
from harness.wait import wait_until
from tests.support.kube import Kube
from tests.support.nats import Nats
from tests.support.operator import Operator

Name = Callable[[str], str]


@pytest.fixture(scope="module")
def operator(kinds: Kube, nats: Nats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    running = Operator(kinds, nats, tmp_path_factory.mktemp("operator"), kinds.namespace())
    running.start_ready()
    yield running
    running.close()


def kept(operator: Operator, app: str) -> list[Revision]:
    path = f"/apis/apps/v1/namespaces/{operator.namespace}/controllerrevisions?labelSelector={DEPLOYMENT}%3D{app}"
    found = operator.objects.get(path) or {}
    revisions = [parse_revision(json.dumps(one).encode()) for one in found.get("items", [])]
    return sorted(revisions, key=lambda one: one.revision)


def await_kept(operator: Operator, app: str, wanted: list[int]) -> list[Revision]:
    return wait_until(
        lambda: kept(operator, app),
        f"the revisions {wanted} are kept",
        timeout=30,
        until=lambda revisions: [one.revision for one in revisions] == wanted,
    )


def edit(operator: Operator, app: str, image: str) -> None:
    operator.edit_deployment(app, workload={"image": image})


def test_each_change_is_kept_up_to_the_bound_and_none_of_what_is_gone(operator: Operator, name: Name) -> None:
    app = name("web")
    operator.deploy(app, "web:1", select={"for": app})
    await_kept(operator, app, [1])
    for number in range(2, KEPT + 2):
        edit(operator, app, f"web:{number}")
        operator.await_condition(DEPLOYMENTS, app, "Ready", ("False", "NoDevices"))
        await_kept(operator, app, list(range(max(1, number - KEPT + 1), number + 1)))
    assert [images(one.spec.workload) for one in kept(operator, app)] == [f"web:{n}" for n in range(2, KEPT + 2)]
    operator.delete_deployment(app)
    await_kept(operator, app, [])


def test_what_changed_while_the_operator_was_away_is_kept_and_what_went_goes(operator: Operator, name: Name) -> None:
    app, gone = name("web"), name("gone")
    for one in (app, gone):
        operator.deploy(one, "web:1", select={"for": one})
        await_kept(operator, one, [1])
    operator.kill()
    edit(operator, app, "web:2")
    path = operator.objects.path(DEPLOYMENTS, gone)
    operator.objects.patch(path, {"metadata": {"finalizers": []}})
    operator.delete_deployment(gone)
    operator.start_ready()
    await_kept(operator, app, [1, 2])
    await_kept(operator, gone, [])
