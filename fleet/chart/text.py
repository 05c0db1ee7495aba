"""A woven tree as the text of a Helm template: YAML in blocks, with conditions on lines of their own."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from collections.abc import Mapping as Names

from fleet.chart.weave import Either, Expression, Listing, Mapping, Member, Node, Scalar

_MARKS = re.compile(r"⟦([a-z.]+)⟧")
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_RESERVED = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}
"""Words that some reader of YAML takes for something else than text."""


def mark(name: str) -> str:
    """What stands in a rendering where a value will be: a word that no object holds otherwise."""
    return f"⟦{name}⟧"


class Writer:
    """Writes trees; `values` says which template expression each mark stands for."""

    def __init__(self, values: Names[str, str], numbers: Names[int, str]) -> None:
        """Keep the expressions; `numbers` are those of marks that are numbers."""
        self._values = values
        self._numbers = numbers

    def documents(self, objects: Mapping) -> str:
        """Objects as documents; each member is one."""
        lines: list[str] = []
        for member in objects.members:
            lines += _under(_condition(member), ["---", *self._block(member.node, 0)], 0)
        return "".join(f"{line}\n" for line in lines)

    def _block(self, node: Node, depth: int) -> Iterator[str]:
        """The lines of a mapping or a list, each with its indentation."""
        members = node.members if isinstance(node, Mapping | Listing) else ()
        for condition, group in itertools.groupby(members, _condition):
            lines = [line for member in group for line in self._member(member.key, member.node, depth)]
            yield from _under(condition, lines, depth)

    def _member(self, key: str, node: Node, depth: int) -> Iterator[str]:
        indent = "  " * depth
        if isinstance(node, Either) and not (_is_scalar(node.on) and _is_scalar(node.off)):
            yield f"{indent}{{{{- if {node.choice.condition} }}}}"
            yield from self._member(key, node.on, depth)
            yield f"{indent}{{{{- else }}}}"
            yield from self._member(key, node.off, depth)
            yield f"{indent}{{{{- end }}}}"
        elif isinstance(node, Mapping | Listing) and node.members:
            lines = list(self._block(node, depth + 1))
            if key:
                yield f"{indent}{self._scalar(key)}:"
                yield from lines
            elif lines[0].lstrip().startswith("{{"):
                yield f"{indent}-"
                yield from lines
            else:  # the first line of a list's element stands beside its dash
                yield f"{indent}- {lines[0].lstrip()}"
                yield from lines[1:]
        else:
            yield f"{indent}{f'{self._scalar(key)}:' if key else '-'} {self._inline(node)}"

    def _inline(self, node: Node) -> str:
        match node:
            case Mapping():
                return "{}"
            case Listing():
                return "[]"
            case Expression(text):
                return f"{{{{ {text} }}}}"
            case Either(choice, on, off):
                return (
                    f"{{{{ if {choice.condition} }}}}{self._inline(on)}{{{{ else }}}}{self._inline(off)}{{{{ end }}}}"
                )
            case _:
                return self._scalar(node)

    def _scalar(self, value: Scalar) -> str:
        if isinstance(value, int) and value in self._numbers:
            return f"{{{{ {self._numbers[value]} }}}}"
        if not isinstance(value, str):
            return json.dumps(value)
        if whole := _MARKS.fullmatch(value):
            return f"{{{{ {self._values[whole[1]]} }}}}"
        if _MARKS.search(value):
            return json.dumps(
                _MARKS.sub(lambda found: f"{{{{ {self._values[found[1]]} }}}}", value), ensure_ascii=False
            )
        if _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
            return value
        # What looks like a template is meant as it stands.
        return json.dumps(value, ensure_ascii=False).replace("{{", '{{ "{{" }}')


def _condition(member: Member) -> str:
    """When it is there; empty for always."""
    if member.only is None:
        return ""
    return f"not ({member.only.condition})" if member.negated else member.only.condition


def _under(condition: str, lines: list[str], depth: int) -> list[str]:
    indent = "  " * depth
    return [f"{indent}{{{{- if {condition} }}}}", *lines, f"{indent}{{{{- end }}}}"] if condition else lines


def _is_scalar(node: Node) -> bool:
    return not isinstance(node, Mapping | Listing | Either)
