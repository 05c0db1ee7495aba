"""Variables in a Compose file: each is refused, for nothing comes from the admin's machine; `$$` is a dollar. Pure."""

from __future__ import annotations

import re
from typing import Any, cast

from fleet.contract.tree import Object, Path
from fleet.contract.written import Fault, dotted

_DOLLAR = re.compile(r"\$(\$|\{?[A-Za-z0-9_]{0,80})")
"""A dollar, and what it stands before: another one, or a name. What is to count without a value is not shown."""
_IGNORED, _OURS = "x-", "x-fleet-"


def resolved(value: Any, path: Path, faults: list[Fault]) -> Any:  # noqa: ANN401 - JSON
    """A value with its dollars; variables in it are added to `faults`, each with its place."""
    if isinstance(value, str):
        variable = next((one for one in _DOLLAR.findall(value) if one != "$"), None)
        if variable is not None:
            what = f"the variable {variable.removeprefix('{')}" if variable.strip("{") else "a single $"
            says = f"{dotted(path)} has {what}: variables of your shell do not count; for a $ write $$"
            faults.append(Fault(path, says))
        return value.replace("$$", "$")
    if isinstance(value, Object):
        made = Object((name, _member(name, member, path, faults)) for name, member in value.items())
        made.repeated = value.repeated
        return made
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [resolved(item, (*path, number), faults) for number, item in enumerate(items)]
    return value


def _member(name: str, value: Any, path: Path, faults: list[Fault]) -> Any:  # noqa: ANN401 - JSON
    ignored = name.startswith(_IGNORED) and not name.startswith(_OURS)
    return value if ignored else resolved(value, (*path, name), faults)
