"""The runbook on a Kubernetes node with pods that others started and installed, handed over by kubeconfig alone."""

from __future__ import annotations

from pathlib import Path

from harness.engine.select import double_engine
from harness.images.server import nats, product, zitadel_double
from harness.scenario import setup as preparation
from harness.targets.node.node_cluster import NodeCluster
from harness.targets.node.world import node_world
from harness.world.shared_resources import SharedResources
from tests.targets.elsewhere import Elsewhere, hand_over, runs_the_runbook


def test_the_runbook_passes_and_leaves_nothing(one: NodeCluster, tmp_path: Path) -> None:
    one.load([product(), nats(), zitadel_double()])
    with double_engine() as engine:
        shared = SharedResources(dict(one.plan.binaries), engine.socket, engine.name, one.plan.root)
        with node_world(shared, run_id="e" * 32, worker="gw8") as world:
            preparation.ensure_installed(world, tmp_path)
            made = Elsewhere(world, engine.socket, tmp_path / "staging.json")
            hand_over(made, tmp_path)
            said = runs_the_runbook(made, "-k", "test_enroll or test_deploy")
            preparation.ensure_bare(world, tmp_path)
    assert "2 passed" in said, said
