"""Whether we may do what an install does, on what is there: asked before anything is changed, answered as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from fleet.contract.errors import NotFound, NotPermitted
from fleet.contract.logs import LOG_READER_SECRET
from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.kube.paths import KINDS
from fleet.secrets.mark import NAME as SECRETS
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import LEASE, named
from fleet.topology.kubernetes.shape import Exposure, Shape, WebExposure

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

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
_EXPOSED_BY = {
    Exposure.INGRESS: "Ingress",
    Exposure.ROUTE: "Route",
    WebExposure.INGRESS: "Ingress",
    WebExposure.ROUTE: "Route",
}


def require_rights(kube: KubeClient, namespace: str, shape: Shape) -> None:
    """Ask for each (SelfSubjectAccessReview), and name all that are missing.

    Raises:
        NotPermitted: some are.
    """
    leading = (_EXPOSED_BY[way] for way in (shape.exposure, shape.web_exposure) if way in _EXPOSED_BY)
    kinds = (*_ALWAYS, *dict.fromkeys(leading))
    _require(kube, namespace, ((verb, kind, "") for kind in kinds for verb in _VERBS))


def require_rights_to_renew(kube: KubeClient, namespace: str, more: Iterable[tuple[str, str]] = ()) -> None:
    """As `require_rights`, for what a rotation of a secret does: a role may name just these objects.

    `more` are kinds and services beside our own three.

    Raises:
        NotPermitted: some are missing.
    """
    objects = [("Secret", SECRETS), ("Secret", LOG_READER_SECRET), ("ConfigMap", SERVER_CONFIG_MAP)]
    for kind, service in (("StatefulSet", "nats"), ("Deployment", "callout"), ("Deployment", "operator"), *more):
        objects += [("Secret", named(service)), (kind, named(service))]
    wanted = [(verb, *what) for what in objects for verb in ("get", "patch")]
    wanted += [("create", "Lease", ""), *((verb, "Lease", LEASE) for verb in ("get", "patch", "delete"))]
    _require(kube, namespace, wanted)


def _require(kube: KubeClient, namespace: str, wanted: Iterable[tuple[str, str, str]]) -> None:
    """Verbs, kinds, and names of objects; no name means any."""
    missing = [
        f"{verb} {kind} {name}".rstrip() for verb, kind, name in wanted if not _may(kube, verb, kind, namespace, name)
    ]
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


def _may(kube: KubeClient, verb: str, kind: str, namespace: str, name: str) -> bool:
    prefix, plural, namespaced = KINDS[kind]
    group = prefix.split("/")[1] if prefix.startswith("apis/") else ""
    asked: Json = {"verb": verb, "resource": plural, "group": group, "name": name}
    if namespaced:
        asked["namespace"] = namespace
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = kube.request("POST", "apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
