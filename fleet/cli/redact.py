"""Removes from a support bundle the values that workloads are given, and everything that looks like a secret. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

Json = dict[str, Any]

HIDDEN = "(taken out)"
_GIVEN = frozenset({"env", "files", "command", "args", "health"})
"""Fields of a workload that may hold a secret: every text below them goes, but for names of variables and paths."""
_FILES = "files"
_KEPT = frozenset({"path", "mode"})
"""Of a file. A variable may have such a name, too, and its value goes."""
_OURS = "fleet.nationtech.io/"
_SHORTEST = 6
"""Characters of a value that is looked for everywhere else; shorter ones would take out ordinary words."""
_PATTERNS = (
    re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
    re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"),  # a JSON Web Token (RFC 7519)
    re.compile(r"(?<=://)[^/\s:@\"]+:[^/\s@\"]+(?=@)"),  # user and password of a URL
    re.compile(r"\bS[OUANCX][A-Z2-7]{56}\b"),  # a seed of NATS
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]+"),
    re.compile(r"(?i)(?:password|passwd|secret|token|api_?key|private_?key)[\"']?\s*[=:]\s*[\"']?([^\s\"',}]{3,})"),
)


def without_values(item: Json) -> Json:
    """A Kubernetes object without what its workload is given, and without other tools' annotations."""
    found = cast("Json", _walked(item, hide=False))
    meta = found.get("metadata")
    if isinstance(meta, dict):
        held = cast("Json", meta)
        held.pop("managedFields", None)
        annotations: dict[str, str] = held.get("annotations") or {}
        held["annotations"] = {key: text if key.startswith(_OURS) else HIDDEN for key, text in annotations.items()}
    return found


def values_of(items: Iterable[Json]) -> list[str]:
    """Every text that workloads are given, the longest first: they are also removed from messages and other fields."""
    found = {text for item in items for text in _given(item, inside=False) if len(text) >= _SHORTEST}
    return sorted(found, key=len, reverse=True)


def redacted(text: str, values: Iterable[str]) -> str:
    """A text without those values, plain and as JSON writes them, and without what looks like a secret."""
    for value in values:
        for written in {value, json.dumps(value)[1:-1]}:
            text = text.replace(written, HIDDEN)
    for pattern in _PATTERNS:
        text = pattern.sub(_hidden, text)
    return text


def _hidden(found: re.Match[str]) -> str:
    if not found.re.groups or found.re.pattern.startswith("-----"):
        return HIDDEN
    start, end = found.span(1)
    return f"{found.string[found.start() : start]}{HIDDEN}{found.string[end : found.end()]}"


def _walked(node: object, *, hide: bool, kept: frozenset[str] = frozenset()) -> object:
    if isinstance(node, Mapping):
        pairs = cast("Mapping[str, object]", node).items()
        return {
            name: member
            if name in kept
            else _walked(member, hide=hide or name in _GIVEN, kept=_KEPT if name == _FILES else frozenset())
            for name, member in pairs
        }
    if isinstance(node, list):
        return [_walked(member, hide=hide, kept=kept) for member in cast("list[object]", node)]
    return HIDDEN if hide and isinstance(node, str) else node


def _given(node: object, *, inside: bool, kept: frozenset[str] = frozenset()) -> Iterator[str]:
    if isinstance(node, Mapping):
        for name, member in cast("Mapping[str, object]", node).items():
            if name not in kept:
                below = _KEPT if name == _FILES else frozenset[str]()
                yield from _given(member, inside=inside or name in _GIVEN, kept=below)
    elif isinstance(node, list):
        for member in cast("list[object]", node):
            yield from _given(member, inside=inside, kept=kept)
    elif inside and isinstance(node, str):
        yield node
        yield from (line.strip() for line in node.splitlines())
