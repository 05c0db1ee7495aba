"""Whether we may do what an install does: asked before anything is changed, and answered as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.contract.errors import NotPermitted
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
