"""The bounds of every number, text and collection that crosses a border: one place, for the wire and for Kubernetes.

The CustomResourceDefinitions are generated from the same types, so both refuse the same. What a person writes beyond a
bound is refused. A text that a device reports beyond its bound is cut by its reader (`fit`), so that the rest of
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
_WHOLE = "whole"
Id = Annotated[str, msgspec.Meta(max_length=128, extra={_WHOLE: True})]
"""An id that a machine made: a boot, an instance, a container. It is never cut: two that differ must not become one."""
Word = Annotated[str, msgspec.Meta(max_length=128)]
"""A short text of one thing: an architecture, an operating system, a kernel, an engine."""
Message = Annotated[str, msgspec.Meta(max_length=1024)]
"""A sentence for a person."""

ChangeId = Annotated[str, msgspec.Meta(max_length=32, pattern=r"^[0-9a-f]{0,32}\Z")]
"""The id of one command of an admin, in every log that its change passes; empty where another tool made the change."""
GivenChangeId = Annotated[str, msgspec.Meta(max_length=32, pattern=r"^[0-9a-f]{1,32}\Z")]
"""One that is never empty."""

OneDay = 86_400.0
"""Seconds."""
Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**50)]
"""A size."""
Identifier = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 2)]
"""A number of a user or a group; the kernel's -1 is none."""
MAX_CONTENT = 65_536
"""Characters of one file of a workload; a device is sent half a megabyte at most."""
MAX_GRACE = 600
"""Seconds that a container may take to end."""
MAX_POD_CONTAINERS = 16
"""Containers of a pod, and as many init containers: Kubernetes bounds what the rules of one definition may cost."""
Interval = Annotated[float, msgspec.Meta(gt=0, le=OneDay)]
"""Seconds between two heartbeats, as an agent says; how long the operator believes it is the operator's decision."""

MAX_DIGESTS = 4
"""Digests by which the registries know one image: two from podman, and as many from a mirror."""
ImageIds = Annotated[tuple[Id, ...], msgspec.Meta(max_length=MAX_DIGESTS)]

MAX_IMAGES = 10
"""Images of one deployment that its status tells apart; with one tag there is one, and a few while the tag moves."""
MAX_WORKLOADS_SHOWN = 50
"""Deployments of a device that its status shows, those in trouble first."""
MAX_VOLUMES_SHOWN = 32
"""Volumes of a device that it tells of, the largest first: with the longest names they take two thirds of its info."""
MAX_VOLUME_ORDERS = 8
"""Orders to remove a volume that a device has at once, and outcomes of the last ones that it tells of."""

MAX_TRUSTED = 32
"""Certificates that a device names as those that it trusts: the server's own come first."""
CertificateIds = Annotated[tuple[Id, ...], msgspec.Meta(max_length=MAX_TRUSTED)]
MAX_BUNDLE = 256 * 1024
"""Characters of a trust bundle."""
MAX_PUBLIC_KEY = 1024
"""Characters of the public half of a machine key (PEM); one of 4,096 bits has 800."""

IndexKey = Annotated[str, msgspec.Meta(max_length=253)]
"""A deployment's name in an index, not parsed yet: one that cannot be a name is skipped, and the others count."""
MAX_DEPLOYMENTS = 500
"""Deployments of one device."""
MAX_DESIRED = 512 * 1024
"""Bytes of a desired deployment: half of what nats-server takes in a message by default."""
MAX_REPORT = 64 * 1024
"""Bytes of a value that a device writes: its info, a state, a heartbeat, a lease."""

MESSAGE_RATE = 100
"""Messages a second that a device may write; decision 032 says what becomes of one that floods."""
MESSAGE_BURST = 2_000
"""Messages that it may write at once: four times what an agent of `MAX_DEPLOYMENTS` says when it comes back."""
BYTE_RATE = 256 * 1024
"""Bytes a second that a device may write, with subjects and headers."""
BYTE_BURST = 8 * 1024 * 1024
"""Bytes that it may write at once."""
TAKEN_RATE = 1024 * 1024
"""Bytes a second that NATS sends a device: twice what reading `MAX_DEPLOYMENTS` of the largest once a minute takes."""
TAKEN_BURST = 192 * 1024 * 1024
"""Bytes that it may have at once: the largest agent three times, for a download that breaks off begins again."""
SESSION_RATE = 0.5
"""Sessions a second that a device may begin; an agent waits longer before it comes back again and again."""
SESSION_BURST = 120
"""Sessions that it may begin at once."""


def fit(value: object, kind: type[Any]) -> object:
    """A JSON value with every text that a field of `kind` bounds cut to its bound, except ids.

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
        kind = next(variant for variant in kind.types if not isinstance(variant, msgspec.inspect.NoneType))
    if isinstance(kind, msgspec.inspect.Metadata):
        if kind.extra and kind.extra.get(_WHOLE):
            return value
        kind = kind.type
    if isinstance(value, str):
        longest = kind.max_length if isinstance(kind, msgspec.inspect.StrType) else None
        return value if longest is None or len(value) <= longest else value[: longest - len(_CUT)] + _CUT
    if isinstance(value, dict) and isinstance(kind, msgspec.inspect.StructType):
        known = {field.encode_name: field.type for field in kind.fields}
        pairs = cast("dict[str, object]", value).items()
        return {name: _cut(inner, known[name]) if name in known else inner for name, inner in pairs}
    if isinstance(value, dict) and isinstance(kind, msgspec.inspect.DictType):
        return {name: _cut(inner, kind.value_type) for name, inner in cast("dict[str, object]", value).items()}
    if isinstance(value, list) and isinstance(kind, msgspec.inspect.VarTupleType):
        return [_cut(item, kind.item_type) for item in cast("list[object]", value)]
    return cast("object", value)
