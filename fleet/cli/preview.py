"""What `fleet server install --dry-run` says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fleet.cli.output import Output, answer
from fleet.contract.errors import InvalidInput

if TYPE_CHECKING:
    from fleet.install.server import FleetServerScore
    from fleet.topology.capabilities import Preview, ServerPlace


def preview(score: FleetServerScore, target: ServerPlace, output: Output) -> None:
    """Say what an install would change, and change nothing.

    Raises:
        InvalidInput: the place cannot tell.
    """
    from fleet.topology.capabilities import PreviewsChanges  # noqa: PLC0415

    if not isinstance(target, PreviewsChanges):
        raise InvalidInput("this topology cannot tell what would change", next_step="leave --dry-run away")
    seen = score.preview(target)
    changes = [item for item in seen if item.action != "keep"]
    lines = [line for item in changes for line in _lines(item)]
    summary = f"{len(changes)} of {len(seen)} objects would change" if changes else "nothing would change"
    text = [*lines, f"fleet server in {score.namespace}: {summary}; the identity provider was not asked"]
    answer(output, {"namespace": score.namespace, "objects": msgspec.to_builtins(seen)}, text)


def _lines(item: Preview) -> list[str]:
    return [f"  would {item.action:<6}  {item.name}", *(f"      {field}" for field in item.fields)]
