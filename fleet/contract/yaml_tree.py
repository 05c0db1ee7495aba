"""YAML as people write it for Kubernetes: one document of texts, numbers, booleans, lists and objects; its lines."""

from __future__ import annotations

import math
import re
from typing import Any, cast

import yaml

from fleet.contract.tree import Object, Path

_SHOWN = 80
"""Characters of a value that is refused."""
MAX_NODES = 100_000
"""Values of a document once each alias is replaced by what it stands for."""
_MERGE = "tag:yaml.org,2002:merge"
_DATE = "tag:yaml.org,2002:timestamp"
_TEXT = "tag:yaml.org,2002:str"
_NUMBERS = frozenset({"tag:yaml.org,2002:int", "tag:yaml.org,2002:float"})
_SIXTIES = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""Numbers to the base of sixty of YAML 1.1, as `1000:33`: neither Kubernetes nor Compose takes them for numbers."""


class NotYaml(Exception):  # noqa: N818 - never leaves the contract
    """What is wrong with a document, in words."""


class _Loader(yaml.SafeLoader):
    """A date is a text, and so is what has colons, as Kubernetes has them."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML declares it so
        first: [(tag, pattern) for tag, pattern in known if tag != _DATE]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:  # noqa: ANN401 - as PyYAML has it
        """The tag of a value that has none."""
        tag = cast("str", super().resolve(kind, value, implicit))
        return _TEXT if tag in _NUMBERS and isinstance(value, str) and _SIXTIES.fullmatch(value) else tag


def read_yaml(text: str, depth: int, *, as_written: bool = False) -> object:
    """The only document in `text`.

    With `as_written`, a boolean in other words (`yes`, `NO`) and a number in another form (`0777`, `1.10`) are texts.

    Raises:
        NotYaml: there is none or more than one, it does not parse, or it is larger or deeper than is sensible.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        return None if node is None else _Tree(loader, as_written).plain(node, depth)
    except yaml.MarkedYAMLError as error:
        if error.context == "expected a single document in the stream":
            raise NotYaml("it holds several documents, and one is taken") from error
        line = f" (line {error.problem_mark.line + 1})" if error.problem_mark else ""
        raise NotYaml(f"{error.problem or error.context}{line}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise NotYaml(str(error)) from error


class Lines:
    """Where things stand in a text. It is parsed once, however many places are asked for."""

    def __init__(self, text: str) -> None:
        """Parse it; a text that is no YAML has no lines."""
        try:
            self._top: Any = _Loader(text).get_single_node()
        except (yaml.YAMLError, ValueError, RecursionError):
            self._top = None
        self._below: dict[int, dict[str | int, tuple[int, Any]]] = {}

    def of(self, path: Path) -> int:
        """The line, from 1, of what is at `path`, or of the last part of it that is there; 0 for none."""
        line, node = 0, self._top
        for part in path:
            child = self._children(node).get(part)
            if child is None:
                break
            line, node = child
        return line

    def _children(self, node: Any) -> dict[str | int, tuple[int, Any]]:  # noqa: ANN401 - PyYAML's nodes have no types
        if (known := self._below.get(id(node))) is not None:
            return known
        children: dict[str | int, tuple[int, Any]] = {}
        if isinstance(node, yaml.SequenceNode):
            children = {number: (child.start_mark.line + 1, child) for number, child in enumerate(node.value)}
        elif isinstance(node, yaml.MappingNode):
            # The last one, for that is the one too many where a name stands twice.
            children = {
                key.value: (key.start_mark.line + 1, value)
                for key, value in node.value
                if isinstance(key, yaml.ScalarNode)
            }
        self._below[id(node)] = children
        return children


class _Tree:
    """Plain values of a document's nodes."""

    def __init__(self, loader: _Loader, as_written: bool) -> None:
        self._loader, self._as_written, self._left = loader, as_written, MAX_NODES

    def plain(self, node: Any, depth: int) -> object:  # noqa: ANN401 - PyYAML's nodes have no types
        self._left -= 1
        if self._left < 0:
            raise NotYaml(f"it has more than {MAX_NODES} values, once each alias stands for its own")
        if depth < 0:
            raise NotYaml(f"it is nested too deep (line {node.start_mark.line + 1})")
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(child, depth - 1) for child in node.value]
        if isinstance(node, yaml.MappingNode):
            return self._object(node, depth)
        return self._scalar(node)

    def _object(self, node: Any, depth: int) -> Object:  # noqa: ANN401
        pairs: list[tuple[str, Any]] = []
        merged: list[tuple[str, Any]] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                merged += self._merged(value, depth)
            else:
                pairs.append((self._name(key), self.plain(value, depth - 1)))
        own = {name for name, _ in pairs}
        return Object.of([*pairs, *((name, value) for name, value in dict(merged).items() if name not in own)])

    def _merged(self, node: Any, depth: int) -> list[tuple[str, Any]]:  # noqa: ANN401
        merged = self.plain(node, depth - 1)
        # The first of several wins (YAML's merge key).
        several = reversed(cast("list[object]", merged)) if isinstance(merged, list) else [merged]
        pairs: list[tuple[str, Any]] = []
        for key in several:
            if not isinstance(key, Object):
                raise NotYaml(f"what << names is no object (line {node.start_mark.line + 1})")
            pairs += key.items()
        return pairs

    def _name(self, key: Any) -> str:  # noqa: ANN401
        if not isinstance(key, yaml.ScalarNode) or not isinstance(name := self._scalar(key), str):
            raise NotYaml(f"a name is a text: put it in quotes (line {key.start_mark.line + 1})")
        return name

    def _scalar(self, node: Any) -> object:  # noqa: ANN401
        try:
            value = cast("object", self._loader.construct_object(node))
        except (ValueError, KeyError, AttributeError) as error:  # as PyYAML has it
            kind = node.tag.rpartition(":")[2]
            raise NotYaml(f"{node.value[:_SHOWN]} is no {kind} (line {node.start_mark.line + 1})") from error
        if self._as_written and node.style is None and _in_another_form(value, node.value):
            return node.value
        if isinstance(value, float) and not math.isfinite(value):
            raise NotYaml(f"{node.value} is no finite number (line {node.start_mark.line + 1})")
        if not isinstance(value, str | int | float | bool | None):
            raise NotYaml(f"{node.tag} is not taken (line {node.start_mark.line + 1})")
        return value


def _in_another_form(value: object, written: str) -> bool:
    """Whether a boolean or a number is not written as it would be shown."""
    if isinstance(value, bool):
        return written.lower() != str(value).lower()
    return isinstance(value, int | float) and written != str(value)
