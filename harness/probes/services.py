"""What the server's parts tell about themselves over HTTP: metrics, and the sessions that NATS has."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from harness.world import World

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)
"""A line of the Prometheus text format: name, labels, value."""


def metric(world: World, part: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; 0 if there are none.

    Raises:
        Unanswered: the part does not answer.
        TargetUnavailable: this target has no way to ask a part over HTTP.
    """
    samples = [sample for page in world.fetch(part, "/metrics") for sample in _SAMPLE.findall(page)]
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum((float(it) for found, had, it in samples if found == name and all(pair in had for pair in wanted)), 0.0)


def sessions(world: World, device: str) -> list[int]:
    """The ids of a device's connections to NATS, as its server lists them; as `metric` for errors."""
    pages = [msgspec.json.decode(page) for page in world.fetch("nats", "/connz?auth=1&limit=100000")]
    connections: list[dict[str, Any]] = [it for page in pages for it in page["connections"]]
    return [it["cid"] for it in connections if it.get("authorized_user") == device]
