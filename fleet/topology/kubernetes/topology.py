"""A namespace of a Kubernetes cluster as a place for a fleet server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec

from fleet.contract.errors import NotFound, NotPermitted
from fleet.kube.client import KubeClient, wait_for
from fleet.secrets.chosen import chosen_store
from fleet.secrets.kubernetes import KubernetesSecretStore
from fleet.secrets.store import SecretStore
from fleet.topology.capabilities import (
    Applied,
    Endpoints,
    Json,
    PlaceRequest,
    Preview,
    Service,
    ServiceStatus,
)
from fleet.topology.kubernetes.apply import Applier
from fleet.topology.kubernetes.inventory import Entry, Inventory, entry
from fleet.topology.kubernetes.labels import component_of, is_ours, named, other_manager
from fleet.topology.kubernetes.options import Cluster, shape_of
from fleet.topology.kubernetes.pods import DIGEST, RENEWED, files_digest
from fleet.topology.kubernetes.readiness import Watcher
from fleet.topology.kubernetes.render import files_secret, render, workload_kind
from fleet.topology.kubernetes.renewal import require_only_files
from fleet.topology.kubernetes.rights import require_rights, require_rights_to_renew, require_storage_class
from fleet.topology.kubernetes.shape import Shape, endpoints
from fleet.topology.kubernetes.timer import timer

_GONE_WITHIN = 60.0
"""Seconds for a deleted object to go: a pod may take 30 to end."""
_WORKLOADS = {"StatefulSet", "Deployment"}


class KubernetesTopology:
    """Satisfies `ServerPlace`, `PreviewsChanges`, `ChecksRights` and `ComparesFiles`."""

    def __init__(self, kube: KubeClient, request: PlaceRequest, secrets: SecretStore) -> None:
        self._kube = kube
        self._request = request
        self._applier = Applier(kube)
        self._watcher = Watcher(kube, request.namespace)
        self._inventory = Inventory(kube, request.namespace)
        self._known_shape: Shape | None = None
        self.secrets = secrets

    @classmethod
    def attach(cls, environ: Mapping[str, str], request: PlaceRequest) -> KubernetesTopology:
        """The cluster of the current kubeconfig, and the store of secrets that the environment chooses."""
        kube, namespace = KubeClient(), request.namespace
        own = KubernetesSecretStore(kube, namespace)
        return cls(kube, request, chosen_store(environ, kube, namespace, own))

    @property
    def _shape(self) -> Shape:
        if self._known_shape is None and self._request.remembered:
            self._known_shape = msgspec.json.decode(self._request.remembered, type=Shape)
        if self._known_shape is None:
            groups = self._kube.request("GET", "apis")["groups"]
            cluster = Cluster(frozenset(group["name"] for group in groups))
            self._known_shape = shape_of(self._request.options, cluster)
        return self._known_shape

    @property
    def remembered(self) -> str:
        """As `RemembersOptions.remembered`."""
        return msgspec.json.encode(self._shape).decode()

    def apply(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.apply`; all of them are looked at before the first is changed."""
        return self._applier.carry_out(self._applier.plan(objects))

    def find(self, kind: str, name: str, namespace: str = "") -> Json | None:
        """As `AppliesObjects.find`."""
        return self._kube.find(kind, name, namespace)

    def delete(self, objects: Sequence[Json]) -> list[Applied]:
        """As `AppliesObjects.delete`."""
        done: list[Applied] = []
        for item in objects:
            done += self._kube.delete([item])
            kind, name = item["kind"], item["metadata"]["name"]
            namespace = item["metadata"].get("namespace", "")
            wait_for(
                lambda kind=kind, name=name, namespace=namespace: self.find(kind, name, namespace) is None or None,
                f"{kind} {name} to be gone",
                _GONE_WITHIN,
            )
        return done

    def endpoints(self, namespace: str) -> Endpoints:
        """As `RunsServices.endpoints`.

        Raises:
            InvalidInput: an option is of no use here.
            NotPermitted: we lack rights that the install needs; the message has all of them.
            NotFound: there is no such storage class.
        """
        found = endpoints(namespace, self._shape)
        # Later the look before each change tells as much; a command that finds an install needs fewer than one did.
        if not self._request.remembered and not self._inventory.read():
            require_rights(self._kube, namespace, self._shape)
        require_storage_class(self._kube, self._shape.storage.storage_class)
        return found

    def preview(self, objects: Sequence[Json], services: Sequence[Service]) -> list[Preview]:
        """As `PreviewsChanges.preview`."""
        wanted = render(services, self._shape, self._request.namespace)
        left_over = _left_over(self._inventory.read(), wanted, services)
        gone = [Preview(f"{item.kind} {item.name}", "remove") for item in sorted(left_over)]
        return [plan.preview for plan in self._applier.plan([*objects, *wanted])] + gone

    def run(self, services: Sequence[Service]) -> list[Applied]:
        """As `RunsServices.run`; what an earlier install made and this one does not is removed, once all are ready."""
        wanted = render(services, self._shape, self._request.namespace)
        plans = self._applier.plan(wanted)
        ours, listed = frozenset(entry(item) for item in wanted), self._inventory.read()
        if not ours <= listed:
            self._inventory.write(listed | ours)
        done = self._applier.carry_out(plans)
        workloads = [item for item in wanted if item["kind"] in _WORKLOADS]
        self._watcher.await_settled(workloads, self._request.timeout, self._request.progress)
        left_over = _left_over(listed, wanted, services)
        done += self._remove(left_over)
        if left_over:
            self._inventory.write((listed | ours) - left_over)
        return done

    def require_rights_to_renew(self, more: Sequence[Service] = ()) -> None:
        """As `ChecksRights.require_rights_to_renew`."""
        others = [(workload_kind(service), service.name) for service in more]
        require_rights_to_renew(self._kube, self._request.namespace, others)

    def outdated(self, services: Sequence[Service]) -> frozenset[str]:
        """As `ComparesFiles.outdated`."""
        return frozenset(service.name for service in services if files_digest(service) not in self._had(service))

    def timer(self, services: Sequence[Service], published: Sequence[Json], schedule: str) -> tuple[Json, ...]:
        """As `RunsTimers.timer`."""
        if not isinstance(self.secrets, KubernetesSecretStore):
            raise NotPermitted(
                "the secrets of this server are in OpenBao, and a timer in the cluster cannot log in there",
                next_step="let `fleet secrets rotate --due` run where you log in to OpenBao",
            )
        written = [*render(services, self._shape, self._request.namespace), *published]
        return timer(written, self._shape, self._request.namespace, schedule)

    def _had(self, service: Service) -> set[str]:
        """The digests of the files that its pods are to have."""
        found = self.find(workload_kind(service), named(service.name), self._request.namespace)
        annotations: Json = found["spec"]["template"]["metadata"].get("annotations", {}) if found else {}
        # The second one counts where another than us keeps the first as it is.
        return {annotations[RENEWED]} if RENEWED in annotations else {annotations.get(DIGEST, "")}

    def renew(self, services: Sequence[Service]) -> list[Applied]:
        """As `RunsServices.renew`; pods that helm or ArgoCD keep are given an annotation that those leave alone."""
        namespace = self._request.namespace
        wanted = [item for item in render(services, self._shape, namespace) if item["kind"] in _WORKLOADS]
        found = [self.find(item["kind"], item["metadata"]["name"], namespace) for item in wanted]
        if not any(item and other_manager(item) for item in found):
            require_only_files(self.preview([], services))
            return self.run(services)
        done = self._kube.apply([files_secret(service, namespace) for service in services])
        for service, item in zip(services, wanted, strict=True):
            change = {"spec": {"template": {"metadata": {"annotations": {RENEWED: files_digest(service)}}}}}
            self._kube.patch(item["kind"], item["metadata"]["name"], namespace, change)
        self._watcher.await_settled(wanted, self._request.timeout, self._request.progress)
        return done

    def services(self) -> list[ServiceStatus]:
        """As `RunsServices.services`."""
        return self._watcher.statuses()

    def stop(self, names: Sequence[str], *, delete_data: bool) -> list[Applied]:
        """As `RunsServices.stop`."""
        listed = self._inventory.read()
        done: list[Applied] = []
        for together in (names[:1], names[1:]):  # the first needs the others until it has ended
            running = {item for item in listed if item.component in together and item.kind in _WORKLOADS}
            done += self._remove(running)
            self._watcher.await_gone(together, _GONE_WITHIN)
        done += self._remove({item for item in listed if item.component in names and item.kind not in _WORKLOADS})
        for name in names if delete_data else ():
            done += self._delete_claims(name)
        left = {item for item in listed if item.component not in names}
        if left:
            self._inventory.write(left)
        else:
            self._inventory.remove()
        return done

    def _remove(self, entries: Collection[Entry]) -> list[Applied]:
        """Remove what is on the list, and ours by its labels."""
        namespace = self._request.namespace
        found = [(item, self.find(item.kind, item.name, namespace)) for item in sorted(entries)]
        return self.delete([there for _, there in found if there is not None and is_ours(there)])

    def _delete_claims(self, component: str) -> list[Applied]:
        try:
            claims = self._kube.list("PersistentVolumeClaim", self._request.namespace)
        except NotFound:
            return []
        ours = [item for item in claims if is_ours(item) and component_of(item) == component]
        return self.delete([{**item, "kind": "PersistentVolumeClaim"} for item in ours])


def _left_over(listed: frozenset[Entry], wanted: Sequence[Json], services: Sequence[Service]) -> frozenset[Entry]:
    """What an earlier install made for these services, and this one does not. Other services stay until uninstalled."""
    names = {service.name for service in services}
    made = listed - {entry(item) for item in wanted}
    return frozenset(item for item in made if item.component in names)
