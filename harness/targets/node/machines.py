"""Satisfies `harness.world.world.Machines`: the power switches of a cluster's machines, from any process."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from msgspec.structs import replace

from harness.errors import ComponentNotReady, Misused
from harness.images.server import Archive
from harness.probes.kube import KubeProbe
from harness.processes.spec import ask, put, specs, statuses
from harness.targets.node.node_cluster import import_image, ready_nodes
from harness.targets.node.plan import Plan
from harness.wait import WaitTimeout, wait_until

_READY_WITHIN = 60.0


class NodeClusterMachines:
    """Of one cluster; `kube` looks as its admin."""

    def __init__(self, plan: Plan, kube: KubeProbe) -> None:
        """Nothing is switched yet."""
        self._plan = plan
        self._kube = kube

    @property
    def names(self) -> tuple[str, ...]:
        """As Kubernetes names the nodes."""
        return tuple(machine.name for machine in self._plan.machines)

    def load(self, archive: Archive) -> None:
        """Give an image to every machine that runs.

        Raises:
            HarnessError: a machine does not take it.
        """
        for machine in self._plan.machines:
            import_image(self._plan, machine, archive, _failure)

    def switch_off(self, name: str) -> None:
        """Everything on it dies at once, without a word."""
        self._want(name, run=False)

    def switch_on(self, name: str) -> None:
        """Start it again; returns once Kubernetes calls its node ready.

        Raises:
            ComponentNotReady: it is not, in time.
        """
        self._want(name, run=True)
        wait = f"{name} runs and is ready"
        try:
            # Kubernetes takes a while to notice that a machine is gone, and would call it ready until then.
            wait_until(lambda: statuses(self._plan.root)[name].ready, wait, timeout=_READY_WITHIN)
            wait_until(lambda: ready_nodes(self._kube), wait, timeout=_READY_WITHIN, until=lambda ready: name in ready)
        except WaitTimeout as error:
            raise ComponentNotReady(str(error), next_step=f"see {self._plan.root}/machines/{name}/logs") from error

    def _want(self, name: str, *, run: bool) -> None:
        if name not in self.names:
            raise Misused(f"there is no machine {name!r}", next_step=f"use one of {', '.join(self.names)}")
        root = self._plan.root
        put(root, replace(specs(root)[name], run=run, grace=0))
        ask(root, "reconcile")


def _failure(argv: Sequence[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stderr.strip() or f"code {done.returncode}" if done.returncode else ""
