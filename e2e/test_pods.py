"""What Kubernetes does to pods delays the runbook without failing it: deleted, drained, and lost with their machine."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from harness.pytest_plugin.fixtures.scenario import Play
from harness.scenario.scenario import Step
from harness.wait import wait_until
from harness.world.world import World
from scenarios.update import update

COMPONENT = "app.kubernetes.io/component"
COMPONENTS = ("nats", "callout", "operator", "zitadel")


def kubectl(world: World, *words: str) -> None:
    """As an admin does."""
    done = subprocess.run(["kubectl", *words], env=world.env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stderr}"


def once(act: Callable[[], None]) -> Callable[[Step], None]:
    """Before the second step, when what the first one made is running."""
    seen: list[str] = []

    def before(step: Step) -> None:
        seen.append(step.title)
        if len(seen) == 2:
            act()

    return before


def await_all_ready(world: World) -> None:
    """Every server is there in its full number again."""

    def missing() -> dict[str, str]:
        found = [
            item
            for kind in ("deployments", "statefulsets")
            for item in (world.kube.get(f"/apis/apps/v1/namespaces/{world.namespace}/{kind}") or {}).get("items", [])
        ]
        ready = {it["metadata"]["name"]: (it["status"].get("readyReplicas", 0), it["spec"]["replicas"]) for it in found}
        return {name: f"{have} of {want} pods are ready" for name, (have, want) in ready.items() if have != want}

    wait_until(missing, "every pod is ready", timeout=120, until=lambda left: not left, interval=0.5, successes=10)


@pytest.mark.node
@pytest.mark.parametrize("component", COMPONENTS)
def test_pods_of_a_part_deleted_before_every_step(play: Play, world: World, component: str) -> None:
    namespace = f"{world.namespace}-identity" if component == "zitadel" else world.namespace

    def delete(_step: Step) -> None:
        world.note("pods deleted", component)
        kubectl(world, "-n", namespace, "delete", "pods", "-l", f"{COMPONENT}={component}", "--grace-period=1")

    play(update, before_each=delete)


@pytest.mark.node
@pytest.mark.node3
def test_a_node_drained_in_the_middle(play: Play, world: World) -> None:
    """Its pods go where the disruption budgets let them; afterwards it takes part again."""
    node = world.machines.names[-1]

    def drain() -> None:
        for component in COMPONENTS:
            world.note("node drained", component)
        kubectl(world, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")

    play(update, before_each=once(drain))
    kubectl(world, "uncordon", node)
    await_all_ready(world)


@pytest.mark.node
@pytest.mark.node3
def test_a_node_lost_in_the_middle(play: Play, world: World) -> None:
    """Two of three servers of NATS and one of two callouts go on; the others are back once the machine is."""
    node = world.machines.names[-1]

    def lose() -> None:
        for component in COMPONENTS:
            world.note("machine switched off", component)
        world.machines.switch_off(node)

    try:
        play(update, before_each=once(lose))
    finally:
        world.machines.switch_on(node)
    await_all_ready(world)
