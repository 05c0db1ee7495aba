"""A world of pods: its components can be killed, stopped and frozen like processes, and what happened is told."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from harness.errors import HarnessError, Misused
from harness.images.server import zitadel_double
from harness.processes.spawn import http_answers
from harness.targets.node.node_cluster import NodeCluster
from harness.targets.node.world import cluster_for, node_world
from harness.wait import wait_until
from harness.world.keep import NEVER
from harness.world.shared_resources import SharedResources
from harness.world.world import World

NO_ENGINE = "/nonexistent/engine.sock"
ZITADEL = "zitadel"


@pytest.fixture(scope="module")
def world(one: NodeCluster) -> Generator[World]:
    """Module: a world without a fleet server, nor an engine."""
    one.load([zitadel_double()])
    shared = SharedResources(dict(one.plan.binaries), NO_ENGINE, "none", one.plan.root)
    with node_world(shared, run_id="abcdef", worker="gw7") as made:
        yield made
    assert not made.root.exists()


def answers(world: World) -> bool:
    return http_answers(f"{world.issuer}/.well-known/openid-configuration", ca=world.issuer_ca)


def test_it_is_bare_and_each_worker_has_namespaces_of_its_own(world: World) -> None:
    assert world.kube.server() is None
    assert world.namespace == "fleet-gw7"
    assert {ZITADEL, "etcd", "kube-apiserver"} <= set(world.components())
    assert world.env["FLEET_NATS_ADDRESS"].startswith("localhost:")
    assert world.admin_token_file.read_text().strip()


def test_a_killed_part_comes_back_and_is_no_problem_of_the_world(world: World) -> None:
    """What was asked for is told as such; what it said before stays readable."""
    world.begin("killed")
    before = world.components()[ZITADEL]
    assert before.pid is not None
    world.kill(ZITADEL)
    wait_until(
        lambda: world.components()[ZITADEL].starts,
        "it was started again",
        timeout=30,
        until=lambda it: it > before.starts,
    )
    wait_until(lambda: answers(world), "it answers again", timeout=30)
    assert [event.asked for event in world.history if event.what == "pods killed"] == [True]
    # Kubelets tell their events in their own time.
    wait_until(
        lambda: any(event.component.startswith("pod/zitadel") for event in world.history),
        "its history has the events of Kubernetes",
        timeout=20,
    )
    logs = world.root / "logs"
    wait_until((logs / f"{ZITADEL}.log").exists, "its log is kept with the world", timeout=30)
    assert "Kubelet" in (logs / "node-n1-kubelet.log").read_text(), "beside those of the node's own servers"


def test_a_frozen_part_does_not_answer_until_it_goes_on(world: World) -> None:
    world.begin("frozen")
    world.pause(ZITADEL)
    assert not answers(world)
    world.resume(ZITADEL)
    wait_until(lambda: answers(world), "it answers again", timeout=20)


def test_a_stopped_part_stays_down_until_it_is_started(world: World) -> None:
    world.begin("stopped")
    world.stop(ZITADEL)
    assert ZITADEL not in world.components()
    assert not answers(world)
    world.start(ZITADEL)
    wait_until(lambda: answers(world), "it answers again", timeout=20)


def test_what_a_target_cannot_do_is_refused_with_what_it_can(world: World) -> None:
    with pytest.raises(Misused, match="cannot stop etcd of a cluster that others share"):
        world.stop("etcd")
    with pytest.raises(HarnessError, match=r"(?s)there is no component 'nats'.*zitadel"):
        world.kill("nats")
    with pytest.raises(Misused, match="node:9 is no number of machines"), cluster_for("9", print, keep=NEVER):
        pass
