"""The services of the plan as Kubernetes objects. Pure: the same plan and shape give the same objects."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from fleet.topology.capabilities import Json, Service
from fleet.topology.kubernetes.labels import MANAGED, meta, named, pods_of
from fleet.topology.kubernetes.network import inside, outside, policy, web_outside
from fleet.topology.kubernetes.pods import files_digest, filled, pod_template
from fleet.topology.kubernetes.shape import Shape, Storage


def render(services: Sequence[Service], shape: Shape, namespace: str) -> tuple[Json, ...]:
    """All objects of the services, in the order in which they depend on each other."""
    objects: list[Json] = []
    for service in services:
        objects += [policy(service, namespace), files_secret(service, namespace)]
        objects += inside(service, namespace)
        if service.public:
            objects.append(outside(service, service.public, namespace, shape))
        if service.replicas > 1:
            objects.append(_budget(service, namespace))
        objects.append(workload(service, shape, namespace, files_digest(service)))
    return (*objects, *web_outside(shape, namespace))


def files_secret(service: Service, namespace: str) -> Json:
    """A service's files, as its pods mount them."""
    data = {name: base64.b64encode(_in_pod(content)).decode() for name, content in service.files.items()}
    metadata = meta(named(service.name), namespace, service.name)
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}


def workload_kind(service: Service) -> str:
    """What keeps its pods running."""
    return "StatefulSet" if service.keeps_data else "Deployment"


def workload(service: Service, shape: Shape, namespace: str, digest: str) -> Json:
    """What keeps a service's pods running; `digest` is that of its files."""
    name, selector = named(service.name), {"matchLabels": pods_of(service.name)}
    template = pod_template(service, shape, digest)
    spec: Json = {"replicas": service.replicas, "selector": selector, "template": template}
    kind = workload_kind(service)
    if service.keeps_data:
        spec |= {
            "serviceName": f"{name}-peers",
            # All at once: a replica becomes ready only together with the others.
            "podManagementPolicy": "Parallel",
            "volumeClaimTemplates": [_claim(service.name, shape.storage)],
        }
    else:
        alone = service.replicas == 1
        # One that must be alone ends before the next begins; of several, none goes before its successor is ready.
        rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
        spec |= {"strategy": {"type": "Recreate"} if alone else rolling, "revisionHistoryLimit": 3}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": meta(name, namespace, service.name), "spec": spec}


def _claim(component: str, storage: Storage) -> Json:
    spec: Json = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage.size}}}
    if storage.storage_class:
        spec["storageClassName"] = storage.storage_class
    metadata = {"name": "data", "labels": MANAGED | pods_of(component)}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _budget(service: Service, namespace: str) -> Json:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta(named(service.name), namespace, service.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": pods_of(service.name)}},
    }


def _in_pod(content: bytes) -> bytes:
    # What is no text holds no placeholder either.
    try:
        return filled(content.decode()).encode()
    except UnicodeDecodeError:
        return content
