"""`fleet device release`: let a device in again that was shut out for what it wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fleet.cli.context import DeviceArgument, NamespaceOption, cluster, installed, read, seconds
from fleet.cli.ordering import order
from fleet.cli.output import Output, OutputOption, answer
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, TimedOut
from fleet.contract.names import DeviceId
from fleet.contract.objects import Condition, Device

if TYPE_CHECKING:
    from fleet.topology.capabilities import Json

_CONDITION = "Quarantined"


def release(
    device: DeviceArgument,
    timeout: Annotated[float, seconds("to wait for the operator")] = 30,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a device's quarantine: it may come in again, and what it did before counts no more.

    Look first why it flooded. If somebody else may hold it, revoke it instead.

    \b
    Example:
      fleet device release pi-1
    """  # noqa: D301
    from fleet.kube.client import wait_for  # noqa: PLC0415

    name, kube = DeviceId(device), cluster()
    installed(kube, namespace)
    wanted, change = order(kube, Device, (name, namespace), "fleet device release", _changes)
    if change is None:
        answer(output, {"device": str(name), "released": False}, f"{name} is not in quarantine; nothing was changed")
        return

    def over() -> bool | None:
        now = _release_condition(read(kube, Device, name, namespace))
        return now is None or (now.status == "False" and now.observed_generation >= wanted.metadata.generation) or None

    try:
        wait_for(over, f"the operator to let {name} in", timeout)
    except TimedOut as error:
        raise TimedOut(
            error.what, next_step="it is recorded, and the operator does it once it runs: see `fleet server status`"
        ) from error
    answer(output, {"device": str(name), "released": True}, f"{name} is released; it comes back by itself")


def _changes(item: Device) -> Json:
    if item.spec.revoked:
        name = item.metadata.name
        raise Conflict(f"{name} is revoked", next_step="enroll it again with `fleet device enroll --replace`")
    condition = _release_condition(item)
    return {} if condition is None or condition.status != "True" else {"released": item.spec.released + 1}


def _release_condition(item: Device) -> Condition | None:
    return next((condition for condition in item.status.conditions if condition.type == _CONDITION), None)
