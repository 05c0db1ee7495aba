"""Kubernetes' labels and selectors: what may stand in them, and what they select.

After "Labels and Selectors" of its documentation, and `metav1.LabelSelector`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Annotated

import msgspec

from fleet.contract.errors import InvalidInput

LabelValue = Annotated[str, msgspec.Meta(max_length=63, pattern=r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")]
"""As Kubernetes has it for labels."""
LabelKey = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=317,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
        r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z",
    ),
]
"""A qualified name of Kubernetes: a DNS subdomain and `/`, if any, then up to 63 characters."""
Labels = Annotated[dict[LabelKey, LabelValue], msgspec.Meta(max_length=64)]
VALUES_RULE = {
    "rule": "(self.operator == 'In' || self.operator == 'NotIn') == (has(self.values) && self.values.size() > 0)",
    "message": "In and NotIn need values; Exists and DoesNotExist take none",
}
"""For Kubernetes; `Requirement` holds it, too."""


class Operator(Enum):
    """How a requirement looks at a label."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One thing that is required of labels. `NotIn` is also met by who has no such label."""

    key: LabelKey
    operator: Operator
    values: Annotated[tuple[LabelValue, ...], msgspec.Meta(max_length=64)] = ()

    def __post_init__(self) -> None:
        """Refuse values where none are looked at, and none where they are.

        Raises:
            ValueError: one of these.
        """
        if (self.operator in {Operator.IN, Operator.NOT_IN}) != bool(self.values):
            need = "takes no values" if self.values else "needs values"
            raise ValueError(f"{self.operator.value} {need}")

    def meets(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are as it requires."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels

    def __str__(self) -> str:
        single = len(self.values) == 1
        match self.operator:
            case Operator.IN:
                return f"{self.key}={self.values[0]}" if single else f"{self.key} in ({','.join(self.values)})"
            case Operator.NOT_IN:
                return f"{self.key}!={self.values[0]}" if single else f"{self.key} notin ({','.join(self.values)})"
            case Operator.EXISTS:
                return self.key
            case Operator.DOES_NOT_EXIST:
                return f"!{self.key}"


class Selector(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Those whose labels contain every pair and meet every requirement; an empty one selects all."""

    match_labels: Labels = {}
    match_expressions: Annotated[tuple[Requirement, ...], msgspec.Meta(max_length=64)] = ()

    @property
    def selects_all(self) -> bool:
        """Whether nothing is required."""
        return not (self.match_labels or self.match_expressions)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether labels are as it requires."""
        return self.match_labels.items() <= labels.items() and all(
            expression.meets(labels) for expression in self.match_expressions
        )

    def __str__(self) -> str:
        pairs = [f"{key}={value}" for key, value in sorted(self.match_labels.items())]
        return ",".join([*pairs, *map(str, self.match_expressions)])


_TERM = re.compile(r"\s*(?P<not>!?)\s*(?P<key>[^\s!=,()]+)\s*(?P<rest>[^,(]*(\([^()]*\)\s*)?)(,|\Z)")
_SET = re.compile(r"(in|notin)\s*\(([^()]*)\)")


def parse_selector(option: str, text: str) -> Selector:
    """A selector as kubectl takes it: `site=lab,ring!=a,room in (a,b),zone,!old`.

    Raises:
        InvalidInput: it is none; the message names the option.
    """
    requirements: list[Requirement] = []
    position = 0
    if not text.strip():
        raise _no_selector(option, text)
    while position < len(text):
        term = _TERM.match(text, position)
        if term is None:
            raise _no_selector(option, text)
        try:
            requirement = _requirement(term["not"], term["key"], term["rest"].strip())
            requirements.append(msgspec.convert(msgspec.to_builtins(requirement), Requirement))
        except ValueError as error:
            raise _no_selector(option, text) from error
        position = term.end()
    return Selector(match_expressions=tuple(requirements))


def _requirement(negated: str, key: str, rest: str) -> Requirement:
    """One term; a `ValueError` says that it is none."""
    if not rest:
        return Requirement(key, Operator.DOES_NOT_EXIST if negated else Operator.EXISTS)
    if negated:
        raise ValueError(rest)
    if several := _SET.fullmatch(rest):
        values = tuple(value.strip() for value in several[2].split(","))
        return Requirement(key, Operator.IN if several[1] == "in" else Operator.NOT_IN, values)
    for sign, operator in (("!=", Operator.NOT_IN), ("==", Operator.IN), ("=", Operator.IN)):
        if rest.startswith(sign):
            return Requirement(key, operator, (rest.removeprefix(sign).strip(),))
    raise ValueError(rest)


def _no_selector(option: str, text: str) -> InvalidInput:
    return InvalidInput(
        f"{option} {text!r:.120} is no selector",
        next_step=f"as kubectl takes it, for example {option} 'site=lab,ring!=a,room in (a,b)'",
    )
