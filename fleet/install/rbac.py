"""What the operator may do in Kubernetes: its ServiceAccount and a Role of its own namespace, one rule per capability.

Nothing is granted outside the namespace. `tests/operator/test_rbac.py` removes each rule in turn and sees the operator
name what is missing, so a rule that nothing needs fails there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP, WEB_ACCOUNT

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
    names: tuple[str, ...] = ()
    """The objects it is for; empty for all of the kind."""

    @property
    def rule(self) -> Json:
        """This capability as a rule of a Role."""
        names = {"resourceNames": [*self.names]} if self.names else {}
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": [self.verb], **names}


CAPABILITIES = (
    Capability("list", DEVICES, "know every device, also those that a watch missed"),
    Capability("watch", DEVICES, "hear of a change at once"),
    Capability("patch", DEVICES, "hold a device until it has left no key and no session, and carry over its labels"),
    Capability("patch", f"{DEVICES}/status", "tell what is known of a device"),
    Capability("list", DEPLOYMENTS, "know every deployment, also those that a watch missed"),
    Capability("watch", DEPLOYMENTS, "hear of a change at once"),
    Capability("patch", DEPLOYMENTS, "hold a deployment until no device has it"),
    Capability("patch", f"{DEPLOYMENTS}/status", "tell how far a deployment is"),
    Capability("get", "secrets", "seal for devices what a deployment takes from a Secret that is marked", group=""),
    Capability("create", "events", "tell in `kubectl describe` what happened", group=""),
    Capability("list", "controllerrevisions", "know which revisions of a deployment are kept", group="apps"),
    Capability("create", "controllerrevisions", "keep a deployment as it is, to go back to", group="apps"),
    Capability("delete", "controllerrevisions", "keep no more than ten, and none of what is gone", group="apps"),
)
"""Each is a rule of the Role."""


FOR_WEB = Capability(
    "create", "serviceaccounts/token", "give the web page a token of its own", group="", names=(WEB_ACCOUNT,)
)
"""What the operator also needs if it serves the web page."""
WEB_CAPABILITIES = tuple(
    Capability(verb, resource, "show it") for resource in (DEVICES, DEPLOYMENTS) for verb in ("get", "list", "watch")
)
"""The rights of the web page."""


def operator_rbac(namespace: str, capabilities: tuple[Capability, ...] = CAPABILITIES) -> tuple[Json, ...]:
    """The ServiceAccount, the Role and the RoleBinding of the operator of a namespace."""
    return _rbac(OPERATOR, namespace, capabilities)


def web_rbac(namespace: str) -> tuple[Json, ...]:
    """The same for the web page."""
    return _rbac(WEB_ACCOUNT, namespace, WEB_CAPABILITIES)


def _rbac(name: str, namespace: str, capabilities: tuple[Capability, ...]) -> tuple[Json, ...]:
    meta = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/part-of": "fleet"}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    role = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "Role",
        "metadata": meta,
        "rules": [capability.rule for capability in capabilities],
    }
    binding = {
        "apiVersion": f"{_RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "roleRef": {"apiGroup": _RBAC, "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    return (account, role, binding)
