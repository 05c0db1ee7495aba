"""A warning for a user who creates a Device or a FleetDeployment where no fleet server looks: decision 048."""

from __future__ import annotations

from fleet.contract.objects import DEPLOYMENTS, DEVICES, GROUP
from fleet.install.rbac import OPERATOR
from fleet.topology.capabilities import Json

NAME = f"served.{GROUP}"
_GROUP = "admissionregistration.k8s.io/v1"
_SERVED = (
    f"authorizer.serviceAccount(request.namespace, '{OPERATOR}').group('{GROUP}').resource(request.resource.resource)"
    ".subresource('status').namespace(request.namespace).check('patch').allowed()"
)
"""Whether an operator of the namespace may write statuses there: every install gives it that, and nothing else does."""
_MESSAGE = (
    "'no fleet server is installed in namespace ' + request.namespace + ', so nothing becomes of this ' + "
    "request.kind.kind + ': run `fleet server install --namespace ' + request.namespace + '`, or use another namespace'"
)


def admission_policy() -> tuple[Json, Json]:
    """The ValidatingAdmissionPolicy (Kubernetes 1.30) and its binding. They refuse nothing."""
    meta = {"name": NAME, "labels": {"app.kubernetes.io/part-of": "fleet"}}
    rule: Json = {
        "apiGroups": [GROUP],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [DEVICES, DEPLOYMENTS],
    }
    policy: Json = {
        "apiVersion": _GROUP,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": meta,
        "spec": {
            "failurePolicy": "Ignore",
            "matchConstraints": {"resourceRules": [rule]},
            # Whoever deletes an object that nobody serves takes its finalizer off, and needs no warning.
            "matchConditions": [{"name": "stays", "expression": "!has(object.metadata.deletionTimestamp)"}],
            "validations": [{"expression": _SERVED, "messageExpression": _MESSAGE}],
        },
    }
    binding: Json = {
        "apiVersion": _GROUP,
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": meta,
        "spec": {"policyName": NAME, "validationActions": ["Warn", "Audit"]},
    }
    return policy, binding
