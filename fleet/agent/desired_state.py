"""The desired state of the device, as far as it can be parsed."""

from __future__ import annotations

import msgspec

from fleet.agent.problems import Problem
from fleet.contract.sealed import Sealed
from fleet.contract.wire import Workload


class Deployment(msgspec.Struct, frozen=True, omit_defaults=True):
    """A deployment as this device should run it.

    With a `problem`, `workload` is the last one that could be parsed, and keeps running. `change` is the id of the
    command that ordered it, for the log. `sealed` are the secrets of that workload; `secrets` is the ordered version of
    them.
    """

    generation: int
    workload: Workload | None = None
    problem: Problem | None = None
    change: str = ""
    sealed: Sealed | None = None
    secrets: str = ""


DesiredState = dict[str, Deployment]
"""By deployment. A deployment that is not in it is removed from the device."""


def changes(before: DesiredState, after: DesiredState) -> list[str]:
    """The ids of the commands that ordered the new deployments."""
    return sorted({desired.change for name, desired in after.items() if desired.change and desired != before.get(name)})
