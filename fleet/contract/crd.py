"""CustomResourceDefinitions generated from the typed models: structural schemas, columns, validation rules."""

from __future__ import annotations

from typing import Any

import msgspec

from fleet.contract.confinement import MEMORY_RULE, ULIMIT_RULE
from fleet.contract.descriptions import FIELDS, KINDS, STANDARD
from fleet.contract.mounts import BOTH_PATHS_RULE, FILE_RULE, MOUNT_RULES, PATHS_RULE
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
from fleet.contract.pod import BETWEEN_RULES, INIT_RULE, RECREATE_RULE
from fleet.contract.selector import VALUES_RULE
from fleet.contract.workload import ENV_RULE, LABELS_RULE, NETWORK_RULE

Json = dict[str, Any]

_NAME_RULE: Json = {
    "rule": "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')",
    "message": "the name must be an RFC 1123 label: 1 to 63 characters of a-z, 0-9 and '-'",
}

_SUBJECT_RULE: Json = {
    "rule": "!has(oldSelf.subject) || oldSelf.subject == '' || (has(self.subject) && self.subject == oldSelf.subject) "
    "|| (has(self.enrollment) ? self.enrollment : 0) > (has(oldSelf.enrollment) ? oldSelf.enrollment : 0)",
    "message": "the subject says which machine this device is: change it with `fleet device enroll --replace` alone",
}
"""Who moves another device's subject here lets that machine in under this name."""

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
        # Not what is wanted: a device is shut out once its last session is gone.
        _column("Revoked", _condition("Revoked")),
        _column("Quarantined", _condition("Quarantined", "reason")),
        _column("Version", ".status.info.agentVersion"),
        _column("Upgraded", _condition("Upgraded", "reason")),
        _column("Deployments", ".status.deployments", "integer"),
        _column("Trouble", _condition("WorkloadTrouble", "reason")),
        _column("Wanted", ".spec.agentVersion", priority=1),
        _column("Arch", ".status.info.arch", priority=1),
        _column("OS", ".status.info.os", priority=1),
        # Not the last heartbeat: a status holds the one of its last transition.
        _column("Since", _condition("Online", "lastTransitionTime"), "date", priority=1),
        _AGE,
    ]
    crd = _crd("Device", DEVICES, ["fdev"], DeviceSpec, DeviceStatus, columns)
    (version,) = crd["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-validations"] = [_SUBJECT_RULE]
    return crd


def deployment_crd() -> Json:
    """The `FleetDeployment` definition."""
    columns = [
        # Not those of the spec: a pod has several, of which a column of Kubernetes would show the first alone.
        _column("Image", ".status.workloadImages"),
        # While they differ, the other columns tell of the generation that was seen.
        _column("Generation", ".metadata.generation", "integer"),
        _column("Seen", ".status.observedGeneration", "integer"),
        _column("Matched", ".status.matched", "integer"),
        _column("Updated", ".status.updated", "integer"),
        _column("Ready", ".status.ready", "integer"),
        _column("Failed", ".status.failed", "integer"),
        _column("Reason", _condition("Ready", "reason")),
        _AGE,
    ]
    crd = _crd("FleetDeployment", DEPLOYMENTS, ["fdep"], DeploymentSpec, DeploymentStatus, columns)
    (version,) = crd["spec"]["versions"]
    spec = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    _add_workload_rules(spec["workload"])
    selector = spec["selector"]
    selector["properties"]["matchExpressions"]["items"]["x-kubernetes-validations"] = [VALUES_RULE]
    return crd


def _add_workload_rules(workload: Json) -> None:
    fields = workload["properties"]
    _add_container_rules(workload)
    for name in ("containers", "initContainers"):
        _add_container_rules(fields[name]["items"])
        # By name, so that server-side apply knows whose which field of which container is.
        fields[name] |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    fields["initContainers"]["items"]["x-kubernetes-validations"].append(INIT_RULE)
    of_pods = {"type", "update", "containers", "initContainers"}
    absent = " && ".join(_absent(f"self.{name}", field) for name, field in fields.items() if name not in of_pods)
    workload["x-kubernetes-validations"] += [
        {
            "rule": "self.type == 'pod' || (has(self.image) && !has(self.containers) && !has(self.initContainers))",
            "message": "a container has an image; containers and initContainers are of the type pod",
        },
        {
            "rule": f"self.type != 'pod' || (has(self.containers) && {absent})",
            "message": "a pod has containers, initContainers and update: all else is said of each container",
        },
        RECREATE_RULE,
        *BETWEEN_RULES,
    ]
    needed = fields["containers"]["items"]["properties"]["dependsOn"]
    needed |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


def _absent(path: str, node: Json) -> str:
    """A rule by which nothing is said: what Kubernetes fills in by itself, an empty object, counts as nothing."""
    if "properties" in node:
        inside = " && ".join(_absent(f"{path}.{name}", schema) for name, schema in node["properties"].items())
        return f"(!has({path}) || ({inside}))"
    return f"(!has({path}) || {path}.size() == 0)" if node["type"] == "object" else f"!has({path})"


def _add_container_rules(container: Json) -> None:
    container["x-kubernetes-validations"] = [NETWORK_RULE, BOTH_PATHS_RULE, ENV_RULE]
    fields = container["properties"]
    fields["ports"]["x-kubernetes-validations"] = [_PORTS_RULE]
    fields["labels"]["x-kubernetes-validations"] += [LABELS_RULE]
    fields["limits"]["x-kubernetes-validations"] = [MEMORY_RULE]
    fields["ulimits"]["items"]["x-kubernetes-validations"] = [ULIMIT_RULE]
    fields["mounts"]["items"]["x-kubernetes-validations"] = list(MOUNT_RULES)
    fields["files"]["items"]["x-kubernetes-validations"] = [FILE_RULE]
    for name in ("mounts", "files"):
        fields[name]["x-kubernetes-validations"] = [PATHS_RULE]


def _crd(kind: str, plural: str, short: list[str], spec: type, status: type, columns: list[Json]) -> Json:
    schema: Json = {
        "type": "object",
        "required": ["spec"],
        "x-kubernetes-validations": [_NAME_RULE],
        "description": KINDS[kind],
        "properties": {
            "apiVersion": {"type": "string", "description": STANDARD["apiVersion"]},
            "kind": {"type": "string", "description": STANDARD["kind"]},
            "metadata": {"type": "object"},  # Kubernetes describes it itself
            "spec": {**structural_schema(spec), "description": FIELDS[kind]["spec"]},
            "status": {**structural_schema(status), "description": FIELDS[kind]["status"]},
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
        real = [_inline(option, components) for option in node["anyOf"] if option != {"type": "null"}]
        nullable = {"nullable": True} if len(real) < len(node["anyOf"]) else {}
        return {**(real[0] if len(real) == 1 else _one_of(real)), **nullable}
    result = {key: value for key, value in node.items() if key not in _DROPPED}
    if keys := node.get("propertyNames"):
        result["x-kubernetes-validations"] = [_key_rule(keys)]
    _as_kubernetes_reads(result)
    for key in ("items", "additionalProperties"):
        if isinstance(result.get(key), dict):
            result[key] = _inline(result[key], components)
    if "properties" in result:
        result.pop("additionalProperties", None)  # Kubernetes' own way is to prune what is unknown, and to warn
        descriptions = FIELDS.get(node["title"], {})
        result["properties"] = {
            name: _inline(value, components) | ({"description": descriptions[name]} if name in descriptions else {})
            for name, value in result["properties"].items()
        }
        result["required"] = [
            # The tag of the one kind that there is says nothing; a type that is one of several does.
            name
            for name in result.get("required", [])
            if name != "type" or len(result["properties"][name].get("enum", ())) != 1
        ]
        for name, value in result["properties"].items():
            # Who takes the last field out of an object by server-side apply leaves null, which only a default replaces.
            if value.get("type") == "object" and name not in result["required"] and not value.get("nullable"):
                value["default"] = {}
    if result.get("required") == []:
        del result["required"]
    return result


def _one_of(kinds: list[Json]) -> Json:
    """Several kinds of an object as one, for Kubernetes knows no unions: the first is meant where no type is said."""
    types = [kind["properties"]["type"] for kind in kinds]
    properties = {name: schema for kind in reversed(kinds) for name, schema in kind["properties"].items()}
    tag = {"type": "string", "enum": [variant["enum"][0] for variant in types], "default": types[0]["enum"][0]}
    return {"type": "object", "properties": {**properties, "type": {**types[0], **tag}}}


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
