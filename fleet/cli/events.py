"""`fleet device events` and `fleet deployment events`: what happened to an object, as the operator told Kubernetes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import msgspec
import typer

from fleet.cli.context import DeviceArgument, NameArgument, NamespaceOption, cluster, read, read_any
from fleet.cli.output import Output, OutputOption, answer, table
from fleet.contract.config import DEFAULT_NAMESPACE
from fleet.contract.names import DeploymentName, DeviceId
from fleet.contract.objects import Device, FleetDeployment
from fleet.process import console

if TYPE_CHECKING:
    from fleet.kube.client import KubeClient

_LOOK = 1.0
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="and what happens from now on")]
_HEADINGS = ("LAST SEEN", "TYPE", "REASON", "TIMES", "MESSAGE")


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    creation_timestamp: str = ""


class Event(msgspec.Struct, frozen=True, rename="camel"):
    """An Event of Kubernetes (core/v1), as far as it is shown; other programs leave fields empty."""

    metadata: _Meta
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None

    @property
    def seen(self) -> str:
        """When it happened last (RFC 3339)."""
        return self.last_timestamp or self.event_time or self.metadata.creation_timestamp

    def cells(self) -> list[object]:
        """It as a row."""
        return [self.seen, self.type, self.reason, self.count or 1, self.message]

    def as_json(self) -> dict[str, object]:
        """It for a program."""
        first = self.first_timestamp or self.seen
        return {
            "type": self.type,
            "reason": self.reason,
            "message": self.message,
            "count": self.count or 1,
            "first": first,
            "last": self.seen,
        }


def device_events(
    device: DeviceArgument,
    follow: FollowOption = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what happened to a device: who ordered what, what became of it, and when it was not heard.

    Kubernetes keeps events for an hour unless its admin has set something else. You need the right to list events.

    \b
    Examples:
      fleet device events pi-1
      fleet device events pi-1 --follow
    """  # noqa: D301
    kube = cluster()
    item = read(kube, Device, DeviceId(device), namespace)
    _show(kube, item, output, follow=follow)


def deployment_events(
    name: NameArgument,
    follow: FollowOption = False,
    namespace: NamespaceOption = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what happened to a deployment: who ordered which generation, and how it spread.

    What happened on a device stands with the device: `fleet device events`.

    \b
    Examples:
      fleet deployment events web
      fleet deployment events web --follow
    """  # noqa: D301
    kube = cluster()
    item = read_any(kube, DeploymentName(name), namespace)
    _show(kube, item, output, follow=follow)


def events_of(kube: KubeClient, item: Device | FleetDeployment) -> list[Event]:
    """The events of one object, the oldest first; not those of one that had its name before."""
    meta = item.metadata
    fields = f"involvedObject.kind={item.kind},involvedObject.name={meta.name},involvedObject.uid={meta.uid}"
    found = kube.list_raw("Event", meta.namespace, f"fieldSelector={quote(fields, safe='')}")
    return sorted((msgspec.json.decode(raw, type=Event) for raw in found), key=lambda event: event.seen)


def _show(kube: KubeClient, item: Device | FleetDeployment, output: Output, *, follow: bool) -> None:
    found = events_of(kube, item)
    if not follow:
        none = f"no events of {item.metadata.name} are kept"
        text = table(_HEADINGS, [event.cells() for event in found]) if found else none
        answer(output, [event.as_json() for event in found], text)
        return
    printed: set[str] = set()
    while True:
        console.answer(*(_line(event, output) for event in found if event.metadata.name not in printed))
        printed = {event.metadata.name for event in found}
        time.sleep(_LOOK)
        found = events_of(kube, item)


def _line(event: Event, output: Output) -> str:
    if output is Output.JSON:
        return json.dumps(event.as_json())
    times = f" ({event.count} times)" if (event.count or 1) > 1 else ""
    return f"{event.seen}  {event.type:<7}  {event.reason}: {event.message}{times}"
