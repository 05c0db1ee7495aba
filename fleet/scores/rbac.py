"""What the operator may do in Kubernetes: its ServiceAccount and a Role of its own namespace, one rule per capability.

Nothing is granted outside the namespace. `tests/operator/test_rbac.py` removes each rule in turn and sees the operator
name what is missing, so a rule that nothing needs fails there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP

Json = dict[str, Any]

OPERATOR = "fleet-operator"
"""The name of the operator's ServiceAccount, Role and RoleBinding."""

_RBAC = "rbac.authorization.k8s.io"


class Capability(msgspec.Struct, frozen=True):
    """One verb on one resource, and what the operator needs it for."""

    verb: str
    resource: str
    why: str
    group: str = GROUP


CAPABILITIES = (
    Capability("list", DEVICES, "know every device, also those that a watch missed"),
    Capability("watch", DEVICES, "hear of a change at once"),
    Capability("patch", DEVICES, "hold a device until it has left no key and no session"),
    Capability("patch", f"{DEVICES}/status", "tell what is known of a device"),
    Capability("list", DEPLOYMENTS, "know every deployment, also those that a watch missed"),
    Capability("watch", DEPLOYMENTS, "hear of a change at once"),
    Capability("patch", DEPLOYMENTS, "hold a deployment until no device has it"),
    Capability("patch", f"{DEPLOYMENTS}/status", "tell how far a deployment is"),
    Capability("create", "events", "tell in `kubectl describe` what happened", group=""),
)
"""Each is a rule of the Role."""


def operator_rbac(namespace: str, capabilities: tuple[Capability, ...] = CAPABILITIES) -> tuple[Json, ...]:
    """The ServiceAccount, the Role and the RoleBinding of the operator of a namespace."""
    meta = {"name": OPERATOR, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "fleet"}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    role = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": meta,
        "rules": [{"apiGroups": [c.group], "resources": [c.resource], "verbs": [c.verb]} for c in capabilities],
    }
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": OPERATOR},
        "subjects": [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": namespace}],
    }
    return (account, role, binding)
