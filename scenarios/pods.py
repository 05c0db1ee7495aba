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
            container
            for container in engine.containers(run.name("device"))
            if checks.deployment_of(container) == run.name(deployment)
        ]
        shown = [engine.inspect(container["Id"]) for container in listed]
    by_name = {details["Config"]["Labels"][CONTAINER_LABEL]: details for details in shown}
    assert len(by_name) == len(shown), f"a container is there twice: {[details['Name'] for details in shown]}"
    return by_name
