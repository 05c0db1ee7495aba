"""A namespace in which helm applies the plan: what is left to us is what helm cannot make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from fleet.contract.logs import LOG_READER_SECRET
from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.install.server import SERVICES
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.topology.capabilities import Applied, Endpoints, Json, Service, ServiceStatus
from fleet.topology.kubernetes.labels import meta, named
from fleet.topology.kubernetes.render import files_secret
from fleet.topology.kubernetes.shape import Shape, endpoints

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient


class ChartPlace:
    """Satisfies `ServerPlace` for the chart's jobs: what others read and pods' files are theirs, all else is helm's."""

    def __init__(self, kube: KubeClient, namespace: str, shape: Shape) -> None:
        self._kube = kube
        self._namespace = namespace
        self._shape = shape
        self.secrets = KubernetesSecretStore(kube, namespace)

    @property
    def remembered(self) -> str:
        """As `RemembersOptions.remembered`: as `KubernetesTopology` has it, which serves later commands."""
        return msgspec.json.encode(self._shape).decode()

    def apply(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.apply`, for the announcement and the password for reading logs."""
        return self._kube.apply(_ours(objects))

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """As `AppliesObjects.find`."""
        return self._kube.find(kind, name, namespace)

    def delete(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.delete`, for the same; nothing holds them back."""
        return self._kube.delete(_ours(objects))

    def endpoints(self, namespace: str) -> Endpoints:
        """As `RunsServices.endpoints`."""
        return endpoints(namespace, self._shape)

    def run(self, services: Sequence[Service]) -> list[Applied]:
        """Write the services' files, which their pods, once helm has made them, will mount."""
        return self._kube.apply([files_secret(service, self._namespace) for service in services])

    def renew(self, services: Sequence[Service]) -> list[Applied]:
        """As `run`."""
        return self.run(services)

    def services(self) -> list[ServiceStatus]:
        """None: they are helm's."""
        return []

    def stop(self, names: Sequence[str], *, delete_data: bool) -> list[Applied]:
        """Remove the files of the chart's services; what they kept is the admin's to delete."""
        del delete_data
        metas = [meta(named(name), self._namespace, name) for name in names if name in SERVICES]
        return self._kube.delete([{"apiVersion": "v1", "kind": "Secret", "metadata": item} for item in metas])


_WRITTEN = {("ConfigMap", SERVER_CONFIG_MAP), ("Secret", LOG_READER_SECRET)}


def _ours(objects: Sequence[Json]) -> list[Json]:
    return [item for item in objects if (item["kind"], item["metadata"]["name"]) in _WRITTEN]
