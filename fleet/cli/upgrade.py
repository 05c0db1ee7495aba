"""`fleet device upgrade|rollback`: order an agent version, and tell how that goes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from fleet.cli.context import DEFAULT_NAMESPACE, NamespaceOption, cluster, installed, read, seconds
from fleet.cli.output import Output, OutputOption, answer, progress
from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, TimedOut
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.objects import Condition, Device, DeviceSpec
from fleet.contract.upgrade import UpgradePhase, UpgradeStatus
from fleet.contract.wire import from_builtins

if TYPE_CHECKING:
    from fleet.topology.kube import KubeClient

_CONDITION = "Upgraded"
_NEXT = {
    "UnknownVersion": "see `fleet agent list`, and publish it with `fleet agent publish`",
    "RolloutHalted": "see why those devices failed, then order a version that works",
    "WaitingForLock": "as many devices as may be are being upgraded now; it goes on by itself",
    "WaitingForHealth": "see `fleet deployment list`: a workload of the device is not well",
    "DeviceOffline": "it is upgraded when it is back; withdraw the order with an empty spec.agentVersion",
    "Ordered": "is the agent up? see its log on the device",
    "NotUpgradable": "set the device up once with `fleet device setup --agent FILE`",
    "WorkloadUnhealthy": "mend the workload first, then order the version again: see `fleet deployment list`",
    "ReconcileTimedOut": "see what the device is busy with, then order the version again",
    "BadVersion": "it failed on this device before: build the mended agent under a new version",
    "DigestConflict": "a version never changes: build the agent under a new version",
    "SignatureInvalid": "publish the agent and its manifest as they were built; somebody changed one",
    "SignatureMissing": "sign the agent when it is built, and publish it again",
    "KeyUnknown": "set the device up with the key that signed it, or sign with one that it trusts",
    "KeyRevoked": "sign the agent with a key that is not revoked",
    "NoSpace": "free space on the device, then order the version again",
    "Superseded": "another version was ordered meanwhile: see `fleet device show`",
}
_ELSE = "see `fleet device show`, and the agent's log on the device"
_LOOK = 0.1

DeviceArgument = Annotated[str, typer.Argument(metavar="ID", help="the device's id")]
WaitOption = Annotated[bool, typer.Option("--wait", help="return once the new version is confirmed, or was refused")]
TimeoutOption = Annotated[float, seconds()]


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
    timeout: TimeoutOption = 300,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a device's agent to a published version; its workloads go on.

    \b
    Examples:
      fleet device upgrade pi-1 --to v0.1.2 --wait
      fleet device upgrade pi-1 --to v0.1.2 --keep 3
    """  # noqa: D301
    name, version = DeviceId(device), _orderable(to)
    also = {} if keep is None else {"agentVersionsKept": keep}
    _order(name, namespace, lambda _: version, also, wait=timeout if wait else 0, output=output)


def rollback(
    device: DeviceArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Bring a device's agent back to the version before; while it is being upgraded, to the one it comes from.

    \b
    Example:
      fleet device rollback pi-1 --wait
    """  # noqa: D301
    _order(DeviceId(device), namespace, _before, {}, wait=timeout if wait else 0, output=output)


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
    wait: float,
    output: Output,
) -> None:
    kube = cluster()
    installed(kube, namespace)
    item = read(kube, Device, name, namespace)
    if item.spec.revoked:
        raise Conflict(f"{name} is revoked", next_step="enroll it anew with `fleet device enroll --replace`")
    version = choose(item)
    wish = {"spec": {"agentVersion": str(version), "agentOrder": item.spec.agent_order + 1, **also}}
    ordered = from_builtins(kube.patch("Device", name, namespace, wish), Device)
    value = {"device": str(name), "version": str(version), "order": ordered.spec.agent_order}
    if not wait:
        text = (f"{version} is ordered for {name}", f"next: see how it goes with `fleet device show {name}`")
        answer(output, {**value, "state": "ordered"}, text)
        return
    reason = _await_end(kube, ordered, version, wait)
    answer(output, {**value, "state": "committed", "reason": reason}, f"{name} runs {version} ({reason})")


def _await_end(kube: KubeClient, ordered: Device, version: AgentVersion, timeout: float) -> str:
    """Tell how it goes until it has ended; the reason of a good end.

    Raises:
        FleetError: it was refused or reverted; what is said of it and what to do are in the message.
        TimedOut: it has not ended in time.
    """
    name, deadline, shown = ordered.id, time.monotonic() + timeout, ""
    while True:
        item = read(kube, Device, name, ordered.metadata.namespace)
        said = _said(item, ordered)
        if said is not None and (now := f"{said.reason}: {said.message}") != shown:
            shown = now
            progress(f"{name}: {now}")
        if said is not None and said.status == "True":
            return said.reason
        if said is not None and _is_over(item, said):
            raise _refusal(name, version, said)
        if item.spec.agent_order > ordered.spec.agent_order:
            raise Conflict(f"another version was ordered for {name}", next_step=_NEXT["Superseded"])
        if time.monotonic() >= deadline:
            what = shown or "the operator has said nothing"
            step = _NEXT.get(said.reason, _ELSE) if said else "see `fleet server status`, and the operator's log"
            raise TimedOut(f"{name} does not run {version} after {timeout:g} s; last seen: {what}", next_step=step)
        time.sleep(_LOOK)


def _said(item: Device, ordered: Device) -> Condition | None:
    """The condition, once it is about this order."""
    said = next((one for one in item.status.conditions if one.type == _CONDITION), None)
    return said if said and said.observed_generation >= ordered.metadata.generation else None


def _is_over(item: Device, said: Condition) -> bool:
    known = _status(item)
    if said.reason in {"UnknownVersion", "RolloutHalted"}:
        return True
    return known is not None and known.phase.terminal and said.reason == known.reason.value


def _refusal(name: DeviceId, version: AgentVersion, said: Condition) -> FleetError:
    what = f"{name} does not run {version}: {said.reason}: {said.message}"
    kind = NotFound if said.reason == "UnknownVersion" else FleetError
    return kind(what, next_step=_NEXT.get(said.reason, _ELSE))


def _status(item: Device) -> UpgradeStatus | None:
    return item.status.info.upgrade if item.status.info else None


def shown(item: Device) -> str:
    """How the device's agent stands, for `fleet device show`."""
    known = _status(item)
    if known is None:
        return "never upgraded"
    versions = f"committed {known.committed or '-'}, rollback target {known.previous or 'none'}"
    ended = "" if known.phase is UpgradePhase.COMMITTED else f" ({known.reason.value})"
    return f"{known.candidate}: {known.phase.value}{ended}; {versions}"
