"""What a person writes, in JSON or YAML: nothing in it is ignored, and a refusal says where, and what is near.

Values that programs exchange are read by `fleet.contract.wire`, which passes over what a newer version has added.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.grammar import validation_words
from fleet.contract.tree import Object, Path
from fleet.contract.wire import from_builtins

if TYPE_CHECKING:
    from fleet.contract.yaml_tree import Lines

MAX_FILE = 2**20
"""Bytes; etcd takes no object that is much larger."""
MAX_DEPTH = 32
"""Of objects and lists in one another."""
_SHOWN = 80
"""Characters of a name that is refused."""
_PLACE = re.compile(r" - at (?:`key` in )?`\$(?P<path>[^`]*)`")

_UNQUOTED = re.compile(r"Expected a text, got (a whole number|a decimal number|true or false)\Z")
_INDEX = re.compile(r"\[\d+\]\Z")

T = TypeVar("T", bound=msgspec.Struct)
_SEQUENCES = msgspec.inspect.VarTupleType | msgspec.inspect.ListType | msgspec.inspect.SetType


class Fault(NamedTuple):
    """One thing that is wrong, and where."""

    path: Path
    says: str


class Written:
    """A file of one document, read but not judged."""

    def __init__(self, data: bytes, file: str, *, next_step: str, as_written: bool = False) -> None:
        """Read it.

        Args:
            data: Its content.
            file: Its name, for messages; one that ends in `.json` is no YAML.
            next_step: What to do where it is refused.
            as_written: See `read_yaml`.

        Raises:
            InvalidInput: it is too large, or is no document in JSON or YAML.
        """
        self._file, self._next, self._as_written = file, next_step, as_written
        self._lines: Lines | None = None
        if len(data) > MAX_FILE:
            raise self.refusal([Fault((), f"it has more than {MAX_FILE} bytes")])
        try:
            self._text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise self.refusal([Fault((), f"it is not UTF-8, from byte {error.start + 1} on")]) from error
        self.value = self._read()

    def _read(self) -> object:
        try:
            return json.loads(self._text, object_pairs_hook=Object.of, parse_constant=_no_number)
        except json.JSONDecodeError as error:
            if self._file.endswith(".json"):
                says = f"it is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
                raise self.refusal([Fault((), says)]) from error
        except RecursionError as error:
            raise self.refusal([Fault((), f"it is nested more than {MAX_DEPTH} deep")]) from error
        except ValueError as error:
            raise self.refusal([Fault((), f"it is not JSON: {validation_words(error)}")]) from error
        from fleet.contract.yaml_tree import NotYaml, read_yaml  # noqa: PLC0415 - JSON is YAML too, without its 10 ms

        try:
            return read_yaml(self._text, MAX_DEPTH, as_written=self._as_written)
        except NotYaml as error:
            raise self.refusal([Fault((), f"it is not YAML: {error}")]) from error

    def check(self, kind: type[Any]) -> None:
        """Refuse what a reader of `kind` would pass over.

        Raises:
            InvalidInput: a name is unknown, or stands twice; the message has all of them.
        """
        if faults := list(_faults(self.value, _shape(kind), (), _names(kind))):
            raise self.refusal(faults)

    def as_kind(self, kind: type[T]) -> T:
        """The document, typed.

        Raises:
            InvalidInput: see `check`; or a value is not of its type, or out of its bounds.
        """
        self.check(kind)
        _say_type(self.value)

        def says(value: object) -> str:
            try:
                from_builtins(value, kind)
            except InvalidInput as error:
                return error.what
            return ""

        try:
            return from_builtins(self.value, kind)
        except InvalidInput as error:
            raise self.refusal([_located(error.what, self.value, says)]) from error

    def problem(self, convert: Callable[[object], object]) -> str:
        """What is wrong with the document's values, with the line; empty for nothing.

        `convert` raises msgspec's `ValidationError` for a value that it does not take.
        """

        def says(value: object) -> str:
            try:
                convert(value)
            except msgspec.ValidationError as error:
                return f"its values: {validation_words(error)}"
            return ""

        what = says(self.value)
        return self._with_line(_located(what, self.value, says)) if what else ""

    def refusal(self, faults: Sequence[Fault]) -> InvalidInput:
        """One error of several faults."""
        first, *others = [self._with_line(fault) for fault in faults]
        return InvalidInput(f"{self._file}: {first}", next_step=self._next, more=others)

    def _with_line(self, fault: Fault) -> str:
        line = self._line(fault.path) if fault.path else 0
        return f"line {line}: {fault.says}" if line else fault.says

    def _line(self, path: Path) -> int:
        """Where the value at `path` begins, from 1; 0 where that cannot be told, as without a YAML library."""
        if self._lines is None:
            try:
                from fleet.contract.yaml_tree import Lines  # noqa: PLC0415
            except ModuleNotFoundError:  # on a device
                return 0
            self._lines = Lines(self._text)
        return self._lines.of(path)


def _say_type(value: object) -> None:
    """A workload without a type is a container, as Kubernetes has it (`fleet.contract.crd`)."""
    spec = cast("dict[str, object]", value).get("spec") if isinstance(value, dict) else None
    workload = cast("dict[str, object]", spec).get("workload") if isinstance(spec, dict) else None
    if isinstance(workload, dict):
        cast("dict[str, object]", workload).setdefault("type", "container")


def parse_written(data: bytes, kind: type[T], file: str, *, next_step: str) -> T:
    """Parse a file that a person wrote.

    Raises:
        InvalidInput: see `Written`; the message names the file.
    """
    return Written(data, file, next_step=next_step).as_kind(kind)


def nearest(name: str, known: Sequence[str], *, alike: float = 0.6) -> str | None:
    """The known name that was probably meant; `alike` is how much of it, of 1, must be the same (`difflib`)."""
    from difflib import get_close_matches  # noqa: PLC0415 - only for those who err

    lower = {one.lower(): one for one in known}
    matches = get_close_matches(name.lower(), lower, n=1, cutoff=alike)
    return lower[matches[0]] if matches else None


def dotted(path: Path) -> str:
    """A path as people write it: `spec.workload.ports[0].host`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN]}" for part in path)
    return text.removeprefix(".")


def _no_number(word: str) -> object:
    raise ValueError(f"{word} is no finite number")


def _located(what: str, value: object, says: Callable[[object], str]) -> Fault:
    """What msgspec says, with its place as ours: `$.spec.workload.ports[0]`, and `[...]` for some name in a map.

    `says` is what it says of another value, by which the name is found.
    """
    match = _PLACE.search(what)
    if match is None:
        return Fault((), what)
    path: Path = ()
    for word in re.findall(r"[^.\[\]]+|\[\d+\]|\[\.{3}\]", match["path"]):
        part = _culprit(value, path, lambda one: says(one) == what) if word == "[...]" else word
        if part is None:
            break
        path = (*path, int(part[1:-1]) if _INDEX.match(part) and word != "[...]" else part)
    says_it = _PLACE.sub("", what).partition(": ")[2] or what
    quoted = ": put it in quotes" if _UNQUOTED.search(says_it) else ""
    return Fault(path, f"{dotted(path) or 'the document'}: {says_it}{quoted}")


def _culprit(value: object, path: Path, is_refused: Callable[[object], bool]) -> str | None:
    """The name in the map at `path` that the document is refused for: it is refused with that name alone, too."""
    inside: Any = value
    for part in path:
        inside = inside[part]
    return next((name for name in inside if is_refused(_with(value, path, {name: inside[name]}))), None)


def _with(value: Any, path: Path, inner: object) -> object:  # noqa: ANN401 - of whatever type it is written
    """A copy of a document with another value at `path`."""
    if not path:
        return inner
    copied = value.copy()
    copied[path[0]] = _with(value[path[0]], path[1:], inner)
    return copied


def _faults(value: object, kind: msgspec.inspect.Type, path: Path, elsewhere: tuple[Path, ...]) -> Iterator[Fault]:
    kind = _chosen(value, kind)
    if len(path) > MAX_DEPTH:
        yield Fault(path[:MAX_DEPTH], f"it is nested more than {MAX_DEPTH} deep")
    elif isinstance(value, Object):
        yield from (Fault((*path, name), f"{dotted((*path, name))} stands there twice") for name in value.repeated)
        yield from _members(value, kind, path, elsewhere)
    elif isinstance(value, list):
        inner = kind.item_type if isinstance(kind, _SEQUENCES) else msgspec.inspect.AnyType()
        for number, item in enumerate(cast("list[object]", value)):
            yield from _faults(item, inner, (*path, number), elsewhere)


def _members(value: Object, kind: msgspec.inspect.Type, path: Path, elsewhere: tuple[Path, ...]) -> Iterator[Fault]:
    inner: msgspec.inspect.Type = msgspec.inspect.AnyType()
    known: dict[str, msgspec.inspect.Type] | None = None
    if isinstance(kind, msgspec.inspect.StructType):
        known = {field.encode_name: field.type for field in kind.fields}
        if kind.tag_field:
            known[kind.tag_field] = inner
    elif isinstance(kind, msgspec.inspect.DictType):
        inner = kind.value_type
    for name, member in value.items():
        if known is not None and name not in known:
            yield Fault((*path, name), f"{dotted((*path, name))} is unknown{_meant(name, path, known, elsewhere)}")
        else:
            yield from _faults(member, known[name] if known else inner, (*path, name), elsewhere)


def _meant(name: str, path: Path, known: dict[str, Any], elsewhere: tuple[Path, ...]) -> str:
    if near := nearest(name, list(known)):
        return f"; did you mean {near}?"
    for place in elsewhere:
        if place[-1] == name:
            return f"; did you mean {dotted(place)}?"
    inside = f"in {dotted(path)}" if path else "there"
    return f"; known {inside}: {', '.join(sorted(known))}"


def _chosen(value: object, kind: msgspec.inspect.Type) -> msgspec.inspect.Type:
    """The one type of several that the value is to be read as."""
    while isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    if not isinstance(kind, msgspec.inspect.UnionType):
        return kind
    fits = [variant for variant in kind.types if not isinstance(variant, msgspec.inspect.NoneType)]
    if isinstance(value, Object):
        tagged = [variant for variant in fits if isinstance(variant, msgspec.inspect.StructType) and variant.tag_field]
        fits = [variant for variant in tagged if value.get(variant.tag_field or "") == variant.tag] or fits
    return _chosen(value, fits[0])


@cache
def _shape(kind: type[Any]) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(kind)


@cache
def _names(kind: type[Any]) -> tuple[Path, ...]:
    """The path of every field, the shallow ones first."""
    return tuple(sorted(_paths(msgspec.inspect.type_info(kind), ()), key=len))


def _paths(kind: msgspec.inspect.Type, path: Path) -> Iterator[Path]:
    kind = _chosen(None, kind)
    if isinstance(kind, msgspec.inspect.StructType) and len(path) <= MAX_DEPTH:
        for field in kind.fields:
            yield (*path, field.encode_name)
            yield from _paths(field.type, (*path, field.encode_name))
