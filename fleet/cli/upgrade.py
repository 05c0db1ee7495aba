"""`fleet device upgrade|rollback`: order an agent version, and show the progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.context import DeviceArgument, NamespaceOption, cluster, installed, patience, read, seconds
from fleet.cli.ordering import order
from fleet.cli.output import Output, OutputOption, answer, progress
from fleet.cli.reasons import UPGRADES, next_step
from fleet.cli.standing import NOT_YET_SEEN
from fleet.cli.waiting import ProgressPrinter
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, TimedOut
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.objects import Condition, Device, DeviceSpec
from fleet.contract.upgrade import UpgradePhase, UpgradeStatus
from fleet.contract.wire import from_builtins

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_CONDITION = "Upgraded"
_ELSE = "see `fleet device show`, and the agent's log on the device"
_LOOK, _PATIENCE = 0.1, 300.0

WaitOption = Annotated[bool, typer.Option("--wait", help="return once the new version is confirmed, or was refused")]
TimeoutOption = Annotated[float | None, seconds("to wait; 300 if not given")]


def upgrade(
    device: DeviceArgument,
    to: Annotated[str, typer.Option("--to", metavar="VERSION", help="a published version, such as v0.1.2")],
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            help="from now on keep the N newest versions on the device, and what may be needed; else all stay",
        ),
    ] = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a device's agent to a published version; its workloads go on.

    \b
    Examples:
      fleet device upgrade pi-1 --to v0.1.2 --wait
      fleet device upgrade pi-1 --to v0.1.2 --keep 3
    """  # noqa: D301
    within = patience(timeout, wait=wait) or _PATIENCE
    name, version = DeviceId(device), _orderable(to)
    also = {} if keep is None else {"agentVersionsKept": keep}
    command = "fleet device upgrade"
    _order(name, namespace, lambda _: version, also, command=command, wait=within if wait else 0, output=output)


def rollback(
    device: DeviceArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = None,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a device's agent back to the version before; while it is being upgraded, to the one it comes from.

    \b
    Example:
      fleet device rollback pi-1 --wait
    """  # noqa: D301
    within = patience(timeout, wait=wait) or _PATIENCE
    command = "fleet device rollback"
    _order(DeviceId(device), namespace, _before, {}, command=command, wait=within if wait else 0, output=output)


def _orderable(text: str) -> AgentVersion:
    version = AgentVersion(text)
    try:
        from_builtins({"agentVersion": text}, DeviceSpec)
    except InvalidInput as error:
        raise InvalidInput(
            f"{text} cannot be ordered", next_step="use a version without build metadata ('+')"
        ) from error
    return version


def _before(item: Device) -> AgentVersion:
    known = _status(item)
    version = known and (known.previous if known.phase.terminal else known.committed)
    if not version:
        raise Conflict(
            f"{item.metadata.name} has no version to go back to", next_step="order one with `fleet device upgrade`"
        )
    return version


def _order(
    name: DeviceId,
    namespace: str,
    choose: Callable[[Device], AgentVersion],
    also: dict[str, int],
    *,
    command: str,
    wait: float,
    output: Output,
) -> None:
    kube = cluster()
    installed(kube, namespace)

    def changes(item: Device) -> Json:
        if item.spec.revoked:
            raise Conflict(f"{name} is revoked", next_step="enroll it again with `fleet device enroll --replace`")
        return {"agentVersion": str(choose(item)), "agentOrder": item.spec.agent_order + 1, **also}

    ordered, change = order(kube, Device, (name, namespace), command, changes)
    version = AgentVersion(ordered.spec.agent_version)
    value = {"device": str(name), "version": str(version), "order": ordered.spec.agent_order}
    value["change"] = change.id if change else ""
    if not wait:
        text = (f"{version} is ordered for {name}", f"next: see how it goes with `fleet device show {name}`")
        answer(output, {**value, "state": "ordered"}, text)
        return
    reason = _await_end(kube, ordered, version, wait)
    answer(output, {**value, "state": "committed", "reason": reason}, f"{name} runs {version} ({reason})")


def _await_end(kube: KubeClient, ordered: Device, version: AgentVersion, timeout: float) -> str:
    """Show the progress until the end; returns the reason of a successful end.

    Raises:
        FleetError: it was refused or reverted; what is said of it and what to do are in the message.
        TimedOut: it has not ended in time.
    """
    name, deadline, printer, shown = ordered.id, time.monotonic() + timeout, ProgressPrinter(), ""
    progress(f"{name}: waiting up to {timeout:g} s for {version} to be confirmed")
    while True:
        item = read(kube, Device, name, ordered.metadata.namespace)
        condition = _order_condition(item, ordered)
        shown = (
            f"{condition.reason}: {condition.message}"
            if condition is not None
            else "the operator has not seen the order yet"
        )
        printer.update(f"{name}: {shown}")
        if condition is not None and condition.status == "True":
            printer.end(f"{name}: {shown}")
            return condition.reason
        if condition is not None and _is_over(item, condition):
            raise _refusal(name, version, condition)
        if item.spec.agent_order > ordered.spec.agent_order:
            raise Conflict(f"another version was ordered for {name}", next_step=UPGRADES["Superseded"].next_step)
        if time.monotonic() >= deadline:
            step = next_step(UPGRADES, condition.reason if condition else NOT_YET_SEEN, _ELSE)
            raise TimedOut(f"{name} does not run {version} after {timeout:g} s; last seen: {shown}", next_step=step)
        time.sleep(_LOOK)


def _order_condition(item: Device, ordered: Device) -> Condition | None:
    """The condition, once it is about this order."""
    condition = next((one for one in item.status.conditions if one.type == _CONDITION), None)
    return condition if condition and condition.observed_generation >= ordered.metadata.generation else None


def _is_over(item: Device, condition: Condition) -> bool:
    known = _status(item)
    if condition.reason in {"UnknownVersion", "RolloutHalted"}:
        return True
    return known is not None and known.phase.terminal and condition.reason == known.reason.value


def _refusal(name: DeviceId, version: AgentVersion, condition: Condition) -> FleetError:
    what = f"{name} does not run {version}: {condition.reason}: {condition.message}"
    kind = NotFound if condition.reason == "UnknownVersion" else FleetError
    return kind(what, next_step=next_step(UPGRADES, condition.reason, _ELSE))


def _status(item: Device) -> UpgradeStatus | None:
    return item.status.info.upgrade if item.status.info else None


def shown(item: Device) -> str:
    """The state of the device's agent, for `fleet device show`."""
    known = _status(item)
    if known is None:
        return "never upgraded"
    versions = f"committed {known.committed or '-'}, rollback target {known.previous or 'none'}"
    ended = "" if known.phase is UpgradePhase.COMMITTED else f" ({known.reason.value})"
    return f"{known.candidate}: {known.phase.value}{ended}; {versions}"
