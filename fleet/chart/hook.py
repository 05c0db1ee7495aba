"""The chart's job: what helm cannot do. It runs before anything else of a release, with the release's own image.

It finds or makes the project at the identity provider and the secrets, and writes the files that the pods mount and the
announcement, as `fleet server install` does. See docs/decisions/024-the-charts-job.md.
"""

from __future__ import annotations

from fleet.contract.objects import SERVER_CONFIG_MAP
from fleet.scores.server import SERVICES
from fleet.secrets.kubernetes import NAME as STORE
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import MANAGED, named
from fleet.topology.kubernetes.pods import CONTAINER_SECURITY, pod_security
from fleet.topology.kubernetes.shape import Shape

NAME = "fleet-prepare"
VALUES = "values.json"
_CONFIG, _ADMIN, _TMP = "/etc/fleet/values", "/etc/fleet/admin", "/tmp"  # noqa: S108 - a volume of the pod's own
ADMIN_TOKEN = f"{_ADMIN}/token"
_WHEN = "pre-install,pre-upgrade,pre-rollback"
_DEADLINE = 300
"""Seconds for the job and its retries: an image to pull, and a provider that may have to start."""
_READ_BY_GROUP = 0o440


def hook_objects(shape: Shape, namespace: str, values: str, admin_token_secret: str) -> tuple[Json, ...]:
    """The job, its rights and its input; `values` is JSON."""
    return (
        _object("ServiceAccount", "v1", namespace, -3, {}),
        _object("Role", "rbac.authorization.k8s.io/v1", namespace, -3, {"rules": _rules()}),
        _object("RoleBinding", "rbac.authorization.k8s.io/v1", namespace, -2, _binding(namespace)),
        _object("ConfigMap", "v1", namespace, -2, {"data": {VALUES: values}}),
        _object("Job", "batch/v1", namespace, -1, {"spec": _job(shape, namespace, admin_token_secret)}),
    )


def _object(kind: str, version: str, namespace: str, weight: int, content: Json) -> Json:
    annotations = {
        "helm.sh/hook": _WHEN,
        "helm.sh/hook-weight": str(weight),
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    meta = {"name": NAME, "namespace": namespace, "labels": MANAGED, "annotations": annotations}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **content}


def _rules() -> list[Json]:
    """To make what has no name yet takes the whole kind; all else is for our own names only."""
    secrets = [STORE, *(named(service) for service in SERVICES)]
    return [
        {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": secrets, "verbs": ["get", "patch"]},
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": [SERVER_CONFIG_MAP],
            "verbs": ["get", "patch"],
        },
    ]


def _binding(namespace: str) -> Json:
    return {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
    }


def _job(shape: Shape, namespace: str, admin_token_secret: str) -> Json:
    mounts = [{"name": "values", "mountPath": _CONFIG, "readOnly": True}, {"name": "tmp", "mountPath": _TMP}]
    volumes: list[Json] = [
        {"name": "values", "configMap": {"name": NAME}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    args = ["server", "chart", "prepare", "--values", f"{_CONFIG}/{VALUES}", "--namespace", namespace]
    if admin_token_secret:
        mounts.append({"name": "admin", "mountPath": _ADMIN, "readOnly": True})
        source = {"secretName": admin_token_secret, "defaultMode": _READ_BY_GROUP}
        volumes.append({"name": "admin", "secret": source})
        args += ["--admin-token-file", ADMIN_TOKEN]
    container: Json = {
        "name": "prepare",
        "image": shape.image,
        "imagePullPolicy": shape.pull_policy,
        "command": ["fleet"],
        "args": args,
        "env": [{"name": "HOME", "value": _TMP}],
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    pod: Json = {
        "serviceAccountName": NAME,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": pod_security(shape),
        "containers": [container],
        "volumes": volumes,
    }
    if shape.pull_secret:
        pod["imagePullSecrets"] = [{"name": shape.pull_secret}]
    return {
        "backoffLimit": 3,
        "activeDeadlineSeconds": _DEADLINE,
        "template": {"metadata": {"labels": MANAGED}, "spec": pod},
    }
