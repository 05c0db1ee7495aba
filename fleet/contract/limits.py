"""The bounds of every number, text and collection that crosses a border: one place, for the wire and for Kubernetes.

The CustomResourceDefinitions are generated from the same types, so both refuse the same. What a person writes beyond a
bound is refused. A text that a device reports beyond its bound is cut by whoever reads it (`fit`), so that the rest of
the report still counts; a number beyond its bound makes the value one that does not parse. Decision 031 says why.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, cast

import msgspec

LARGEST = 2**53 - 1
"""The largest integer that every JSON reader keeps exactly (RFC 8259, section 6)."""
_LATEST = 1e11
"""Unix seconds, in the year 5138."""
_CUT = "..."

Count = Annotated[int, msgspec.Meta(ge=0, le=LARGEST)]
"""A number of things or of bytes, a generation, a sequence."""
UnixTime = Annotated[float, msgspec.Meta(ge=0, le=_LATEST)]
Id = Annotated[str, msgspec.Meta(max_length=128)]
"""An id that a machine made: a boot, an instance, a container."""
Word = Annotated[str, msgspec.Meta(max_length=128)]
"""A short text of one thing: an architecture, an operating system, a kernel, an engine."""
Message = Annotated[str, msgspec.Meta(max_length=1024)]
"""A sentence for a person."""

OneDay = 86_400.0
"""Seconds."""
Interval = Annotated[float, msgspec.Meta(gt=0, le=OneDay)]
"""Seconds between two heartbeats, as an agent says; how long the operator believes it is the operator's decision."""

IndexKey = Annotated[str, msgspec.Meta(max_length=253)]
"""A deployment's name in an index, not parsed yet: one that cannot be a name is skipped, and the others count."""
MAX_DEPLOYMENTS = 500
"""Deployments of one device."""
MAX_REPORT = 64 * 1024
"""Bytes of a value that a device writes: its info, a state, a heartbeat, a lease."""


def fit(value: object, kind: type[Any]) -> object:
    """A JSON value with every text that a field of `kind` bounds cut to its bound.

    Args:
        value: What a JSON reader made of it.
        kind: The msgspec type that it is read as afterwards.
    """
    return _cut(value, _type_of(kind))


@cache
def _type_of(kind: type[Any]) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(kind)


def _cut(value: object, kind: msgspec.inspect.Type) -> object:
    if isinstance(kind, msgspec.inspect.UnionType):
        kind = next(one for one in kind.types if not isinstance(one, msgspec.inspect.NoneType))
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if isinstance(value, str):
        longest = kind.max_length if isinstance(kind, msgspec.inspect.StrType) else None
        return value if longest is None or len(value) <= longest else value[: longest - len(_CUT)] + _CUT
    if isinstance(value, dict) and isinstance(kind, msgspec.inspect.StructType):
        known = {field.encode_name: field.type for field in kind.fields}
        pairs = cast("dict[str, object]", value).items()
        return {name: _cut(one, known[name]) if name in known else one for name, one in pairs}
    if isinstance(value, dict) and isinstance(kind, msgspec.inspect.DictType):
        return {name: _cut(one, kind.value_type) for name, one in cast("dict[str, object]", value).items()}
    if isinstance(value, list) and isinstance(kind, msgspec.inspect.VarTupleType):
        return [_cut(one, kind.item_type) for one in cast("list[object]", value)]
    return cast("object", value)
