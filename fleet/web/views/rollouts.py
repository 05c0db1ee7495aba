"""Deployments that are not where they should be, why, and the devices that they wait for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from fleet.cli.reasons import DEPLOYMENTS
from fleet.cli.suggestions import describe, for_deployment
from fleet.contract import objects
from fleet.contract.printable import one_line
from fleet.web.objects import Deployment, Unreadable, condition, withheld_secret
from fleet.web.views.blockers import Blocker, Blockers, Workloads
from fleet.web.views.row import Summary
from fleet.web.views.unreadable import unreadable_trouble

_NAMED = 6
"""Devices that are named of those that a rollout waits for; the deployment's screen has them all."""


class Rollout(msgspec.Struct, frozen=True):
    """A deployment that is not where it should be. `more` blockers are not named, and `offline` of the ready are away.

    A rollout that goes on waits for its blockers. One that has ended, in failure, waits for nobody.
    """

    name: str
    ready: int
    offline: int
    matched: int
    failed: int
    reason: str
    means: str
    next_step: str
    message: str
    since: str
    halted: bool
    goes_on: bool
    blockers: tuple[Blocker, ...]
    more: int
    command: str


def rollouts(
    deployments: Iterable[Deployment], troubled: Sequence[Summary], workloads: Workloads, namespace: str
) -> tuple[Rollout, ...]:
    """Those that are not wholly ready, by name.

    `troubled` are the devices with troubles, by name, and `workloads` says by a device's name what it said last.
    """
    unready = [
        deployment
        for deployment in sorted(deployments, key=lambda deployment: deployment.metadata.name)
        if not _is_ready(deployment)
    ]
    blockers = Blockers(troubled if unready else (), workloads, (deployment.spec.selector for deployment in unready))
    return tuple(_rollout(deployment, blockers, namespace) for deployment in unready)


def unreadable_rollout(item: Unreadable, namespace: str) -> Rollout:
    """A deployment that does not parse goes nowhere."""
    trouble = unreadable_trouble(item)
    return Rollout(
        name=one_line(item.name),
        ready=0,
        offline=0,
        matched=0,
        failed=0,
        reason=trouble.reason,
        means=trouble.means,
        next_step=trouble.next_step,
        message=trouble.message,
        since=item.since,
        halted=False,
        goes_on=False,
        blockers=(),
        more=0,
        command=describe(objects.DEPLOYMENTS, item.name, namespace),
    )


def _is_ready(item: Deployment) -> bool:
    ready = condition(item, "Ready")
    return item.current and ready is not None and ready.status == "True"


def _rollout(item: Deployment, known: Blockers, namespace: str) -> Rollout:
    ready, progress, status = condition(item, "Ready"), condition(item, "Progressing"), item.status
    if not item.current:
        reason, message = "NotYetSeen", "the operator has not seen this change yet"
    else:
        reason, message = (ready.reason, ready.message) if ready else ("NotYetSeen", "")
    since = ready.last_transition_time if ready else item.metadata.creation_timestamp
    counts = (status.ready, known.offline(item), status.matched, status.failed) if item.current else (0, 0, 0, 0)
    advice = DEPLOYMENTS.get(reason)
    blockers, more = known.of(item, _NAMED)
    return Rollout(
        item.metadata.name,
        *counts,
        reason=one_line(reason),
        means=advice.means if advice else "",
        next_step=advice.next_step if advice else "",
        message=one_line(message),
        since=since,
        halted=item.current and progress is not None and progress.reason == "Halted",
        goes_on=not item.current or progress is None or progress.status == "True",
        blockers=blockers,
        more=more,
        command=for_deployment(item.metadata.name, namespace, reason, withheld=withheld_secret(item))[0],
    )
