"""Everything the page knows, and the subscribers to its changes.

Kubernetes says what the operator knows; NATS says it sooner. What a device said over NATS is shown in the place of what
its status holds until Kubernetes' next word about that device is newer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fleet.contract.config import SecretAge
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.printable import one_line
from fleet.contract.states import DeviceStates, read_state
from fleet.contract.wire import DeviceInfo
from fleet.operator.objects import parse
from fleet.operator.reconcile.workloads import as_told, with_since
from fleet.operator.status import timestamp
from fleet.web.changes import (
    Change,
    comparable_state,
    deployment_changes,
    device_changes,
    full_state,
    state_text,
    unix_seconds,
)
from fleet.web.device_heartbeats import DeviceHeartbeats
from fleet.web.messages import EventMessage, RevisionsMessage, RevisionSummary
from fleet.web.object_versions import ObjectVersions
from fleet.web.objects import Deployment, Unreadable, name_of, parse_deployment
from fleet.web.source import KUBERNETES, NATS, Gap, Sources
from fleet.web.tail import Tail
from fleet.web.views.row import Row, Summary, summary, unreadable_summary

_EVENTS = 2_000
"""Events that are kept, of all objects."""

Listener = Callable[[], None]


class Store:
    """What is known of devices and deployments. `version` grows with every change; nothing here is ever written out."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Nothing is known yet. `now` is in Unix seconds."""
        self.now = now
        self.sources = Sources(now, self._notify, self._add_gap)
        self.tail = Tail()
        self.heartbeats = DeviceHeartbeats(now)
        self.devices: dict[str, Device] = {}
        self.deployments: dict[str, Deployment] = {}
        self.infos: dict[str, DeviceInfo] = {}
        self.reported: dict[str, tuple[WorkloadStatus, ...]] = {}
        self.unreadable: dict[str, dict[str, Unreadable]] = {"Device": {}, "FleetDeployment": {}}
        """Objects that do not parse, by kind and name. Of a device there is also a summary, and no `Device`."""
        self.summaries: dict[str, Summary] = {}
        self.troubled: set[str] = set()
        self.certificates: dict[str, float] = {}
        """When each ends, in Unix seconds, by its name in `fleet.web.views.due`."""
        self.secret_ages: tuple[SecretAge, ...] = ()
        """Of the server's secrets: names and times, and no value."""
        self.events: deque[EventMessage] = deque(maxlen=_EVENTS)
        """What the operator told Kubernetes, the newest last."""
        self.revisions: dict[str, tuple[RevisionSummary, ...]] = {}
        """The revisions of each deployment that the operator keeps, the newest first."""
        self.online = 0
        self.version = 1
        self.complete = False
        self._listed: set[str] = set()
        self.versions = ObjectVersions()
        self._listeners: set[Listener] = set()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called after every change, which must not wait; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def workloads(self, name: str) -> Sequence[WorkloadStatus]:
        """What a device said last of its workloads."""
        said = self.reported.get(name)
        if said is not None:
            return said
        device = self.devices.get(name)
        return device.status.workloads if device else ()

    def info(self, name: str) -> DeviceInfo | None:
        """What a device said last of itself."""
        device = self.devices.get(name)
        return self.infos.get(name) or (device.status.info if device else None)

    def changed_since(self, version: int) -> tuple[list[str], list[str]]:
        """The names of devices whose rows changed after a version, and of those that went."""
        return self.versions.since(version, self.summaries)

    def rows(self, names: Iterable[str]) -> list[Row]:
        """The rows of those devices that are there."""
        return [self.summaries[name].row for name in names if name in self.summaries]

    def set_certificate_expiry(self, name: str, ends: float) -> None:
        """When a certificate ends, in Unix seconds; the screen is made anew, for time has passed."""
        self.certificates[name] = ends
        self._notify()

    def add_event(self, event: EventMessage) -> None:
        """The operator told Kubernetes of an event."""
        self.events.append(event)
        if event.kind == "FleetDeployment":
            self._deployment_changed(event.name)
        self._notify(event.name if event.kind == "Device" else "")

    def set_revisions(self, message: RevisionsMessage) -> None:
        """The operator keeps these revisions of a deployment."""
        if message.revisions:
            self.revisions[message.deployment] = message.revisions
        else:
            self.revisions.pop(message.deployment, None)
        self._deployment_changed(message.deployment)
        self._notify("")

    # What Kubernetes tells: `cluster.ObjectSink`.

    def replace_objects(self, kind: str, items: Sequence[bytes]) -> None:
        """All objects of a kind. After the first list, it tells of what changed while nothing was heard."""
        self.sources.record_activity(KUBERNETES)
        again = kind in self._listed
        names = {self._apply(kind, data, again=again, live=False) for data in items}
        for name in self._names(kind) - names:
            self._remove(kind, name)
        self._listed.add(kind)
        self.complete = len(self._listed) == 2
        self._notify()

    def apply_change(self, kind: str, data: bytes, *, deleted: bool) -> None:
        """One object that changed."""
        self.sources.record_activity(KUBERNETES)
        if not deleted:
            name = self._apply(kind, data, again=True, live=True)
        elif name := name_of(data):
            self._remove(kind, name)
        if kind == "FleetDeployment":
            self._deployment_changed(name)
        self._notify(name if kind == "Device" else "")

    def _deployment_changed(self, name: str) -> None:
        if name in self.deployments or name in self.unreadable["FleetDeployment"]:
            self.versions.deployment_changed(name, self.version + 1)
        else:
            self.versions.deployment_gone(name, self.version + 1)

    def _names(self, kind: str) -> set[str]:
        return {*(self.summaries if kind == "Device" else self.deployments), *self.unreadable[kind]}

    def _apply(self, kind: str, data: bytes, *, again: bool, live: bool) -> str:
        """Keep an object, and say what changed if it was read `again`; returns its name, empty where it has none."""
        name = name_of(data)
        if not name:
            return ""
        before = self.unreadable[kind].pop(name, None)
        try:
            if kind == "Device":
                device = parse(data, Device)
                news = device_changes(before or self.devices.get(name), device)
                self._put_device(device)
            else:
                item = parse_deployment(data)
                news = deployment_changes(before or self.deployments.get(name), item)
                self.deployments[name] = item
        except InvalidInput as error:
            news = self._put_unreadable(kind, name, error.what, before)
        for line in news if again else ():
            at = None if live else unix_seconds(line.time)
            self._add_line(kind, name, line.text, self.now() if at is None else min(at, self.now()))
        return name

    def _put_unreadable(self, kind: str, name: str, why: str, before: Unreadable | None) -> list[Change]:
        """An object that is there and cannot be read is shown by its name; what was read of it before is not so."""
        since = before.since if before else timestamp(self.now())
        found = self.unreadable[kind][name] = Unreadable(name, one_line(why), since)
        if kind == "Device":
            self._forget_device(name)
            self._set_summary(name, unreadable_summary(found))
        else:
            self.deployments.pop(name, None)
        return [] if before is not None and before.why == found.why else [Change(f"cannot be read: {why}")]

    def _remove(self, kind: str, name: str) -> None:
        """An object is not there any more."""
        self.unreadable[kind].pop(name, None)
        if kind == "Device":
            self._forget_device(name)
            self._count_online(self.summaries.pop(name, None), -1)
            self.troubled.discard(name)
            self.versions.row_gone(name, self.version + 1)
        else:
            self.deployments.pop(name, None)
        self._add_line(kind, name, "deleted", self.now())
        self.tail.forget(name)

    def _add_line(self, kind: str, name: str, text: str, at: float) -> None:
        if kind == "Device":
            self.tail.add(at, kind, name, text)
        else:
            self.tail.add(at, kind, "", f"{name} {text}")

    # What NATS tells.

    def update_info(self, name: str, info: DeviceInfo) -> None:
        """What a device says of itself."""
        self.sources.record_activity(NATS)
        upgrade = f", upgrade {info.upgrade.phase.value}" if info.upgrade else ""
        self.tail.add(self.now(), "device-info", name, f"agent {info.agent_version}, engine {info.engine}{upgrade}")
        if name in self.devices:
            self.infos[name] = info
            self._summarize(name)
        self._notify(name)

    def update_states(self, name: str, states: DeviceStates) -> None:
        """What a device says of its deployments."""
        self.sources.record_activity(NATS)
        before = {workload.name: workload for workload in self.workloads(name)}
        found: list[WorkloadStatus] = []
        unreadable: list[str] = []
        for deployment, raw in states.states.items():
            try:
                state = read_state(deployment, raw)
            except InvalidInput as error:
                unreadable.append(f"{deployment}: {error.what}")
                continue
            told = as_told(deployment, state)
            known = before.get(deployment)
            found.append(with_since(told, known, self.now()))
            if known is None or comparable_state(known) != comparable_state(told):
                self.tail.add(self.now(), "device-state", name, state_text(told))
        for gone in before.keys() - states.states.keys():
            self.tail.add(self.now(), "device-state", name, f"{gone} is gone")
        if unreadable:  # one line, however many a device writes: they may be made up
            number = f"{len(unreadable)} entries cannot be read, the first is " if len(unreadable) > 1 else ""
            self.tail.add(self.now(), "device-state", name, f"{number}{unreadable[0]}")
        if name in self.devices:
            self.reported[name] = tuple(found)
            self._summarize(name)
        self._notify(name)

    def add_invalid_message(self, source: str, name: str, why: str) -> None:
        """Something that cannot be read."""
        self.sources.record_activity(NATS)
        self.tail.add(self.now(), source, name, f"cannot be read: {why}")
        self._notify(name)

    def discard_reports(self) -> None:
        """Something may have been missed: what Kubernetes says counts again."""
        names = [*self.reported, *self.infos]
        self.reported.clear()
        self.infos.clear()
        for name in names:
            self._summarize(name)
        self._notify()

    def _put_device(self, device: Device) -> None:
        name = device.metadata.name
        self.devices[name] = device
        said = self.reported.get(name)
        if said is not None and list(map(full_state, said)) == list(map(full_state, device.status.workloads)):
            del self.reported[name]  # the operator has heard the same, and knows since when
        self._summarize(name)

    def _forget_device(self, name: str) -> None:
        for known in (self.devices, self.reported, self.infos):
            known.pop(name, None)

    def _summarize(self, name: str) -> None:
        device = self.devices.get(name)
        if device is None:
            return
        info = self.infos.get(name)
        if info is not None:
            device = msgspec.structs.replace(device, status=msgspec.structs.replace(device.status, info=info))
        self._set_summary(name, summary(device, self.workloads(name)))

    def _set_summary(self, name: str, after: Summary) -> None:
        before = self.summaries.get(name)
        if before == after:
            return
        self._count_online(before, -1)
        self._count_online(after, 1)
        self.summaries[name] = after
        (self.troubled.add if after.troubles else self.troubled.discard)(name)
        if before is None or before.row != after.row:
            self.versions.row_changed(name, self.version + 1)

    def _count_online(self, one: Summary | None, by: int) -> None:
        self.online += by if one is not None and one.row.online == "yes" else 0

    def _add_gap(self, gap: Gap) -> None:
        self.tail.add(gap.until, gap.source, "", gap.text)

    def _notify(self, device: str | None = None) -> None:
        """Something changed: of one device, of none (empty), or of any."""
        self.version += 1
        self.versions.changed(self.version, device)
        for listener in tuple(self._listeners):
            listener()
