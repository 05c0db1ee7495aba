"""A world in memory: what every action of the operator does to it, and what people and devices do."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from fleet.contract.labels import carried_over
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.objects import (
    FINALIZER,
    DeploymentSpec,
    Device,
    DeviceSpec,
    FleetDeployment,
    Metadata,
    Selector,
    Strategy,
)
from fleet.contract.volumes import VolumeOrder
from fleet.contract.wire import (
    AgentTarget,
    Container,
    Desired,
    DesiredIndex,
    DeviceInfo,
    DeviceState,
    Heartbeat,
    Identity,
    IdentityState,
    Phase,
    Reason,
)
from fleet.operator.reconcile import Action, Snapshot, reconcile
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    CarryLabels,
    ClearVolumeOrders,
    DeleteDesired,
    DeleteIdentity,
    DeleteStates,
    Kick,
    PatchDeploymentStatus,
    PatchDeviceStatus,
    Purge,
    RemoveFinalizer,
    WriteDesired,
    WriteIdentity,
    WriteIndex,
    WriteTarget,
)
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen
from fleet.operator.reconcile.snapshot import ReceivedHeartbeat
from fleet.operator.reconcile.volumes import over
from fleet.operator.upgrade.view import Artifact

K = TypeVar("K", Device, FleetDeployment)

INTERVAL = 10.0
INFO = DeviceInfo(AgentVersion("v0.1.0"), "arm64", "Debian 12", "6.1", 1, 1, "boot")


def metadata(name: str, *, generation: int = 1, created: str = "2026-01-01T00:00:00Z") -> Metadata:
    return Metadata(name, "fleet", f"uid-{name}", "1", generation, created)


@dataclass
class World:
    """Devices, deployments and buckets, and a clock that only tests move."""

    now: float = 1_800_000_000.0
    devices: dict[str, Device] = field(default_factory=dict[str, Device])
    deployments: dict[str, FleetDeployment] = field(default_factory=dict[str, FleetDeployment])
    indexes: dict[str, DesiredIndex] = field(default_factory=dict[str, DesiredIndex])
    desired: dict[str, dict[str, Desired]] = field(default_factory=dict[str, dict[str, Desired]])
    states: dict[str, dict[str, DeviceState]] = field(default_factory=dict[str, dict[str, DeviceState]])
    infos: dict[str, DeviceInfo] = field(default_factory=dict[str, DeviceInfo])
    heard: dict[str, ReceivedHeartbeat] = field(default_factory=dict[str, ReceivedHeartbeat])
    identities: dict[str, Identity] = field(default_factory=dict[str, Identity])
    dropped: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    targets: dict[str, AgentTarget] = field(default_factory=dict[str, AgentTarget])
    published: dict[AgentVersion, Artifact] = field(default_factory=dict[AgentVersion, Artifact])
    excused: dict[str, float] = field(default_factory=dict[str, float])
    silent_since: float = 0.0
    trust_bundle: tuple[str, ...] = ()
    secrets: dict[str, SecretSeen | SecretProblem] = field(default_factory=dict[str, "SecretSeen | SecretProblem"])
    clocks: dict[str, float] = field(default_factory=dict[str, float])
    dropping: dict[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    sessions: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    """Who is connected, by device and subject."""

    # What the operator sees and does.

    def snapshot(self) -> Snapshot:
        return Snapshot(
            now=self.now,
            clock=self.now,
            offline_after=3,
            devices=self.devices,
            deployments=self.deployments,
            indexes=self.indexes,
            desired=self.desired,
            states=self.states,
            infos=self.infos,
            heartbeats=self.heard,
            identities=self.identities,
            dropped=self.dropped,
            agent_heartbeats={name: {heard.heartbeat.instance_id: heard} for name, heard in self.heard.items()},
            targets=self.targets,
            published=self.published,
            excused=self.excused,
            silent_since=self.silent_since,
            clocks=self.clocks,
            trust_bundle=self.trust_bundle,
            secrets=self.secrets,
        )

    def plan(self) -> tuple[Action, ...]:
        return reconcile(self.snapshot())

    def step(self, cut: int | None = None) -> tuple[Action, ...]:
        """One pass, of which only the first `cut` actions are carried out; sessions end after it."""
        self._finish_drops()
        actions = self.plan()[:cut]
        for action in actions:
            self.apply(action)
        return actions

    def settle(self, passes: int = 12) -> list[Action]:
        """Pass after pass until nothing is left to do; all the actions."""
        done: list[Action] = []
        for _ in range(passes):
            actions = self.step()
            if not actions:
                return done
            done += actions
        raise AssertionError(f"still busy after {passes} passes: {self.plan()}")

    def apply(self, action: Action) -> None:  # noqa: C901, PLR0912 - one case for each action
        match action:
            case AddFinalizer("Device", name):
                self.devices[name] = _held(self.devices[name])
            case AddFinalizer(_, name):
                self.deployments[name] = _held(self.deployments[name])
            case CarryLabels(name):
                self.devices[name] = relabelled_as(self.devices[name], carried_over(self.devices[name]))
            case ClearVolumeOrders(name):
                self.devices[name] = without_orders(self.devices[name])
            case WriteIdentity(subject, identity):
                self.identities[subject] = identity
                if identity.state is IdentityState.ACTIVE:
                    self.dropped.pop(identity.device, None)
            case Kick(device, denied):
                for subject in denied:
                    denied_before = self.identities[subject]
                    assert denied_before.device == device, "its own"
                    assert denied_before.state is not IdentityState.ACTIVE, "deny first"
                self.dropping[device] = denied
            case WriteDesired(device, deployment, desired):
                self.desired.setdefault(device, {})[deployment] = filled(desired)
            case WriteIndex(device, index):
                missing = index.deployments.keys() - self.desired.get(device, {}).keys()
                assert not missing, f"the index of {device} names entries that are not there: {missing}"
                self.indexes[device] = index
            case DeleteDesired(device, deployment):
                named = self.indexes.get(device, DesiredIndex()).deployments
                assert deployment not in named, "index first"
                del self.desired[device][deployment]
            case DeleteStates(device, deployments):
                for deployment in deployments:
                    del self.states[device][deployment]
            case WriteTarget(device, target, over):
                assert self.targets.get(device) == over, "compare-and-set"
                self.targets[device] = target
            case DeleteIdentity(subject):
                del self.identities[subject]
                assert subject not in {used for _, used in self.sessions}, "no session may be left"
            case Purge(device):
                for known in (self.indexes, self.desired, self.states, self.infos, self.heard, self.dropped):
                    known.pop(device, None)
            case RemoveFinalizer("Device", name):
                del self.devices[name]
            case RemoveFinalizer(_, name):
                del self.deployments[name]
            case PatchDeviceStatus(name, status):
                self.devices[name] = msgspec.structs.replace(self.devices[name], status=status)
            case PatchDeploymentStatus(name, status):
                self.deployments[name] = msgspec.structs.replace(self.deployments[name], status=status)

    def restart(self) -> None:
        """The operator is killed, and remembers nothing."""
        self.dropped.clear()
        self.dropping.clear()

    def _finish_drops(self) -> None:
        for device, denied in self.dropping.items():
            states = {self.identities[subject].state for subject in denied if subject in self.identities}
            known = self.devices.get(device)
            banned = known is None or known.spec.revoked or known.metadata.deletion_timestamp is not None
            banned = banned or IdentityState.QUARANTINED in states
            gone = {one for one in self.sessions if one[0] == device and (banned or one[1] in denied)}
            if IdentityState.ACTIVE not in states:
                self.sessions -= gone
                self.dropped[device] = denied | self.dropped.get(device, frozenset())
        self.dropping.clear()

    # What people do.

    def add_device(self, name: str, *, subject: str = "", created: str = "2026-01-01T00:00:00Z", **labels: str) -> None:
        self.devices[name] = Device(metadata(name, created=created), DeviceSpec(subject=subject, labels=labels))

    def edit_device(self, name: str, **fields: object) -> None:
        device = self.devices[name]
        self.devices[name] = msgspec.structs.replace(
            device, spec=msgspec.structs.replace(device.spec, **fields), metadata=_next(device.metadata)
        )

    def deploy(
        self,
        name: str,
        image: str = "app:1",
        *,
        select: Mapping[str, str] | None = None,
        strategy: Strategy | None = None,
        paused: bool = False,
        container: Mapping[str, Any] | None = None,
    ) -> None:
        """Create a deployment, or change it."""
        workload = Container(image, **(container or {}))
        spec = DeploymentSpec(workload, Selector(dict(select or {})), strategy or Strategy(), paused)
        known = self.deployments.get(name)
        self.deployments[name] = (
            msgspec.structs.replace(known, spec=spec, metadata=_next(known.metadata))
            if known
            else FleetDeployment(metadata(name), spec)
        )

    def delete_device(self, name: str) -> None:
        self.devices[name] = _deleting(self.devices[name])

    def delete_deployment(self, name: str) -> None:
        self.deployments[name] = _deleting(self.deployments[name])

    # What devices do.

    def connect(self, device: str) -> None:
        """The device logs in with every subject that the registry lets in."""
        for subject, identity in self.identities.items():
            if identity.device == device and identity.admitted(self.now):
                self.sessions.add((device, subject))

    def beat(self, *devices: str) -> None:
        for device in devices:
            heartbeat = Heartbeat(AgentVersion("v0.1.0"), "instance", "boot", 1, INTERVAL)
            self.heard[device] = ReceivedHeartbeat(heartbeat, self.now)
            self.infos[device] = INFO

    def report(
        self, device: str, deployment: str, phase: Phase = Phase.RUNNING, reason: Reason | None = None, **more: object
    ) -> None:
        """The device did, or failed to do, what its keys say now."""
        reason = reason or (Reason.STARTED if phase is Phase.RUNNING else Reason.IMAGE_NOT_FOUND)
        generation, secrets = self.desired[device][deployment].edition
        state = DeviceState(generation, phase, reason, "no such image", secrets=secrets)
        self.states.setdefault(device, {})[deployment] = msgspec.structs.replace(state, **more)

    def report_all(self, devices: Iterable[str], deployment: str) -> None:
        for device in devices:
            if deployment in self.desired.get(device, {}):
                self.report(device, deployment)

    # What tests ask.

    def message(self, name: str, kind: str) -> str:
        """The message of a condition of a device or a deployment."""
        item = self.devices.get(name) or self.deployments[name]
        return next(condition.message for condition in item.status.conditions if condition.type == kind)

    def condition(self, name: str, kind: str) -> tuple[str, str]:
        """Status and reason of a condition of a device or a deployment."""
        item = self.devices.get(name) or self.deployments[name]
        found = next(condition for condition in item.status.conditions if condition.type == kind)
        return found.status, found.reason

    def runs(self, device: str) -> dict[str, int]:
        return dict(self.indexes[device].deployments)


_seals = itertools.count()


def filled(desired: Desired) -> Desired:
    """As it is written: each seal is another, also of the same contents."""
    if desired.sealed is None or desired.sealed.data:
        return desired
    data = f"seal {next(_seals)}".encode()
    return msgspec.structs.replace(desired, sealed=msgspec.structs.replace(desired.sealed, data=data))


def _held(item: K) -> K:
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, finalizers=(FINALIZER,)))


def _deleting(item: K) -> K:
    deletion = msgspec.structs.replace(item.metadata, deletion_timestamp="2026-02-01T00:00:00Z")
    return msgspec.structs.replace(item, metadata=deletion)


def without_orders(device: Device) -> Device:
    """The device after the merge patch that takes out the orders that are over."""
    change = over(device)
    assert change
    left = msgspec.convert(change["spec"]["removeVolumes"] or (), tuple[VolumeOrder, ...])
    meta = msgspec.structs.replace(
        _next(device.metadata), annotations={**device.metadata.annotations, **change["metadata"]["annotations"]}
    )
    spec = msgspec.structs.replace(device.spec, remove_volumes=left)
    return msgspec.structs.replace(device, spec=spec, metadata=meta)


def relabelled_as(device: Device, change: Mapping[str, Mapping[str, str | None]]) -> Device:
    """The device after a merge patch of its metadata."""
    assert change
    meta = device.metadata
    merged = {
        field: {key: value for key, value in {**getattr(meta, field), **one}.items() if value is not None}
        for field, one in change.items()
    }
    return msgspec.structs.replace(device, metadata=msgspec.structs.replace(meta, **merged))


def _next(meta: Metadata) -> Metadata:
    return msgspec.structs.replace(meta, generation=meta.generation + 1)


def identity(device: str, state: IdentityState = IdentityState.ACTIVE) -> Identity:
    return Identity(DeviceId(device), state)


def fleet(*names: str) -> World:
    """Enrolled devices that are online."""
    world = World()
    for name in names:
        world.add_device(name, subject=f"sub-{name}", site="lab")
    world.settle()
    world.beat(*names)
    world.settle()
    return world
