"""What would change in an object, in words for a person. Pure, and never a secret's value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import cast

from fleet.topology.capabilities import Json

_BOOKKEEPING = {"managedFields", "resourceVersion", "generation", "uid", "creationTimestamp"}
"""What the API server writes into metadata by itself."""
_SHOWN = 60
"""Characters of a value."""


def differences(before: Json, after: Json) -> list[str]:
    """One `path: from → to` for each field that differs."""
    secret = before["kind"] == "Secret"
    old, new = dict(_fields(_own(before))), dict(_fields(_own(after)))
    changed = [path for path in {**old, **new} if old.get(path) != new.get(path)]
    return [f"{path}: {_value(old, path, secret)} → {_value(new, path, secret)}" for path in changed]


def _own(item: Json) -> Json:
    """Without what others write: the status, and the server's bookkeeping."""
    meta = {key: value for key, value in item["metadata"].items() if key not in _BOOKKEEPING}
    return {key: value for key, value in item.items() if key not in {"status", "metadata"}} | {"metadata": meta}


def _fields(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Every leaf with its path; elements of a list go by their name, if all have one."""
    if isinstance(node, dict) and node:
        for key, value in cast("Json", node).items():
            yield from _fields(value, f"{path}.{key}" if path else key)
    elif isinstance(node, list) and node:
        for number, value in enumerate(cast("list[object]", node)):
            yield from _fields(value, f"{path}[{_name(value) or number}]")
    else:
        yield path, node


def _name(value: object) -> str:
    return str(cast("Json", value).get("name", "")) if isinstance(value, dict) else ""


def _value(fields: dict[str, object], path: str, secret: bool) -> str:
    if path not in fields:
        return "(none)"
    if secret and path.startswith("data."):
        return "(secret)"
    text = json.dumps(fields[path], ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
