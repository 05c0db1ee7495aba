"""Every value that a type of the wire can hold, drawn from the type itself: its bounds are favoured."""

from __future__ import annotations

import math
from functools import cache
from typing import TypeVar, cast

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from fleet.contract.names import Name

T = TypeVar("T", bound=msgspec.Struct)


def values_of(kind: type[T]) -> st.SearchStrategy[T]:
    """Any value of a struct; what its own rules refuse is left out."""
    return cast("st.SearchStrategy[T]", _any(inspect.type_info(kind)))


def _any(node: inspect.Type) -> st.SearchStrategy[object]:  # noqa: C901, PLR0911, PLR0912 - one answer for each kind of type
    match node:
        case inspect.Metadata():
            return _described(node)
        case inspect.StructType():
            return _struct(node)
        case inspect.IntType():
            return _integers(node)
        case inspect.FloatType():
            return _floats(node)
        case inspect.StrType():
            return _texts(node)
        case inspect.BytesType():
            return st.binary(max_size=50)
        case inspect.BoolType():
            return st.booleans()
        case inspect.NoneType():
            return st.none()
        case inspect.EnumType() | inspect.LiteralType():
            return st.sampled_from(list(node.cls) if isinstance(node, inspect.EnumType) else list(node.values))
        case inspect.UnionType():
            return st.one_of(*map(_any, node.types))
        case inspect.VarTupleType():
            least, most = node.min_length or 0, min(node.max_length or 3, 3)
            return st.lists(_any(node.item_type), min_size=least, max_size=max(least, most)).map(tuple)
        case inspect.RawType():
            return st.sampled_from((b"null", b"{}", b'{"generation":1}', b'["x"]')).map(msgspec.Raw)
        case inspect.DictType():
            return st.dictionaries(_any(node.key_type), _any(node.value_type), max_size=3)
        case inspect.CustomType():
            name = cast("type[Name]", node.cls)
            return st.from_regex(name.grammar, fullmatch=True).filter(lambda text: len(text) <= name.longest).map(name)
        case _:
            raise NotImplementedError(node)


def _described(node: inspect.Metadata) -> st.SearchStrategy[object]:
    schema = cast("dict[str, object]", node.extra_json_schema or {})
    if "pattern" in schema:
        return st.from_regex(str(schema["pattern"])).filter(lambda text: len(text) <= 512)
    return st.text(_CARRIED, max_size=50) if "maxLength" in schema else _any(node.type)


_CARRIED = st.characters(exclude_categories=("Cs",))
"""What JSON can carry."""


_AT_ONCE = 8
"""Fields that are set in one value."""


def _struct(node: inspect.StructType) -> st.SearchStrategy[object]:
    needed = {field.name: _any(field.type) for field in node.fields if field.required}
    others = {field.name: _any(field.type) for field in node.fields if not field.required}
    # Some at a time: all of a large one at once are mostly refused, for one rule or the other.
    chosen = (
        st.sets(st.sampled_from(sorted(others)), max_size=_AT_ONCE) if len(others) > _AT_ONCE else st.just(set(others))
    )
    fields = chosen.flatmap(lambda names: st.fixed_dictionaries({**needed, **{name: others[name] for name in names}}))

    def made(values: dict[str, object]) -> object:
        try:
            return node.cls(**values)
        except ValueError:
            return None

    return fields.map(made).filter(lambda value: value is not None)


def _integers(node: inspect.IntType) -> st.SearchStrategy[object]:
    assert node.ge is not None, node
    assert node.le is not None, node
    return st.integers(node.ge, node.le) | st.sampled_from([node.ge, node.le])


def _floats(node: inspect.FloatType) -> st.SearchStrategy[object]:
    least = node.ge if node.ge is not None else node.gt
    assert least is not None, node
    assert node.le is not None, node
    first = least if node.ge is not None else math.nextafter(least, math.inf)
    return st.floats(first, node.le) | st.sampled_from([first, node.le])


@cache
def _matching(pattern: str, longest: int) -> st.SearchStrategy[object]:
    """Short ones: what a class of characters repeats without an end is drawn three times at most."""
    return st.from_regex(pattern.replace("]*", "]{0,3}").replace("]+", "]{1,3}").replace(")*", "){0,3}")).filter(
        lambda text: len(text) <= longest
    )


def _texts(node: inspect.StrType) -> st.SearchStrategy[object]:
    assert node.max_length is not None, node
    if node.pattern is not None:
        return _matching(node.pattern, node.max_length)
    least = node.min_length or 0
    return st.text(_CARRIED, min_size=least, max_size=max(least, min(node.max_length, 50)))
