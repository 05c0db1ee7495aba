"""The components of a fleet server that runs as pods: looked at; ended only in a cluster of our own."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from typing import Any

from harness.errors import HarnessError, Misused, TargetUnavailable
from harness.probes.kube import KubeProbe
from harness.processes.spec import ComponentStatus, Event
from harness.targets.local import LocalComponents
from harness.targets.node import workloads

Json = dict[str, Any]


class PodComponents:
    """Satisfies `Components`: the server's pods, and beside them whatever of the run's agents lives on this machine."""

    def __init__(self, kube: KubeProbe, local: LocalComponents, unfit: Callable[[], list[str]], *, ours: bool) -> None:
        """`unfit` says what else is wrong with the target: its issuer, our lease. `ours` lets pods be deleted."""
        self._kube = kube
        self._ours = ours
        self._local = local
        self._unfit = unfit

    def statuses(self) -> Mapping[str, ComponentStatus]:
        """As `Components.statuses`; a process id of another machine says nothing, so a pod's is 1."""
        by_name = {name: workloads.status_of(name, pods, 1) for name, pods in self._pods().items()}
        return {**by_name, **self._local.statuses()}

    def kill(self, name: str) -> None:
        """As `Components.kill`: deletes a component's pods without grace, and its controller makes new ones."""
        if not self._ours or name in self._local.statuses():
            self._own("end", name).kill(name)
            return
        self.record("pods deleted", name)
        for pod in self._pods().get(name, []):
            self._kube.delete(f"{self._path}/{pod['metadata']['name']}?gracePeriodSeconds=0")

    def stop(self, name: str) -> None:
        """As `Components.stop`: of agents on this machine only, and so are the next three."""
        self._own("stop", name).stop(name)

    def start(self, name: str) -> None:
        """As `Components.start`."""
        self._own("start", name).start(name)

    def pause(self, name: str) -> None:
        """As `Components.pause`."""
        self._own("freeze", name).pause(name)

    def resume(self, name: str) -> None:
        """As `Components.resume`."""
        self._own("unfreeze", name).resume(name)

    def fetch(self, name: str, path: str) -> list[str]:
        """As `Components.fetch`: of every ready pod, by way of the API server.

        Raises:
            TargetUnavailable: the component is no pod.
        """
        pods = [pod for pod in self._pods().get(name, []) if workloads.is_ready(pod)]
        if not pods:
            raise TargetUnavailable(f"no pod of {name} is ready to be asked", next_step="kubectl get pods")
        pages = [f"{self._path}/{pod['metadata']['name']}:{workloads.health_port(pod)}/proxy{path}" for pod in pods]
        return [self._kube.text(page) or "" for page in pages]

    def problems(self, since: float) -> list[str]:
        """As `Components.problems`."""
        found = [*self._unfit(), *self._local.problems(since)]
        try:
            found += [
                f"{name}: {status.unready}"
                for name, status in self.statuses().items()
                if status.side == "world" and status.unready
            ]
        except HarnessError as error:
            found.append(error.what)
        return found

    def product_deaths(self, since: float) -> list[str]:
        """As `Components.product_deaths`; the cluster's clock and ours must agree for it."""
        begin = datetime.datetime.fromtimestamp(time.time() - time.monotonic() + since, datetime.UTC)
        pods = [pod for name, own in self._pods().items() if workloads.side_of(name) == "product" for pod in own]
        return workloads.deaths(pods, begin) + self._local.product_deaths(since)

    def history(self, since: float) -> list[Event]:
        """As `Components.history`."""
        return self._local.history(since)

    def record(self, what: str, component: str) -> None:
        """As `Components.record`."""
        self._local.record(what, component)

    def _pods(self) -> Mapping[str, list[Json]]:
        return workloads.by_part((self._kube.get(self._path) or {}).get("items", []))

    @property
    def _path(self) -> str:
        return f"/api/v1/namespaces/{self._kube.namespace}/pods"

    def _own(self, verb: str, name: str) -> LocalComponents:
        if name not in self._local.statuses():
            raise Misused(f"cannot {verb} {name}, which is a pod", next_step="mark the test `embedded`")
        return self._local
