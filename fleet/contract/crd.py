"""CustomResourceDefinitions generated from the typed models: structural schemas, columns, validation rules."""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.names import Name
from fleet.contract.objects import (
    DEPLOYMENTS,
    DEVICES,
    GROUP,
    VERSION,
    DeploymentSpec,
    DeploymentStatus,
    DeviceSpec,
    DeviceStatus,
)

Json = dict[str, Any]

_NAME_RULE: Json = {
    "rule": "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",
    "message": "the name must be an RFC 1123 label: 1 to 63 characters of a-z, 0-9 and '-'",
}

_PORTS_RULE: Json = {
    "rule": "self.all(one, self.exists_one(other, one.host == other.host && "
    "(has(one.protocol) ? one.protocol : 'tcp') == (has(other.protocol) ? other.protocol : 'tcp')))",
    "message": "a port of the device is named twice for one protocol",
}


def _condition(kind: str, field: str = "status") -> str:
    return f".status.conditions[?(@.type=='{kind}')].{field}"


def _column(name: str, path: str, kind: str = "string", priority: int = 0) -> Json:
    return {"name": name, "type": kind, "jsonPath": path, "priority": priority}


_AGE = _column("Age", ".metadata.creationTimestamp", "date")


def device_crd() -> Json:
    """The `Device` definition."""
    columns = [
        _column("Online", _condition("Online")),
        _column("Reason", _condition("Online", "reason")),
        _column("Revoked", ".spec.revoked", "boolean"),
        _column("Version", ".status.info.agentVersion"),
        _column("Upgraded", _condition("Upgraded", "reason")),
        _column("Deployments", ".status.deployments", "integer"),
        _column("Wanted", ".spec.agentVersion", priority=1),
        _column("Arch", ".status.info.arch", priority=1),
        _column("OS", ".status.info.os", priority=1),
        # Not the last heartbeat: a status holds the one of its last transition.
        _column("Since", _condition("Online", "lastTransitionTime"), "date", priority=1),
        _AGE,
    ]
    return _crd("Device", DEVICES, ["fdev"], DeviceSpec, DeviceStatus, columns)


def deployment_crd() -> Json:
    """The `FleetDeployment` definition."""
    columns = [
        _column("Image", ".spec.workload.image"),
        _column("Matched", ".status.matched", "integer"),
        _column("Updated", ".status.updated", "integer"),
        _column("Ready", ".status.ready", "integer"),
        _column("Failed", ".status.failed", "integer"),
        _column("Reason", _condition("Ready", "reason")),
        _AGE,
    ]
    crd = _crd("FleetDeployment", DEPLOYMENTS, ["fdep"], DeploymentSpec, DeploymentStatus, columns)
    (version,) = crd["spec"]["versions"]
    workload = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["workload"]
    workload["properties"]["ports"]["x-kubernetes-validations"] = [_PORTS_RULE]
    return crd


def _crd(kind: str, plural: str, short: list[str], spec: type, status: type, columns: list[Json]) -> Json:
    schema: Json = {
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [_NAME_RULE],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(spec),
            "status": structural_schema(status),
        },
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "fleet"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "shortNames": short},
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }


def structural_schema(model: type) -> Json:
    """A model's schema in the form Kubernetes demands: no references, no titles, `nullable` for optional values."""
    (root,), components = msgspec.json.schema_components([model], ref_template="{name}", schema_hook=_name_schema)
    return _inline(root, components)


def _name_schema(kind: type[Name]) -> Json:
    return {"type": "string", "maxLength": kind.longest, "pattern": f"^({kind.grammar.pattern})$"}


_DROPPED = {"title", "description", "default", "propertyNames"}


def _inline(node: Json, components: dict[str, Json]) -> Json:
    if "$ref" in node:
        return _inline(components[node["$ref"]], components)
    if "anyOf" in node:
        (real,) = [option for option in node["anyOf"] if option != {"type": "null"}]
        return {**_inline(real, components), "nullable": True}
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if keys := node.get("propertyNames"):
        result["x-kubernetes-validations"] = [_key_rule(keys)]
    _as_kubernetes_reads(result)
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = _inline(result[key], components)
    if "properties" in result:
        result["properties"] = {name: _inline(value, components) for name, value in result["properties"].items()}
        result["required"] = [
            name for name in result.get("required", []) if name != "type" or "enum" not in result["properties"][name]
        ]
        for name, value in result["properties"].items():
            # Who takes the last field out of an object by server-side apply leaves null, which only a default replaces.
            if value.get("type") == "object" and name not in result["required"] and not value.get("nullable"):
                value["default"] = {}
    if result.get("required") == []:
        del result["required"]
    return result


def _as_kubernetes_reads(node: Json) -> None:
    if "pattern" in node:
        node["pattern"] = node["pattern"].replace(r"\Z", "$")  # the `$` of RE2 is the end of the text alone
    if set(node) == {"enum"}:
        node["type"] = "string"


def _key_rule(keys: Json) -> Json:
    """Kubernetes' schemas say nothing of the names in a map: a rule does."""
    pattern = keys["pattern"].replace(r"\Z", "$")
    rule = f"self.all(name, name.size() <= {keys['maxLength']} && name.matches(r'{pattern}'))"
    return {"rule": rule, "message": f"a name must match {pattern} and have at most {keys['maxLength']} characters"}
