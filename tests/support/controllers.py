"""Kubernetes' controllers and kubelet, as far as an install waits for them: a test decides how workloads fare.

The API server of the tests has neither, so nothing else writes what is written here.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator

from fleet.contract.errors import FleetError
from fleet.kube.client import KubeClient
from fleet.kube.paths import api_path
from fleet.topology.capabilities import Json


class Controllers:
    """Works in one namespace, from `run` to its end."""

    def __init__(self, namespace: str) -> None:
        self._kube = KubeClient()
        self._namespace = namespace
        self._stop = threading.Event()
        self.held: set[str] = set()
        """Names of workloads that do not become ready."""

    @contextlib.contextmanager
    def run(self) -> Generator[Controllers]:
        thread = threading.Thread(target=self._work, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join(10)

    def settle(self) -> None:
        """Bring every workload to its newest template, ready, but for those that are held."""
        for kind in ("Deployment", "StatefulSet"):
            for item in self._kube.list(kind, self._namespace):
                name, generation = item["metadata"]["name"], item["metadata"]["generation"]
                replicas = item["spec"]["replicas"]
                ready = 0 if name in self.held else replicas
                status = {
                    "observedGeneration": generation,
                    "replicas": replicas,
                    "updatedReplicas": replicas,
                    "readyReplicas": ready,
                }
                if {key: item.get("status", {}).get(key, 0) for key in status} != status:
                    self.tell(kind, name, status)

    def release_claims(self) -> None:
        """Let go of claims that are being deleted, and that no pod uses."""
        for item in self._kube.list("PersistentVolumeClaim", self._namespace):
            if "deletionTimestamp" in item["metadata"]:
                name = item["metadata"]["name"]
                self._kube.patch("PersistentVolumeClaim", name, self._namespace, {"metadata": {"finalizers": None}})

    def tell(self, kind: str, name: str, status: Json) -> None:
        """Write an object's status."""
        path = f"{api_path(kind, name, self._namespace)}/status"
        self._kube.request("PATCH", path, {"status": status}, content="application/merge-patch+json")

    def pod(self, component: str, status: Json, name: str = "") -> None:
        """Make a pod of a service that stands as `status` says."""
        name = name or f"fleet-{component}-0"
        labels = {
            "app.kubernetes.io/part-of": "fleet",
            "app.kubernetes.io/managed-by": "fleet",
            "app.kubernetes.io/component": component,
        }
        security = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        container = {"name": component, "image": f"{component}:test", "securityContext": security}
        metadata = {"name": name, "namespace": self._namespace, "labels": labels}
        self._kube.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
        )
        self.tell("Pod", name, status)

    def warn(self, kind: str, name: str, reason: str, message: str) -> None:
        """Write an Event of type Warning."""
        about = {"kind": kind, "name": name, "namespace": self._namespace}
        metadata = {"name": f"{name}.{reason.lower()}", "namespace": self._namespace}
        event = {"apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about, "type": "Warning"}
        self._kube.create({**event, "reason": reason, "message": message, "lastTimestamp": "2026-01-01T00:00:00Z"})

    def _work(self) -> None:
        while not self._stop.wait(0.05):
            # The test may have stopped the API server, or be removing the namespace.
            with contextlib.suppress(FleetError):
                self.settle()
                self.release_claims()
