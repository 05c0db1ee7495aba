"""The ArgoCD `Application` that installs the chart."""

from __future__ import annotations

from fleet.chart.files import CHART_VERSION, NAME
from fleet.topology.capabilities import Json

_OURS = "kubernetes.default.svc"
"""The cluster that ArgoCD itself runs in."""


def application(repository: str, namespace: str, values: Json) -> Json:
    """The object; `repository` is where the chart was published, and `values` what it is installed with."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": NAME, "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {
                # ArgoCD takes the address of an OCI repository without its scheme.
                "repoURL": repository.removeprefix("oci://"),
                "chart": NAME,
                "targetRevision": CHART_VERSION,
                "helm": {"releaseName": NAME, "valuesObject": values},
            },
            "destination": {"server": f"https://{_OURS}", "namespace": namespace},
            "syncPolicy": {
                # Only server-side apply reports that a field has two managers.
                "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
                "managedNamespaceMetadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
            },
        },
    }
