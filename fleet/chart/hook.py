"""The chart's jobs: what helm cannot do, with the release's own image. See docs/decisions/024-the-charts-job.md.

`prepare` runs before anything else of a release: it finds or makes the project at the identity provider and the
secrets, and writes the files that the pods mount and the announcement, as `fleet server install` does. `withdraw` runs
when the release is gone: it removes files and announcement, and leaves the secrets, as `fleet server uninstall` does.
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
_BEFORE, _AFTER = "pre-install,pre-upgrade,pre-rollback", "post-delete"
_DEADLINE = 300
"""Seconds for the job and its retries: an image to pull, and a provider that may have to start."""
_READ_BY_GROUP = 0o440


def hook_objects(shape: Shape, namespace: str, values: str, admin_token_secret: str) -> tuple[Json, ...]:
    """The jobs, their rights and their input; `values` is JSON."""
    rbac, both = "rbac.authorization.k8s.io/v1", f"{_BEFORE},{_AFTER}"
    prepare = {"spec": _job(shape, namespace, "prepare", admin_token_secret)}
    withdraw = {"spec": _job(shape, namespace, "withdraw", "")}
    return (
        _object("v1", "ServiceAccount", NAME, namespace, {}, when=both, weight=-3),
        _object(rbac, "Role", NAME, namespace, {"rules": _rules()}, when=both, weight=-3),
        _object(rbac, "RoleBinding", NAME, namespace, _binding(namespace), when=both, weight=-2),
        _object("v1", "ConfigMap", NAME, namespace, {"data": {VALUES: values}}, when=both, weight=-2),
        _object("batch/v1", "Job", NAME, namespace, prepare, when=_BEFORE, weight=-1),
        _object("batch/v1", "Job", "fleet-withdraw", namespace, withdraw, when=_AFTER, weight=-1),
    )


def _object(version: str, kind: str, name: str, namespace: str, content: Json, *, when: str, weight: int) -> Json:
    annotations = {
        "helm.sh/hook": when,
        "helm.sh/hook-weight": str(weight),
        "helm.sh/hook-delete-policy": "before-hook-creation,hook-succeeded",
    }
    meta = {"name": name, "namespace": namespace, "labels": MANAGED, "annotations": annotations}
    return {"apiVersion": version, "kind": kind, "metadata": meta, **content}


def _rules() -> list[Json]:
    """To make what has no name yet takes the whole kind; all else is for our own names only."""
    files = [named(service) for service in SERVICES]

    def rule(resource: str, names: list[str], *verbs: str) -> Json:
        return {"apiGroups": [""], "resources": [resource], "resourceNames": names, "verbs": [*verbs]}

    return [
        {"apiGroups": [""], "resources": ["secrets", "configmaps"], "verbs": ["create"]},
        rule("secrets", [STORE], "get", "patch"),
        rule("secrets", files, "get", "patch", "delete"),
        rule("configmaps", [SERVER_CONFIG_MAP], "get", "patch", "delete"),
    ]


def _binding(namespace: str) -> Json:
    return {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
        "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
    }


def _job(shape: Shape, namespace: str, verb: str, admin_token_secret: str) -> Json:
    mounts = [{"name": "values", "mountPath": _CONFIG, "readOnly": True}, {"name": "tmp", "mountPath": _TMP}]
    volumes: list[Json] = [
        {"name": "values", "configMap": {"name": NAME}},
        {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
    ]
    args = ["server", "chart", verb, "--values", f"{_CONFIG}/{VALUES}", "--namespace", namespace]
    if admin_token_secret:
        mounts.append({"name": "admin", "mountPath": _ADMIN, "readOnly": True})
        source = {"secretName": admin_token_secret, "defaultMode": _READ_BY_GROUP}
        volumes.append({"name": "admin", "secret": source})
        args += ["--admin-token-file", ADMIN_TOKEN]
    container: Json = {
        "name": verb,
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
