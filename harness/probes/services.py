"""What the server's components tell about themselves over HTTP: metrics, and the sessions that NATS has."""

from __future__ import annotations

import re
from typing import NamedTuple

from fleet.contract.buckets import APP_ACCOUNT
from harness.world.world import World

_SAMPLE = re.compile(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})? (\S+)", re.MULTILINE)
"""A line of the Prometheus text format: name, labels, value."""


def metric(world: World, component: str, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels; 0 if there are none.

    Raises:
        Unanswered: the component does not answer.
        TargetUnavailable: this target has no way to ask a component over HTTP.
    """
    samples = [sample for page in world.fetch(component, "/metrics") for sample in _SAMPLE.findall(page)]
    pairs = [f'{label}="{value}"' for label, value in labels.items()]
    return sum((float(it) for found, had, it in samples if found == name and all(pair in had for pair in pairs)), 0.0)


class Session(NamedTuple):
    """A connection to a server of NATS, whose id is new at each of its starts."""

    server: str
    connection: int


def sessions(world: World, device: str) -> list[Session]:
    """A device's connections to NATS, as its servers list them.

    Raises:
        Unanswered: NATS does not answer.
    """
    which = {"acc": APP_ACCOUNT, "auth": True, "user": device, "limit": 1024}
    answers = world.sessions.ask_servers("$SYS.REQ.SERVER.PING.CONNZ", which)
    return [
        Session(answer["server"]["id"], connection["cid"])
        for answer in answers
        for connection in answer["data"].get("connections", ())
    ]
