"""Implements `--wait`: shows the progress, computes the time limit, and names the devices that block at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fleet.cli.context import read, read_all
from fleet.cli.output import progress
from fleet.cli.reasons import DEPLOYMENTS, WORKLOADS, next_step
from fleet.cli.standing import counts, seen, status_of
from fleet.cli.workloads import Blocker, blockers
from fleet.contract.errors import FleetError, TimedOut
from fleet.contract.labels import labels_of
from fleet.contract.names import DeploymentName
from fleet.contract.objects import DeploymentSpec, Device, FleetDeployment, StrategyType
from fleet.process.console import watched

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

_LOOK = 0.1
_BATCH = 60.0
"""Seconds that a device may take to fetch an image and to start a container."""
_ON_A_TERMINAL, _ELSEWHERE = 0.5, 3.0
"""The shortest time between two lines of progress, in seconds: on a terminal, and in a log."""
_NAMED = 5
"""How many blocking devices are named."""
_OWN = frozenset(
    {"SecretForbidden", "SecretMissing", "SecretNotSealable", "SecretTooLarge", "SecretUnusable", "WorkloadTooLarge"}
)
"""Reasons of `Ready` that concern the deployment itself, not a device."""
_ENDED = _OWN | {"DevicesFailed", "Paused"}
"""Reasons after which nothing changes without a person."""


class ProgressPrinter:
    """Prints what changes while a command waits: one line for each change, at a limited rate."""

    def __init__(self, say: Callable[[str], None] = progress, *, pause: float | None = None) -> None:
        """`pause` is in seconds; by default it depends on whether standard error is a terminal."""
        self._say = say
        self._pause = pause if pause is not None else (_ON_A_TERMINAL if watched() else _ELSEWHERE)
        self._printed = ""
        self._due = 0.0

    def update(self, now: str) -> None:
        """Print the present state if it is new, and a line is due."""
        if now != self._printed and time.monotonic() >= self._due:
            self._say(now)
            self._printed, self._due = now, time.monotonic() + self._pause

    def end(self, now: str) -> None:
        """Print the final state at once if it is new."""
        self._due = 0.0
        self.update(now)


def outcome(
    kube: KubeClient, name: DeploymentName, namespace: str, within: float | None, *, wait: bool
) -> FleetDeployment:
    """The deployment after an order: as it stands, or once every selected device runs it. As `await_ready`."""
    return await_ready(kube, name, namespace, within) if wait else read(kube, FleetDeployment, name, namespace)


def limit(spec: DeploymentSpec, devices: int) -> float:
    """Seconds that a change may take by its strategy: one batch of devices after the other, each until it is well."""
    checks = [part.health for part in spec.workload.parts.values() if part.health]
    each = _BATCH + sum(check.start_period + check.retries * (check.interval + check.timeout) for check in checks)
    rolling = spec.strategy.type is StrategyType.ROLLING
    return each * max(1, -(-devices // spec.strategy.max_unavailable) if rolling else 1)


def await_ready(kube: KubeClient, name: DeploymentName, namespace: str, timeout: float | None) -> FleetDeployment:
    """Wait until every selected device runs a deployment, and show the progress.

    Args:
        kube: The cluster.
        name: The deployment.
        namespace: Where it is.
        timeout: In seconds; None for as long as its strategy needs.

    Raises:
        FleetError: it failed on a device; the message names those that block, and what to do.
        TimedOut: it did not come to an end; the same.
    """
    item = read(kube, FleetDeployment, name, namespace)
    selected = [device for device in read_all(kube, Device, namespace) if item.spec.selector.selects(labels_of(device))]
    within = limit(item.spec, len(selected)) if timeout is None else timeout
    printer, deadline = ProgressPrinter(), time.monotonic() + within
    progress(f"{name}: waiting up to {within:g} s for {len(selected)} devices to run it")
    while True:
        item = read(kube, FleetDeployment, name, namespace)
        status, reason = status_of(item, "Ready")
        if status == "True":
            return item
        if reason in _ENDED:
            raise _blocked(FleetError, f"{name} failed", kube, item)
        if time.monotonic() >= deadline:
            raise _blocked(TimedOut, f"{name} does not run on every selected device after {within:g} s", kube, item)
        printer.update(f"{name}: {_stands(item)}")
        time.sleep(_LOOK)


def _stands(item: FleetDeployment) -> str:
    ready = next((condition for condition in item.status.conditions if condition.type == "Ready"), None)
    return f"{ready.reason}: {ready.message}".removesuffix(": ") if ready else counts(item)


def _blocked(kind: type[FleetError], what: str, kube: KubeClient, item: FleetDeployment) -> FleetError:
    """Names the devices that block, and what to do: about the first of them, or about the deployment's own reason."""
    namespace, reason = item.metadata.namespace, status_of(item, "Ready")[1]
    found = blockers(item, read_all(kube, Device, namespace)) if seen(item) and reason not in _OWN else []
    named = [str(one) for one in found[:_NAMED]]
    more = [f"and {len(found) - _NAMED} more"] if len(found) > _NAMED else []
    name = item.metadata.name
    step = _about(found[0], name) if found else next_step(DEPLOYMENTS, reason, "see `fleet server status`")
    show = f"; all of it: `fleet deployment show {name}`"
    return kind("; ".join([what, counts(item), *(named or [_stands(item)]), *more]), next_step=step + show)


def _about(blocker: Blocker, deployment: str) -> str:
    step = next_step(WORKLOADS, blocker.reason, "see `fleet device show ID`")
    step = step.replace("ID --deployment NAME", f"{blocker.device} --deployment {deployment}")
    return f"{blocker.device}: {step.replace('show ID', f'show {blocker.device}')}"
