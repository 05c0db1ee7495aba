"""`fleet device cordon|uncordon` and `fleet deployment pause|resume`: keep changes back, and let them go on."""

from __future__ import annotations

from typing import Any, Generic, NamedTuple

from fleet.cli.context import DeviceArgument, NameArgument, NamespaceOption, cluster
from fleet.cli.ordering import K, change_json, order
from fleet.cli.output import Output, OutputOption, answer
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.names import DeploymentName, DeviceId
from fleet.contract.objects import Device, FleetDeployment


def cordon(
    device: DeviceArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Send a device no change of any deployment; what it runs, it goes on running. An agent is still upgraded.

    \b
    Example:
      fleet device cordon pi-1
    """  # noqa: D301
    _CORDONED.set(DeviceId(device), namespace, output, wanted=True)


def uncordon(
    device: DeviceArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Send a device what was kept back while it was cordoned, and every change from now on.

    \b
    Example:
      fleet device uncordon pi-1
    """  # noqa: D301
    _CORDONED.set(DeviceId(device), namespace, output, wanted=False)


def pause(
    name: NameArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Send no change of a deployment to any device; what they run, they go on running.

    \b
    Example:
      fleet deployment pause web
    """  # noqa: D301
    _PAUSED.set(DeploymentName(name), namespace, output, wanted=True)


def resume(
    name: NameArgument, namespace: NamespaceOption = DEFAULT_NAMESPACE, output: OutputOption = Output.TABLE
) -> None:
    """Send what was kept back while a deployment was paused, by its strategy.

    \b
    Example:
      fleet deployment resume web
    """  # noqa: D301
    _PAUSED.set(DeploymentName(name), namespace, output, wanted=False)


class _Switch(NamedTuple, Generic[K]):
    """A field of a spec that holds changes back: its kind, the commands that set and clear it, and their texts."""

    kind: type[K]
    noun: str
    field: str
    commands: tuple[str, str]
    says: tuple[str, str]

    def set(self, name: DeviceId | DeploymentName, namespace: str, output: Output, *, wanted: bool) -> None:
        """Set the field, and print the result."""
        _, change = order(
            cluster(), self.kind, (name, namespace), self.commands[wanted], lambda it: self._change(it, wanted)
        )
        value = {self.noun: str(name), self.field: wanted, **change_json(change)}
        end = f" (change {change.id})" if change else "; nothing was changed"
        answer(output, value, f"{name} is {self.says[wanted]}{end}")

    def _change(self, item: K, wanted: bool) -> dict[str, Any]:
        return {} if getattr(item.spec, self.field) is wanted else {self.field: wanted}


_CORDONED = _Switch(
    Device,
    "device",
    "cordoned",
    ("fleet device uncordon", "fleet device cordon"),
    ("not cordoned: changes are sent to it", "cordoned: no change is sent to it"),
)
_PAUSED = _Switch(
    FleetDeployment,
    "deployment",
    "paused",
    ("fleet deployment resume", "fleet deployment pause"),
    ("not paused: changes of it are sent", "paused: no change of it is sent"),
)
