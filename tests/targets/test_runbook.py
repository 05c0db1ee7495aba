"""The runbook on a cluster that was handed over: here a world of processes, which knows nothing of its visitors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from harness.binaries import resolve_all
from harness.engine.select import double_engine
from harness.scenario import setup as preparation
from harness.targets.embedded import embedded
from harness.world.shared_resources import SharedResources
from tests.targets.elsewhere import Elsewhere, hand_over, runs_the_runbook


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    """Module: an installed server with a device of its own, and a user with the documented Role."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with contextlib.ExitStack() as cleanup:
        engine = cleanup.enter_context(double_engine())
        shared = SharedResources(resolve_all(), engine.socket, engine.name)
        world = cleanup.enter_context(embedded(shared, run_id="e" * 32, worker="main"))
        preparation.ensure_installed(world, folder)
        made = Elsewhere(world, engine.socket, folder / "staging.json")
        hand_over(made, folder)
        yield made


def test_the_runbook_passes_and_leaves_nothing(elsewhere: Elsewhere) -> None:
    said = runs_the_runbook(elsewhere, "-k", "test_enroll or test_deploy or test_update or test_observe")
    assert "4 passed" in said, said


def test_production_is_looked_at(elsewhere: Elsewhere) -> None:
    """One scenario is marked for it, and passes without a sign-in, a lease or a write."""
    before = elsewhere.kubectl("get", "devices,fleetdeployments,leases,configmaps,secrets", "-o", "yaml")
    done = elsewhere.visit("-m", "production_smoke", "--fleet-target", f"production:{elsewhere.file}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout, done.stdout
    assert elsewhere.kubectl("get", "devices,fleetdeployments,leases,configmaps,secrets", "-o", "yaml") == before
