"""Everything the page knows, and who is told that some of it changed.

Kubernetes says what the operator knows; NATS says it sooner. What a device said over NATS is shown in the place of what
its status holds until Kubernetes' next word about that device is newer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
import structlog

from fleet.contract.config import SecretAge
from fleet.contract.errors import InvalidInput
from fleet.contract.objects import Device, WorkloadStatus
from fleet.contract.states import DeviceStates, read_state
from fleet.contract.wire import DeviceInfo
from fleet.operator.objects import parse
from fleet.operator.reconcile.workloads import as_told
from fleet.web.messages import EventMessage, RevisionsMessage, RevisionSummary
from fleet.web.seen import Deployment, condition, parse_deployment
from fleet.web.source import Sources
from fleet.web.tail import Tail
from fleet.web.views.row import Row, Summary, summary

log = structlog.get_logger()

_EVENTS = 2_000
"""Events that are kept, of all objects."""

Listener = Callable[[], None]
T = TypeVar("T")


class Store:
    """What is known of devices and deployments. `version` grows with every change; nothing here is ever written out."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        """Nothing is known yet. `now` is in Unix seconds."""
        self.now = now
        self.sources = Sources(now, self._bump)
        self.tail = Tail()
        self.devices: dict[str, Device] = {}
        self.deployments: dict[str, Deployment] = {}
        self.infos: dict[str, DeviceInfo] = {}
        self.said: dict[str, tuple[WorkloadStatus, ...]] = {}
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
        self.seen_since = now()
        """Since when the changes in `tail` are all that there were, as far as it keeps them."""
        self.online = 0
        self.version = 1
        self.complete = False
        self._listed: set[str] = set()
        self._row_versions: dict[str, int] = {}
        self._listeners: set[Listener] = set()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called after every change, which must not wait; returns what ends that."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def workloads(self, name: str) -> Sequence[WorkloadStatus]:
        """What a device said last of its workloads."""
        said = self.said.get(name)
        if said is not None:
            return said
        device = self.devices.get(name)
        return device.status.workloads if device else ()

    def info(self, name: str) -> DeviceInfo | None:
        """What a device said last of itself."""
        device = self.devices.get(name)
        return self.infos.get(name) or (device.status.info if device else None)

    def rows_since(self, version: int) -> tuple[list[Row], list[str]]:
        """The rows that changed after a version, and the names of devices that went."""
        changed: list[str] = []
        for name, moved in reversed(self._row_versions.items()):
            if moved <= version:
                break
            changed.append(name)
        rows = [self.summaries[name].row for name in changed if name in self.summaries]
        return rows, [name for name in changed if name not in self.summaries]

    def certificate(self, name: str, ends: float) -> None:
        """When a certificate ends, in Unix seconds; the screen is made anew, for time has passed."""
        self.certificates[name] = ends
        self._bump()

    def happened(self, event: EventMessage) -> None:
        """The operator told Kubernetes of an event."""
        self.events.append(event)
        self._bump()

    def keeps(self, told: RevisionsMessage) -> None:
        """The operator keeps these revisions of a deployment."""
        if told.revisions:
            self.revisions[told.deployment] = told.revisions
        else:
            self.revisions.pop(told.deployment, None)
        self._bump()

    # What Kubernetes tells: `cluster.Taker`.

    def listed(self, kind: str, items: Sequence[bytes]) -> None:
        """All objects of a kind."""
        if kind == "Device":
            found = {one.metadata.name: one for one in _readable(items, lambda data: parse(data, Device))}
            for name in self.devices.keys() - found.keys():
                self._drop_device(name)
            for device in found.values():
                self._put_device(device)
        else:
            deployments = _readable(items, parse_deployment)
            self.deployments = {one.metadata.name: one for one in deployments}
        self._listed.add(kind)
        self.complete = len(self._listed) == 2
        self._bump()

    def told(self, kind: str, data: bytes, *, deleted: bool) -> None:
        """One object that changed."""
        if kind == "Device":
            for device in _readable((data,), lambda one: parse(one, Device)):
                self._device_told(device, deleted=deleted)
        else:
            for deployment in _readable((data,), parse_deployment):
                self._deployment_told(deployment, deleted=deleted)
        self._bump()

    def _device_told(self, device: Device, *, deleted: bool) -> None:
        name, before = device.metadata.name, self.devices.get(device.metadata.name)
        if deleted:
            self._drop_device(name)
            self.tail.add(self.now(), "Device", name, "deleted")
            return
        self._put_device(device)
        for text in _device_news(before, device):
            self.tail.add(self.now(), "Device", name, text)

    def _deployment_told(self, item: Deployment, *, deleted: bool) -> None:
        name = item.metadata.name
        if deleted:
            self.deployments.pop(name, None)
            self.tail.add(self.now(), "FleetDeployment", "", f"{name} deleted")
            return
        self.deployments[name] = item
        ready = condition(item, "Ready")
        told = f"{ready.reason}: {ready.message}" if ready else "accepted"
        self.tail.add(
            self.now(), "FleetDeployment", "", f"{name} generation {item.metadata.generation} {told}".rstrip(": ")
        )

    # What NATS tells.

    def heard_info(self, name: str, info: DeviceInfo) -> None:
        """What a device says of itself."""
        upgrade = f", upgrade {info.upgrade.phase.value}" if info.upgrade else ""
        self.tail.add(self.now(), "device-info", name, f"agent {info.agent_version}, engine {info.engine}{upgrade}")
        if name in self.devices:
            self.infos[name] = info
            self._summarize(name)
        self._bump()

    def heard_states(self, name: str, states: DeviceStates) -> None:
        """What a device says of its deployments."""
        moment = datetime.fromtimestamp(self.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        before = {one.name: one for one in self.workloads(name)}
        found: list[WorkloadStatus] = []
        for deployment, raw in states.states.items():
            try:
                state = read_state(deployment, raw)
            except InvalidInput as error:
                self.tail.add(self.now(), "device-state", name, f"{deployment}: {error.what}")
                continue
            one = as_told(deployment, state)
            known = before.get(deployment)
            same = known is not None and _verdict(known) == _verdict(one)
            found.append(msgspec.structs.replace(one, since=known.since if known and same else moment))
            if not same:
                self.tail.add(self.now(), "device-state", name, _state_text(one))
        for gone in before.keys() - states.states.keys():
            self.tail.add(self.now(), "device-state", name, f"{gone} is gone")
        if name in self.devices:
            self.said[name] = tuple(found)
            self._summarize(name)
        self._bump()

    def heard_badly(self, source: str, name: str, why: str) -> None:
        """Something that cannot be read."""
        self.tail.add(self.now(), source, name, f"cannot be read: {why}")
        self._bump()

    def forget_said(self) -> None:
        """Something may have been missed: what Kubernetes says counts again."""
        names = [*self.said, *self.infos]
        self.said.clear()
        self.infos.clear()
        for name in names:
            self._summarize(name)
        self._bump()

    def _put_device(self, device: Device) -> None:
        name = device.metadata.name
        self.devices[name] = device
        said = self.said.get(name)
        if said is not None and list(map(_all_told, said)) == list(map(_all_told, device.status.workloads)):
            del self.said[name]  # the operator has heard the same, and knows since when
        self._summarize(name)

    def _drop_device(self, name: str) -> None:
        for known in (self.devices, self.said, self.infos):
            known.pop(name, None)
        self._count(self.summaries.pop(name, None), -1)
        self.troubled.discard(name)
        self._moved(name)

    def _summarize(self, name: str) -> None:
        device = self.devices.get(name)
        if device is None:
            return
        info = self.infos.get(name)
        if info is not None:
            device = msgspec.structs.replace(device, status=msgspec.structs.replace(device.status, info=info))
        before, after = self.summaries.get(name), summary(device, self.workloads(name))
        if before == after:
            return
        self._count(before, -1)
        self._count(after, 1)
        self.summaries[name] = after
        (self.troubled.add if after.troubles else self.troubled.discard)(name)
        if before is None or before.row != after.row:
            self._moved(name)

    def _moved(self, name: str) -> None:
        # The newest stands last, so that whoever asks what is new looks at nothing else.
        self._row_versions.pop(name, None)
        self._row_versions[name] = self.version + 1

    def _count(self, one: Summary | None, by: int) -> None:
        self.online += by if one is not None and one.row.online == "yes" else 0

    def _bump(self) -> None:
        self.version += 1
        for listener in tuple(self._listeners):
            listener()


def _readable(items: Iterable[bytes], read: Callable[[bytes], T]) -> Iterable[T]:
    """Those that parse; one that does not costs none of the others, and the operator names it."""
    for data in items:
        try:
            yield read(data)
        except InvalidInput as error:
            log.warning("an object is left out", why=error.what)


def _device_news(before: Device | None, after: Device) -> list[str]:
    """What to say of a device that changed: each condition that did."""
    if before is None:
        return ["created"]
    known = {one.type: (one.status, one.reason) for one in before.status.conditions}
    changed = [one for one in after.status.conditions if known.get(one.type) != (one.status, one.reason)]
    news = [f"{one.type} {one.status} ({one.reason}) {one.message}".rstrip() for one in changed]
    if before.spec != after.spec:
        news.append("what is wanted of it changed")
    return news


def _state_text(one: WorkloadStatus) -> str:
    return f"{one.name} {one.phase} ({one.reason}) generation {one.generation} {one.message}".rstrip()


def _verdict(one: WorkloadStatus) -> tuple[object, ...]:
    return one.name, one.generation, one.phase, one.reason, one.message


def _all_told(one: WorkloadStatus) -> tuple[object, ...]:
    """A verdict with the containers of a pod: a status has no room for those of many pods."""
    return *_verdict(one), one.containers
