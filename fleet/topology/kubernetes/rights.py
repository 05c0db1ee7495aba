"""Whether we may do what an install does, on what is there: asked before anything is changed, answered as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.contract.errors import NotFound, NotPermitted
from fleet.topology.capabilities import Json
from fleet.topology.kinds import KINDS
from fleet.topology.kubernetes.shape import Exposure, Shape

if TYPE_CHECKING:
    from fleet.topology.kube import KubeClient

_VERBS = ("get", "create", "patch")
_ALWAYS = (
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Secret",
    "Service",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Deployment",
    "StatefulSet",
)
_EXPOSED_BY = {Exposure.INGRESS: ("Ingress",), Exposure.ROUTE: ("Route",)}


def require_rights(kube: KubeClient, namespace: str, shape: Shape) -> None:
    """Ask for each (SelfSubjectAccessReview), and name all that are missing.

    Raises:
        NotPermitted: some are.
    """
    kinds = (*_ALWAYS, *_EXPOSED_BY.get(shape.exposure, ()))
    missing = [f"{verb} {kind}" for kind in kinds for verb in _VERBS if not _may(kube, verb, kind, namespace)]
    if missing:
        raise NotPermitted(
            f"Kubernetes at {kube.host} does not let us do this in {namespace}: {', '.join(missing)}",
            next_step="ask the cluster's admin for these rights, or use another context; nothing was changed",
        )


def require_storage_class(kube: KubeClient, name: str) -> None:
    """See that a class is there, as far as we may look; an empty name is the default one.

    Raises:
        NotFound: it is not.
    """
    if not name:
        return
    try:
        known = sorted(item["metadata"]["name"] for item in kube.list("StorageClass", ""))
    except NotPermitted:
        return
    if name not in known:
        raise NotFound(
            f"--storage-class {name}: Kubernetes at {kube.host} has no such class",
            next_step=f"use one of: {', '.join(known)}" if known else "the cluster has none: ask its admin for one",
        )


def _may(kube: KubeClient, verb: str, kind: str, namespace: str) -> bool:
    prefix, plural, namespaced = KINDS[kind]
    group = prefix.split("/")[1] if prefix.startswith("apis/") else ""
    asked: Json = {"verb": verb, "resource": plural, "group": group}
    if namespaced:
        asked["namespace"] = namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = kube.request("POST", "apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
