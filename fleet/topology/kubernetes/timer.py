"""A CronJob that renews a server's secrets when they are due, and an account for it that may do just that. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.contract.objects import DEVICES, GROUP, SERVER_CONFIG_MAP
from fleet.kube.paths import KINDS
from fleet.secrets.mark import NAME as SECRETS
from fleet.topology.capabilities import Json
from fleet.topology.kubernetes.labels import INVENTORY, LEASE, MANAGED, meta
from fleet.topology.kubernetes.pods import CONTAINER_SECURITY, pod_security
from fleet.topology.kubernetes.shape import Shape

_NAME = "fleet-renewal"
_WITHIN, _DEADLINE = 600, 3600
"""Seconds for the parts to take up a step, and for the whole job."""


def timer(written: Sequence[Json], shape: Shape, namespace: str, schedule: str) -> tuple[Json, ...]:
    """The objects, in the order in which they depend on each other.

    Args:
        written: What a rotation writes; of these, the account may read and change each by its name.
        shape: Of the install.
        namespace: Of the server.
        schedule: When it looks, as a CronJob has it.
    """
    about = {"namespace": namespace, "name": _NAME}
    subject = {"kind": "ServiceAccount", **about}
    api = "rbac.authorization.k8s.io"
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta(_NAME, namespace)},
        {"apiVersion": f"{api}/v1", "kind": "Role", "metadata": meta(_NAME, namespace), "rules": _rules(written)},
        {
            "apiVersion": f"{api}/v1",
            "kind": "RoleBinding",
            "metadata": meta(_NAME, namespace),
            "roleRef": {"apiGroup": api, "kind": "Role", "name": _NAME},
            "subjects": [subject],
        },
        _cron_job(shape, namespace, schedule),
    )


def _rules(written: Sequence[Json]) -> list[Json]:
    named: dict[tuple[str, str], set[str]] = {_resource("Secret"): {SECRETS}, _resource("ConfigMap"): set()}
    for item in written:
        named.setdefault(_resource(item["kind"]), set()).add(item["metadata"]["name"])
    rules = [_rule(where, ["get", "patch"], sorted(names)) for where, names in named.items() if names]
    lease = _resource("Lease")
    return [
        *rules,
        _rule(_resource("ConfigMap"), ["get"], [INVENTORY, SERVER_CONFIG_MAP]),
        _rule(lease, ["get", "patch", "delete"], [LEASE]),
        # What has no name yet can only be allowed as a whole; and so can lists.
        _rule(lease, ["create"]),
        _rule((GROUP, DEVICES), ["list"]),
        *(_rule(_resource(kind), ["list"]) for kind in ("Deployment", "StatefulSet")),
    ]


def _rule(where: tuple[str, str], verbs: list[str], names: Sequence[str] = ()) -> Json:
    group, resource = where
    return {"apiGroups": [group], "resources": [resource], "verbs": verbs} | (
        {"resourceNames": list(names)} if names else {}
    )


def _resource(kind: str) -> tuple[str, str]:
    """The API group and the plural."""
    prefix, plural, _ = KINDS[kind]
    return prefix.split("/")[1] if prefix.startswith("apis/") else "", plural


def _cron_job(shape: Shape, namespace: str, schedule: str) -> Json:
    pod: Json = {
        "serviceAccountName": _NAME,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "securityContext": pod_security(shape),
        "containers": [
            {
                "name": "renewal",
                "image": shape.image,
                "imagePullPolicy": shape.pull_policy,
                "command": ["fleet"],
                "args": ["secrets", "rotate", "--due", "--timeout", str(_WITHIN), "--namespace", namespace],
                "env": [{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - a volume of the pod's own
                "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
                "resources": {
                    "requests": {"cpu": "50m", "memory": "128Mi"},
                    "limits": {"cpu": "1", "memory": "256Mi"},
                },
                "securityContext": CONTAINER_SECURITY,
                "terminationMessagePolicy": "FallbackToLogsOnError",
            }
        ],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    if shape.pull_secret:
        pod["imagePullSecrets"] = [{"name": shape.pull_secret}]
    job = {
        # A repeat goes on where it stopped; what is still open then waits for the next day.
        "backoffLimit": 1,
        "activeDeadlineSeconds": _DEADLINE,
        "template": {"metadata": {"labels": dict(MANAGED)}, "spec": pod},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": meta(_NAME, namespace),
        "spec": {
            "schedule": schedule,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": _DEADLINE,
            "successfulJobsHistoryLimit": 1,
            "failedJobsHistoryLimit": 3,
            "jobTemplate": {"metadata": {"labels": dict(MANAGED)}, "spec": job},
        },
    }
