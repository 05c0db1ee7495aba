"""The components of a world on a cluster: pods, the control plane's servers, and the agents on this machine."""

from __future__ import annotations

import datetime
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import ComponentNotReady, HarnessError, Misused
from harness.probes.kube import KubeProbe
from harness.processes.spec import ComponentStatus, Event, ask, history, statuses
from harness.targets.local import LocalComponents
from harness.targets.node import containers, workloads
from harness.targets.node.plan import Plan
from harness.wait import WaitTimeout, wait_until
from harness.world.diagnosis import unasked_ends

Json = dict[str, Any]

_SERVERS = ("etcd", "kube-apiserver")
_READY_WITHIN = 60.0
_GONE_WITHIN = 40.0
_ASKED = ("pods killed", "scaled to 0", "pods frozen", "pods deleted", "node drained", "machine switched off")


class NodeComponents:
    """Satisfies `Components`. A component is all pods of the world's two namespaces with one component label."""

    def __init__(self, plan: Plan, local: LocalComponents, kube: KubeProbe, namespaces: Sequence[str]) -> None:
        """`kube` looks as the cluster's admin; `namespaces` are the server's and the identity provider's."""
        self._plan = plan
        self._local = local
        self._kube = kube
        self._namespaces = namespaces
        self._replicas: dict[str, int] = {}

    def statuses(self) -> Mapping[str, ComponentStatus]:
        """As `Components.statuses`."""
        pods = self._pods().items()
        return {**self._servers(), **{name: self._status(name, own) for name, own in pods}, **self._local.statuses()}

    def kill(self, name: str) -> None:
        """As `Components.kill`: every process of its containers at once; the kubelet starts them again."""
        if not self._is_elsewhere("kill", name):
            self.record("pods killed", name)
            self._signal(name, signal.SIGKILL)

    def stop(self, name: str) -> None:
        """As `Components.stop`: scaled to nothing."""
        if not self._is_elsewhere("stop", name):
            path, workload = self._workload(name)
            self._replicas[name] = workload["spec"]["replicas"]
            self.record("scaled to 0", name)
            self._kube.patch(path, {"spec": {"replicas": 0}})
            self._await(lambda: name not in self._pods(), f"no pod of {name} is left", _GONE_WITHIN)

    def start(self, name: str) -> None:
        """As `Components.start`: scaled to what it was."""
        if not self._is_elsewhere("start", name):
            path, _ = self._workload(name)
            self.record("scaled up", name)
            self._kube.patch(path, {"spec": {"replicas": self._replicas.pop(name, 1)}})
            self._await(lambda: self._is_ready(name), f"{name} is ready", _READY_WITHIN)

    def pause(self, name: str) -> None:
        """As `Components.pause`: every process of its containers."""
        if not self._is_elsewhere("pause", name):
            self.record("pods frozen", name)
            self._signal(name, signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """As `Components.resume`."""
        if not self._is_elsewhere("resume", name):
            self.record("pods go on", name)
            self._signal(name, signal.SIGCONT)

    def fetch(self, name: str, path: str) -> list[str]:
        """As `Components.fetch`: of every ready pod, by way of the API server."""
        pods = [pod for pod in self._pods().get(name, []) if workloads.is_ready(pod)]
        return [self._kube.text(_page(pod, path)) or "" for pod in pods]

    def problems(self, since: float) -> list[str]:
        """As `Components.problems`."""
        root = self._plan.root
        found = [
            *self._local.problems(since),
            *unasked_ends(statuses(root), history(root, since), root, side="world"),
        ]
        asked = self._asked(since)
        try:
            found += [
                f"{name}: {status.unready}"
                for name, status in self.statuses().items()
                if status.side == "world" and status.unready and name not in asked
            ]
        except HarnessError as error:
            found.append(error.what)
        return found

    def product_deaths(self, since: float) -> list[str]:
        """As `Components.product_deaths`."""
        begin = datetime.datetime.fromtimestamp(since + _offset(), datetime.UTC)
        asked = self._asked(since)
        pods = self._pods().items()
        ours = [pod for name, own in pods if workloads.side_of(name) == "product" and name not in asked for pod in own]
        return workloads.deaths(ours, begin) + self._local.product_deaths(since)

    def history(self, since: float) -> list[Event]:
        """As `Components.history`, with what happened to the cluster, and Kubernetes' own events."""
        events = [workloads.event_of(item, _offset()) for item in self._events()]
        all_of_it = [*self._local.history(since), *history(self._plan.root, since), *filter(None, events)]
        return sorted((event for event in all_of_it if event.monotonic >= since), key=lambda event: event.monotonic)

    def record(self, what: str, component: str) -> None:
        """As `Components.record`."""
        self._local.record(what, component)

    def _is_elsewhere(self, verb: str, name: str) -> bool:
        """Whether it is an agent or a server of the control plane, to which the verb is passed on."""
        if name in self._local.statuses():
            getattr(self._local, verb)(name)
            return True
        if name in _SERVERS:
            if verb not in {"kill", "pause", "resume"}:
                raise Misused(f"cannot {verb} {name} of a cluster that others share", next_step="kill or pause it")
            ask(self._plan.root, verb, name)  # type: ignore[arg-type] - one of the three
            return True
        if name not in self._pods() and name not in self._replicas:
            names = ", ".join(self.statuses())
            raise HarnessError(f"there is no component {name!r}", next_step=f"use one of {names}")
        return False

    def _servers(self) -> dict[str, ComponentStatus]:
        return {name: status for name, status in statuses(self._plan.root).items() if name in _SERVERS}

    def _status(self, name: str, pods: Sequence[Json]) -> ComponentStatus:
        pids = containers.processes(self._plan, pods[0])
        return workloads.status_of(name, pods, pids[0] if pids else None)

    def _is_ready(self, name: str) -> bool:
        return any(map(workloads.is_ready, self._pods().get(name, [])))

    def _signal(self, name: str, number: int) -> None:
        if not sum(containers.send(self._plan, pod, number) for pod in self._pods().get(name, [])):
            raise HarnessError(f"{name} has no process just now", next_step="wait until it is ready")

    def _workload(self, name: str) -> tuple[str, Json]:
        """The Deployment or StatefulSet that owns a component's pods, by its component label."""
        for namespace in self._namespaces:
            for plural in ("deployments", "statefulsets"):
                path = f"/apis/apps/v1/namespaces/{namespace}/{plural}"
                for item in (self._kube.get(path) or {}).get("items", []):
                    if name in workloads.by_part([item]):
                        return f"{path}/{item['metadata']['name']}", item
        raise HarnessError(f"nothing owns the pods of {name}", next_step="kubectl get all -A")

    def _pods(self) -> Mapping[str, list[Json]]:
        paths = [f"/api/v1/namespaces/{namespace}/pods" for namespace in self._namespaces]
        return workloads.by_part([pod for path in paths for pod in (self._kube.get(path) or {}).get("items", [])])

    def _events(self) -> list[Json]:
        paths = [f"/api/v1/namespaces/{namespace}/events" for namespace in (*self._namespaces, "default")]
        try:
            return [item for path in paths for item in (self._kube.get(path) or {}).get("items", [])]
        except HarnessError:  # a cluster that is down has none, and its own history says why
            return []

    def _asked(self, since: float) -> set[str]:
        return {event.component for event in self._local.history(since) if event.asked and event.what in _ASKED}

    def _await(self, look: Any, condition: str, timeout: float) -> None:  # noqa: ANN401 - passed on
        try:
            wait_until(look, condition, timeout=timeout, interval=0.1)
        except WaitTimeout as error:
            raise ComponentNotReady(str(error), next_step="kubectl describe pods, and the logs of the world") from error


def _page(pod: Json, path: str) -> str:
    name, port = pod["metadata"]["name"], workloads.health_port(pod)
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{name}:{port}/proxy{path}"


def _offset() -> float:
    return time.time() - time.monotonic()
