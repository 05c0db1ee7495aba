"""The definitions are structural, and say what the models say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from fleet.contract.crd import deployment_crd, device_crd
from fleet.contract.descriptions import FIELDS
from fleet.contract.objects import (
    API_VERSION,
    GROUP,
    VERSION,
    DeploymentSpec,
    DeploymentStatus,
    Device,
    DeviceSpec,
    DeviceStatus,
    FleetDeployment,
)
from fleet.contract.selector import VALUES_RULE

Json = dict[str, Any]
CRDS = {"Device": device_crd(), "FleetDeployment": deployment_crd()}
MODELS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    "Device": (DeviceSpec, DeviceStatus),
    "FleetDeployment": (DeploymentSpec, DeploymentStatus),
}


def schema_of(crd: Json) -> Json:
    (version,) = crd["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def nodes(schema: Json, path: str = "$") -> Iterator[tuple[str, Json]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}[{key}]")


@pytest.mark.parametrize("kind", CRDS)
def test_the_frame(kind: str) -> None:
    crd = CRDS[kind]
    names = crd["spec"]["names"]
    assert crd["metadata"]["name"] == f"{names['plural']}.{GROUP}"
    assert (names["kind"], names["singular"], crd["spec"]["scope"]) == (kind, kind.lower(), "Namespaced")
    (version,) = crd["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == (VERSION, True, True)
    assert version["subresources"] == {"status": {}}
    assert f"{GROUP}/{VERSION}" == API_VERSION


@pytest.mark.parametrize("kind", CRDS)
def test_every_node_is_structural(kind: str) -> None:
    """Kubernetes refuses references, unions and nodes without a type."""
    allowed = {
        *("type", "properties", "required", "items", "additionalProperties", "enum", "nullable", "pattern"),
        *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "minItems"),
        *("maxItems", "minProperties", "maxProperties", "format", "default", "x-kubernetes-validations"),
        *("description", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
    }
    for path, node in nodes(schema_of(CRDS[kind])):
        assert isinstance(node.get("type"), str), path
        assert set(node) <= allowed, f"{path}: {set(node) - allowed}"
        assert set(node.get("required", [])) <= set(node.get("properties", {})), path


@pytest.mark.parametrize("kind", CRDS)
def test_an_object_that_may_be_left_out_has_a_default(kind: str) -> None:
    """Server-side apply leaves null where an object's last field was taken away, and only a default replaces that."""
    for path, node in nodes(schema_of(CRDS[kind])["properties"]["spec"]):
        for name, child in node.get("properties", {}).items():
            if child["type"] == "object" and name not in node.get("required", []) and not child.get("nullable"):
                assert child["default"] == {}, f"{path}.{name}"


@pytest.mark.parametrize("kind", CRDS)
def test_the_schema_has_the_models_fields(kind: str) -> None:
    schema = schema_of(CRDS[kind])
    assert schema["required"] == ["spec"]
    for part, model in zip(("spec", "status"), MODELS[kind], strict=True):
        fields = {field.encode_name for field in msgspec.structs.fields(model)}
        assert set(schema["properties"][part]["properties"]) == fields


@pytest.mark.parametrize("kind", CRDS)
def test_columns_point_into_the_schema(kind: str) -> None:
    """A column whose path is wrong shows nothing, for ever."""
    schema = schema_of(CRDS[kind])
    (version,) = CRDS[kind]["spec"]["versions"]
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].removeprefix(".")
        if path.startswith("metadata."):
            continue
        node = schema
        for step in path.split("[?")[0].split("."):
            assert step in node["properties"], f"{column['name']}: {column['jsonPath']}"
            node = node["properties"][step]
        if "[?" in path:
            assert path.rsplit(".", 1)[1] in node["items"]["properties"]


def test_the_name_rule_is_the_device_ids_grammar() -> None:
    for crd in CRDS.values():
        (rule,) = schema_of(crd)["x-kubernetes-validations"]
        assert "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$" in rule["rule"]
        assert "RFC 1123" in rule["message"]


def test_only_an_enrollment_moves_a_subject() -> None:
    (rule,) = schema_of(CRDS["Device"])["properties"]["spec"]["x-kubernetes-validations"]
    assert "oldSelf.subject" in rule["rule"]
    assert "fleet device enroll --replace" in rule["message"]


def test_a_device_keeps_one_version_at_least_or_all() -> None:
    kept = schema_of(CRDS["Device"])["properties"]["spec"]["properties"]["agentVersionsKept"]
    limits = {name: value for name, value in kept.items() if name != "description"}
    assert limits == {"type": "integer", "minimum": 1, "maximum": 1000, "nullable": True}
    with pytest.raises(msgspec.ValidationError, match="agentVersionsKept"):
        msgspec.convert({"metadata": {"name": "pi-1"}, "spec": {"agentVersionsKept": 0}}, Device)


def test_the_least_objects_are_valid() -> None:
    device = msgspec.convert({"metadata": {"name": "pi-1"}}, Device)
    assert (device.id, device.spec.revoked) == ("pi-1", False)
    deployment = {"metadata": {"name": "web"}, "spec": {"workload": {"type": "container", "image": "web:1"}}}
    assert msgspec.convert(deployment, FleetDeployment).spec.strategy.max_unavailable == 1


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_says_what_it_is(kind: str) -> None:
    """`kubectl explain` shows it; a field of a type that no object has any more says nothing to anybody."""
    for path, node in nodes(schema_of(CRDS[kind])):
        if not path.endswith("]") and path != "$.metadata":
            assert node.get("description", "").endswith("."), path


def test_no_description_is_left_over() -> None:
    told = {text for crd in CRDS.values() for _, node in nodes(schema_of(crd)) if (text := node.get("description"))}
    assert {text for fields in FIELDS.values() for text in fields.values()} <= told


def test_a_selector_needs_values_where_it_looks_at_them() -> None:
    """Kubernetes refuses by the rule what the model refuses (`tests/cli/test_definitions.py`)."""
    spec = schema_of(CRDS["FleetDeployment"])["properties"]["spec"]["properties"]
    items = spec["selector"]["properties"]["matchExpressions"]["items"]
    assert items["x-kubernetes-validations"] == [VALUES_RULE]
    assert items["properties"]["operator"]["enum"] == ["DoesNotExist", "Exists", "In", "NotIn"]
