"""Everything on the wire has limits, and the CRD has the same ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import msgspec
import pytest
from msgspec import inspect

from fleet.contract.buckets import APP_BUCKETS, DESIRED_INDEX, IDENTITIES
from fleet.contract.crd import structural_schema
from fleet.contract.names import Name
from fleet.contract.objects import DeploymentSpec, DeploymentStatus, DeviceSpec, DeviceStatus
from fleet.contract.upgrade import Manifest, SignedManifest, TrustedKeys

BUCKETS = (*APP_BUCKETS, DESIRED_INDEX, IDENTITIES)
WIRE: list[type[msgspec.Struct]] = [*(bucket.kind for bucket in BUCKETS), Manifest, SignedManifest, TrustedKeys]
WRITTEN: list[type[msgspec.Struct]] = [DeviceSpec, DeviceStatus, DeploymentSpec, DeploymentStatus]
Limits = dict[str, Any]


def limits(node: inspect.Type) -> Limits:
    """A type's own limits, in the words of JSON Schema."""
    match node:
        case inspect.Metadata():
            told = cast("Limits", node.extra_json_schema or {})
            found = {name: one for name, one in told.items() if name != "x-kubernetes-validations"}
            return limits(node.type) | ({"pattern": found["pattern"].replace(r"\Z", "$")} if found else {})
        case inspect.IntType() | inspect.FloatType():
            names = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
            return {told: getattr(node, name) for name, told in names.items() if getattr(node, name) is not None}
        case inspect.StrType():
            names = {"min_length": "minLength", "max_length": "maxLength", "pattern": "pattern"}
            found = {told: getattr(node, name) for name, told in names.items() if getattr(node, name) is not None}
            return found | ({"pattern": node.pattern.replace(r"\Z", "$")} if node.pattern else {})
        case inspect.VarTupleType() | inspect.DictType():
            what = "Items" if isinstance(node, inspect.VarTupleType) else "Properties"
            found = {f"min{what}": node.min_length, f"max{what}": node.max_length}
            return {name: most for name, most in found.items() if most is not None}
        case inspect.CustomType():
            name = cast("type[Name]", node.cls)
            return {"maxLength": name.longest, "pattern": f"^({name.grammar.pattern})$"}
        case _:
            return {}


def parts(node: inspect.Type, path: str) -> Iterator[tuple[str, inspect.Type]]:
    yield path, node
    if isinstance(node, inspect.Metadata):
        node = node.type
    match node:
        case inspect.StructType():
            for field in node.fields:
                yield from parts(field.type, f"{path}.{field.encode_name}")
        case inspect.UnionType():
            for one in node.types:
                if not isinstance(one, inspect.NoneType):
                    yield from parts(one, path)
        case inspect.VarTupleType():
            yield from parts(node.item_type, f"{path}[]")
        case inspect.DictType():
            yield from parts(node.key_type, f"{path}<key>")
            yield from parts(node.value_type, f"{path}[]")
        case _:
            pass


def of_schema(node: dict[str, Any], path: str) -> Iterator[tuple[str, Limits]]:
    words = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern")
    counts = ("minItems", "maxItems", "minProperties", "maxProperties")
    yield path, {word: node[word] for word in (*words, *counts) if word in node}
    for name, child in node.get("properties", {}).items():
        yield from of_schema(child, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(node.get(word), dict):
            yield from of_schema(node[word], f"{path}[]")


@pytest.mark.parametrize("kind", [*WIRE, *WRITTEN], ids=lambda kind: kind.__name__)
def test_every_value_has_limits(kind: type[msgspec.Struct]) -> None:
    for path, node in parts(inspect.type_info(kind), kind.__name__):
        found = limits(node)
        match node.type if isinstance(node, inspect.Metadata) else node:
            case inspect.IntType() | inspect.FloatType():
                assert "maximum" in found, path
                assert found.get("minimum", found.get("exclusiveMinimum")) is not None, path
            case inspect.StrType():
                assert "maxLength" in found, path
            case inspect.VarTupleType():
                assert "maxItems" in found, path
            case inspect.DictType():
                assert "maxProperties" in found, path
            case _:
                pass


@pytest.mark.parametrize("kind", WRITTEN, ids=lambda kind: kind.__name__)
def test_the_definitions_have_the_limits_of_the_models(kind: type[msgspec.Struct]) -> None:
    """What Kubernetes refuses, the models refuse, and the other way round: a status could else never be written."""
    told = dict(of_schema(structural_schema(kind), kind.__name__))
    for path, node in parts(inspect.type_info(kind), kind.__name__):
        if not path.endswith("<key>") and not isinstance(node, inspect.UnionType):
            assert told[path] == limits(node), path
