"""What the server's parts tell about themselves over HTTP: metrics, and the sessions that NATS has."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from harness.errors import TargetUnavailable, Unanswered
from harness.parts import specs
from harness.world import World

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)
"""A line of the Prometheus text format: name, labels, value."""


def metric(world: World, part: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; 0 if there are none.

    Raises:
        Unanswered: the part does not answer.
        TargetUnavailable: this target has no way to ask a part over HTTP.
    """
    samples = _SAMPLE.findall(_get(world, part, "/metrics").text)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return sum((float(it) for found, had, it in samples if found == name and all(pair in had for pair in wanted)), 0.0)


def sessions(world: World, device: str) -> list[int]:
    """The ids of a device's connections to NATS, as its server lists them; as `metric` for errors."""
    found: dict[str, Any] = _get(world, "nats", "/connz?auth=1&limit=100000").json()
    return [connection["cid"] for connection in found["connections"] if connection.get("authorized_user") == device]


def _get(world: World, part: str, path: str) -> httpx.Response:
    spec = specs(world.root).get(part)
    if spec is None or not spec.ready.startswith("http"):
        raise TargetUnavailable(
            f"on {world.target} the part {part} cannot be asked over HTTP", next_step="use --fleet-target embedded"
        )
    base = urlsplit(spec.ready)
    try:
        answer = httpx.get(urlunsplit((base.scheme, base.netloc, "", "", "")) + path, timeout=2, trust_env=False)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Unanswered(f"{part} does not answer: {error}", next_step=f"see the log of {part}") from error
    return answer
