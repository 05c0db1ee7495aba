"""The kinds of Kubernetes objects that we use, and where the API server has them."""

from __future__ import annotations

from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP, VERSION

# kind: API path prefix, plural, whether it lives in a namespace
KINDS = {
    "Namespace": ("api/v1", "namespaces", False),
    "ConfigMap": ("api/v1", "configmaps", True),
    "Secret": ("api/v1", "secrets", True),
    "Service": ("api/v1", "services", True),
    "ServiceAccount": ("api/v1", "serviceaccounts", True),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims", True),
    "Pod": ("api/v1", "pods", True),
    "Event": ("api/v1", "events", True),
    "Deployment": ("apis/apps/v1", "deployments", True),
    "StatefulSet": ("apis/apps/v1", "statefulsets", True),
    "ControllerRevision": ("apis/apps/v1", "controllerrevisions", True),
    "Lease": ("apis/coordination.k8s.io/v1", "leases", True),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets", True),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies", True),
    "Ingress": ("apis/networking.k8s.io/v1", "ingresses", True),
    "StorageClass": ("apis/storage.k8s.io/v1", "storageclasses", False),
    "Route": ("apis/route.openshift.io/v1", "routes", True),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles", False),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings", False),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "Device": (f"apis/{GROUP}/{VERSION}", DEVICES, True),
    "FleetDeployment": (f"apis/{GROUP}/{VERSION}", DEPLOYMENTS, True),
}


def api_path(kind: str, name: str, namespace: str) -> str:
    """The path of an object, or of all of a kind where `name` is empty."""
    prefix, plural, namespaced = KINDS[kind]
    inside = f"namespaces/{namespace}/" if namespaced and namespace else ""
    return f"{prefix}/{inside}{plural}" + (f"/{name}" if name else "")
