"""`fleet device remove-volume`, and the volumes of a device in `fleet device show`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec
import typer

from fleet.cli.context import DeviceArgument, NamespaceOption, cluster, installed, read, seconds
from fleet.cli.ordering import new_id, order
from fleet.cli.output import Output, OutputOption, answer, progress, table
from fleet.cli.reasons import VOLUMES, next_step
from fleet.cli.standing import status_of
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, TimedOut
from fleet.contract.grammar import validation_words
from fleet.contract.limits import MAX_VOLUME_ORDERS, MAX_VOLUMES_SHOWN
from fleet.contract.names import DeviceId
from fleet.contract.objects import Device
from fleet.contract.volumes import REMOVE_VOLUME, RemovalReason, VolumeOrder, VolumeOutcome, VolumeUsage
from fleet.contract.wire import DeviceInfo

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient
    from fleet.topology.capabilities import Json

_LOOK = 0.1
_ERRORS = {RemovalReason.NOT_FOUND.value: NotFound, RemovalReason.IN_USE.value: Conflict}


def remove_volume(
    device: DeviceArgument,
    volume: Annotated[str, typer.Argument(metavar="VOLUME", help="its name, as `fleet device show` has it")],
    deployment: Annotated[
        str, typer.Option(metavar="NAME", help="the deployment it was made for, where two have one of the name")
    ] = "",
    former: Annotated[
        str, typer.Option(metavar="IDENTITY", help="the device's former identity that it was made under")
    ] = "",
    cancel: Annotated[bool, typer.Option("--cancel", help="take an order back that is not answered yet")] = False,
    timeout: Annotated[float, seconds("to wait for the device's answer")] = 60,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove a volume from a device, with all that is in it. One that is used is not removed.

    While the device is away the order stands, and is carried out when it is back.

    \b
    Examples:
      fleet device remove-volume pi-1 data
      fleet device remove-volume pi-1 data --deployment web --timeout 300
      fleet device remove-volume pi-1 data --former pi-1@4a0f26d1c3b5e798
      fleet device remove-volume pi-1 data --cancel
    """  # noqa: D301
    name, wanted = DeviceId(device), _Wanted(volume, deployment, former)
    wanted.check()
    kube, number = cluster(), new_id()
    installed(kube, namespace)

    def changes(item: Device) -> Json:
        return wanted.taken_back(item) if cancel else wanted.ordered(item, number)

    item, change = order(kube, Device, (name, namespace), REMOVE_VOLUME, changes, number)
    value: Json = {"device": str(name), "volume": volume, "change": change.id if change else ""}
    if cancel:
        answer(output, {**value, "cancelled": True}, f"{name} is not to remove the volume {wanted} any more")
        return
    given = wanted.standing(item, number)
    outcome = _await_outcome(kube, item, given, timeout)
    if outcome.reason != RemovalReason.REMOVED.value:
        step = next_step(VOLUMES, outcome.reason, "see `fleet device show`")
        kind = _ERRORS.get(outcome.reason, FleetError)
        raise kind(f"{name}: {given} is not removed: {outcome.reason}: {outcome.message}", next_step=step)
    value |= {"deployment": given.deployment, "former": given.former, "outcome": outcome.reason}
    answer(output, value, f"{name}: {given} is removed")


class _Wanted(NamedTuple):
    """A volume as a person names it."""

    name: str
    deployment: str
    former: str

    def __str__(self) -> str:
        made = f" of {self.deployment}" if self.deployment else ""
        return f"{self.name}{made}{f' of the former identity {self.former}' if self.former else ''}"

    def check(self) -> None:
        """Refuse what no volume can be called.

        Raises:
            InvalidInput: one of the three is not what it should be.
        """
        try:
            self._order(VolumeUsage(self.name, self.deployment or "any", id="0", former=self.former), "0")
        except msgspec.ValidationError as error:
            raise InvalidInput(
                f"{str(self)!r} can be no volume of a device ({validation_words(error)})",
                next_step="give the names as `fleet device show` has them",
            ) from error

    def ordered(self, item: Device, number: str) -> Json:
        """The fields of the spec that order its removal; none where that is ordered already."""
        name, orders = item.metadata.name, item.spec.remove_volumes
        if item.spec.revoked:
            raise Conflict(f"{name} is revoked", next_step="enroll it again with `fleet device enroll --replace`")
        wanted = self._order(self._usage(item), number)
        if any(_volume(one) == _volume(wanted) for one in orders):
            return {}
        if len(orders) >= MAX_VOLUME_ORDERS:
            raise Conflict(
                f"{name} has {len(orders)} orders to remove volumes that it has not answered",
                next_step="wait until it is back, or take some back with --cancel",
            )
        return {"removeVolumes": msgspec.to_builtins((*orders, wanted))}

    def taken_back(self, item: Device) -> Json:
        """The fields of the spec without the orders of its removal.

        Raises:
            NotFound: there is none.
        """
        orders = item.spec.remove_volumes
        left = [one for one in orders if not self._names(one)]
        if len(left) == len(orders):
            raise NotFound(
                f"{item.metadata.name} has no order to remove the volume {self} that it has not answered",
                next_step=f"see `fleet device show {item.metadata.name}`, and `fleet device events`",
            )
        return {"removeVolumes": msgspec.to_builtins(left) or None}

    def standing(self, item: Device, number: str) -> VolumeOrder:
        """The order in the spec: the one just given, or the one that was there."""
        orders = item.spec.remove_volumes
        mine = [one for one in orders if one.order == number] or [one for one in orders if self._names(one)]
        if not mine:
            raise Conflict(f"the order to remove {self} was taken back", next_step="give it again")
        return mine[0]

    def _usage(self, item: Device) -> VolumeUsage:
        """The volume among those that the device tells of.

        Raises:
            NotFound: it tells of none such.
            InvalidInput: it tells of several.
            Conflict: its agent is too old.
        """
        name, info = item.metadata.name, item.status.info
        step = f"see `fleet device show {name}`; a device tells of what changed within seconds"
        if info is None or info.disk_usage is None:
            raise NotFound(f"{name} has not reported its volumes yet", next_step=step)
        named = [volume for volume in info.disk_usage.named_volumes if self._names(volume, any_identity=True)]
        found = [volume for volume in named if volume.former == self.former]
        if not found:
            others = ", ".join(sorted({volume.former or "its present identity" for volume in named}))
            hint = f"; there is one of {others}: name that with --former, or leave --former out" if named else ""
            raise NotFound(f"{name} reports no volume {self}{hint}", next_step=step)
        if len(found) > 1:
            made = ", ".join(sorted(volume.deployment for volume in found))
            raise InvalidInput(f"{name} has several volumes {self}: of {made}", next_step="name one with --deployment")
        if not found[0].id:
            raise Conflict(
                f"the agent of {name} ({info.agent_version}) is too old to remove a volume by order",
                next_step=f"`fleet device upgrade {name}`, then give the order again",
            )
        return found[0]

    def _names(self, volume: VolumeUsage | VolumeOrder, *, any_identity: bool = False) -> bool:
        former = any_identity or volume.former == self.former
        return volume.name == self.name and former and self.deployment in {"", volume.deployment}

    @staticmethod
    def _order(volume: VolumeUsage, number: str) -> VolumeOrder:
        return msgspec.convert(
            {
                "deployment": volume.deployment,
                "name": volume.name,
                "id": volume.id,
                "order": number,
                "former": volume.former,
            },
            VolumeOrder,
        )


def _volume(one: VolumeOrder) -> object:
    return one.deployment, one.name, one.id, one.former


def _await_outcome(kube: KubeClient, item: Device, given: VolumeOrder, timeout: float) -> VolumeOutcome:
    """Wait for the device's answer.

    Raises:
        Conflict: somebody took the order back.
        TimedOut: it has not answered in time; the order stands.
    """
    name, deadline = item.id, time.monotonic() + timeout
    progress(f"{name}: waiting up to {timeout:g} s for it to remove {given}{_away(item)}")
    while True:
        now = read(kube, Device, name, item.metadata.namespace)
        for outcome in now.status.info.volume_outcomes if now.status.info else ():
            if outcome.order == given.order:
                return outcome
        if given not in now.spec.remove_volumes:
            raise Conflict(
                f"{name}: the order to remove {given} stands no more, and what became of it is not told",
                next_step=f"see `fleet device events {name}`, and give it again where it was taken back",
            )
        if time.monotonic() >= deadline:
            raise TimedOut(
                f"{name} has not answered after {timeout:g} s{_away(now)}",
                next_step="the order stands until it does: see `fleet device show`; --cancel takes it back",
            )
        time.sleep(_LOOK)


def _away(item: Device) -> str:
    """Why an answer may be long in coming."""
    status, reason = status_of(item, "Online")
    if status != "True":
        return f"; it is not online ({reason}), and the order stands until it is back"
    info = item.status.info
    volumes = info.disk_usage.named_volumes if info and info.disk_usage else ()
    if info and volumes and not any(volume.id for volume in volumes):
        return f"; its agent, {info.agent_version}, is too old for such an order: upgrade it"
    return ""


def volume_lines(info: DeviceInfo | None) -> list[str]:
    """The volumes of a device, as a table."""
    named = info.disk_usage.named_volumes if info and info.disk_usage else ()
    if not named:
        return []
    head = ["VOLUME", "DEPLOYMENT", "AT LEAST", "CONTAINERS"]
    rows = [
        [volume.name, volume.deployment, f"{volume.size / 2**20:.1f} MiB", volume.containers if volume.id else "-"]
        for volume in named
    ]
    if any(volume.former for volume in named):
        head.append("FORMER IDENTITY")
        rows = [[*row, volume.former or "-"] for row, volume in zip(rows, named, strict=True)]
    more = ["there may be more: a device tells of its largest"] if len(named) == MAX_VOLUMES_SHOWN else []
    return [*table(head, rows), *more]
