"""What scenarios look at in deployments of several containers."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from fleet.contract.containers import CONTAINER_LABEL
from harness.probes.engine import EngineProbe
from harness.scenario.run import Run
from scenarios import checks


def pod_containers(run: Run, deployment: str = "deployment") -> dict[str, dict[str, Any]]:
    """What the engine shows of a deployment's containers now, running or not, by their names in the pod."""
    with closing(EngineProbe(checks.with_engine(run).engine_socket)) as engine:
        listed = [
            it for it in engine.containers(run.name("device")) if checks.deployment_of(it) == run.name(deployment)
        ]
        shown = [engine.inspect(it["Id"]) for it in listed]
    found = {it["Config"]["Labels"][CONTAINER_LABEL]: it for it in shown}
    assert len(found) == len(shown), f"a container is there twice: {[it['Name'] for it in shown]}"
    return found
