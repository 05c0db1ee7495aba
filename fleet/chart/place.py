"""A namespace in which helm applies the plan: what is left to us is what helm cannot make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.topology.capabilities import Applied, Endpoints, Json, Service, ServiceStatus
from fleet.topology.kubernetes.render import files_secret
from fleet.topology.kubernetes.shape import Shape, endpoints

if TYPE_CHECKING:
    from fleet.topology.kube import KubeClient


class ChartPlace:
    """Satisfies `ServerPlace` for the chart's job: it writes the pods' files and the announcement, and runs nothing."""

    def __init__(self, kube: KubeClient, namespace: str, shape: Shape) -> None:
        """Contact nobody yet."""
        self._kube = kube
        self._namespace = namespace
        self._shape = shape
        self.secrets = KubernetesSecretStore(kube, namespace)

    def apply(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.apply`, for the announcement; the other objects are helm's."""
        return self._kube.apply([item for item in objects if item["metadata"]["name"] == SERVER_CONFIG_MAP])

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """As `AppliesObjects.find`."""
        return self._kube.find(kind, name, namespace)

    def delete(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.delete`, without the wait: nothing here holds an object back."""
        return self._kube.delete(objects)

    def endpoints(self, namespace: str) -> Endpoints:
        """As `RunsServices.endpoints`."""
        return endpoints(namespace, self._shape)

    def run(self, services: Sequence[Service]) -> list[Applied]:
        """Write the services' files, which their pods, once helm has made them, will mount."""
        return self._kube.apply([files_secret(service, self._namespace) for service in services])

    def services(self) -> list[ServiceStatus]:
        """None: they are helm's."""
        return []

    def stop(self, names: Sequence[str], *, delete_data: bool) -> list[Applied]:
        """Nothing: they are helm's."""
        del names, delete_data
        return []
