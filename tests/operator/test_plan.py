"""What is decided of the changes alone is what is decided of everything."""

from __future__ import annotations

from typing import TypeVar
from unittest import mock

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from fleet.contract.config import UpgradeRules
from fleet.contract.labels import carried_over
from fleet.contract.names import AgentVersion, DeviceId, Digest
from fleet.contract.objects import (
    FINALIZER,
    DeploymentSpec,
    DeploymentStatus,
    Device,
    DeviceSpec,
    FleetDeployment,
    Metadata,
    Selector,
    Strategy,
    StrategyType,
)
from fleet.contract.sealed import FromSecret
from fleet.contract.upgrade import UpgradePhase, UpgradeReason, UpgradeStatus
from fleet.contract.volumes import VolumeOrder, VolumeOutcome
from fleet.contract.wire import (
    AgentLease,
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
from fleet.operator.act.pace import essence
from fleet.operator.plan.planner import Plan, Planner
from fleet.operator.reconcile import Action, reconcile
from fleet.operator.reconcile.actions import (
    AddFinalizer,
    CarryLabels,
    ClearVolumeOrders,
    DeleteDesired,
    DeleteIdentity,
    DeleteStates,
    Kick,
    Kind,
    PatchDeploymentStatus,
    PatchDeviceStatus,
    Purge,
    RemoveFinalizer,
    WriteDesired,
    WriteIdentity,
    WriteIndex,
    WriteTarget,
)
from fleet.operator.reconcile.quarantine import quarantined
from fleet.operator.reconcile.secrets import SecretProblem, SecretSeen
from fleet.operator.reconcile.snapshot import Unparsed, live
from fleet.operator.reconcile.volumes import over
from fleet.operator.store import Store
from fleet.operator.upgrade.view import Artifact
from tests.operator.model import filled, relabelled_as, without_orders

K = TypeVar("K", Device, FleetDeployment, Unparsed)

NAMES = st.sampled_from(("pi-1", "pi-2", "pi-3", "pi-4", "vm-1"))
APPS = st.sampled_from(("web", "db", "log"))
SUBJECTS = st.sampled_from(("", "sub-1", "sub-2", "sub-3", "sub-4"))
LABELS = st.sampled_from(({}, {"site": "lab"}, {"site": "home"}, {"site": "lab", "ring": "1"}))
STRATEGIES = st.sampled_from(
    (Strategy(), Strategy(StrategyType.ROLLING, 1), Strategy(StrategyType.ROLLING, 2)),
)
VERSIONS = tuple(AgentVersion(text) for text in ("v1.0.0", "v1.1.0"))
VERSION = st.sampled_from(VERSIONS)
ARTIFACTS = (Artifact(Digest("sha256:" + "a" * 64), 1), Artifact(Digest("sha256:" + "b" * 64), 1))
RULES = UpgradeRules(at_once=1, abort_after=2, soak=5, grant=60)
CREATED = st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"))
BOOTS = st.sampled_from(("boot-1", "boot-2"))
TAKES = st.sampled_from(({}, {"A": FromSecret("a", "k")}, {"A": FromSecret("a", "k"), "B": FromSecret("b", "k")}))
KEYS = st.sampled_from(("", "A" * 43 + "=", "B" * 43 + "="))
ORDERS = tuple(VolumeOrder("web", name, "1f", order) for name, order in (("data", "a1"), ("cache", "b2")))
OUTCOMES = tuple(VolumeOutcome(one.order, "Removed") for one in ORDERS)
AGENTS = st.sampled_from(("agent-1", "agent-2"))


class Clock:
    """The store's clocks, moved by the test."""

    def __init__(self) -> None:
        self.at = 1000.0

    def monotonic(self) -> float:
        return self.at

    def time(self) -> float:
        return 1_800_000_000 + self.at


def raised(_kind: str, _name: str, error: Exception) -> None:
    raise error


class Machine(RuleBasedStateMachine):
    """An operator that hears of everything that can happen, and decides of it bit by bit."""

    limit = 1_000_000

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.patched = mock.patch("fleet.operator.store.time", self.clock)
        self.patched.start()
        self.store = Store(3, RULES)
        self.planner = Planner(self.store.changes, self.limit)
        self.pending: dict[tuple[Kind, str], Action] = {}
        self.kicks: dict[str, Kick] = {}
        self.versions = 0
        for version in VERSIONS:
            self.store.put_published(version, ARTIFACTS[0])
        for number, name in enumerate(("pi-1", "pi-2", "pi-3")):
            self.create_device(name, f"sub-{number}", {"site": "lab"}, "2026-01-01T00:00:00Z")
            self._put_device(_held(self.store.devices.items[name]))
        self.deploy("web", "a", {"site": "lab"}, Strategy(StrategyType.ROLLING, 1))
        self._put_deployment(_held(self.store.deployments.items["web"]))

    def teardown(self) -> None:
        self.patched.stop()

    # What people do.

    @rule(name=NAMES, subject=SUBJECTS, labels=LABELS, created=CREATED)
    def create_device(self, name: str, subject: str, labels: dict[str, str], created: str) -> None:
        if name not in self.store.devices.items:
            meta = Metadata(name, "fleet", f"uid-{self.versions}", generation=1, creation_timestamp=created)
            self._put_device(Device(meta, DeviceSpec(subject=subject, labels=labels)))

    @rule(name=NAMES, data=st.data())
    def edit_device(self, name: str, data: st.DataObject) -> None:
        if device := self.store.devices.items.get(name):
            change = data.draw(
                st.one_of(
                    st.fixed_dictionaries({"subject": SUBJECTS}),
                    st.fixed_dictionaries({"labels": LABELS}),
                    st.fixed_dictionaries({"metadata_labels": LABELS}),
                    st.fixed_dictionaries({"revoked": st.booleans()}),
                    st.fixed_dictionaries({"cordoned": st.booleans()}),
                    st.fixed_dictionaries(
                        {"agent_version": st.sampled_from(("", *map(str, VERSIONS))), "agent_order": st.integers(0, 1)}
                    ),
                    st.fixed_dictionaries({"released": st.integers(0, 2)}),
                    st.fixed_dictionaries({"agent_versions_kept": st.sampled_from((None, 2))}),
                    st.fixed_dictionaries({"remove_volumes": st.sampled_from(((), ORDERS[:1], ORDERS))}),
                )
            )
            if "metadata_labels" in change:
                meta = msgspec.structs.replace(device.metadata, labels=change["metadata_labels"])
                self._put_device(msgspec.structs.replace(device, metadata=meta))
                return
            spec = msgspec.structs.replace(device.spec, **change)
            self._put_device(msgspec.structs.replace(device, spec=spec, metadata=_next(device.metadata)))

    @rule(name=NAMES)
    def delete_device(self, name: str) -> None:
        if device := self.store.devices.items.get(name):
            if FINALIZER in device.metadata.finalizers:
                self._put_device(_deleting(device))
            else:
                self._vanish("Device", name)

    @rule(app=APPS, image=st.sampled_from("ab"), select=LABELS, strategy=STRATEGIES, paused=st.booleans(), takes=TAKES)
    def deploy(
        self,
        app: str,
        image: str,
        select: dict[str, str],
        strategy: Strategy,
        paused: bool = False,
        takes: dict[str, FromSecret] | None = None,
    ) -> None:
        spec = DeploymentSpec(Container(image, secret_env=takes or {}), Selector(select), strategy, paused)
        known = self.store.deployments.items.get(app)
        if known is None:
            self._put_deployment(FleetDeployment(Metadata(app, "fleet", f"uid-{self.versions}", generation=1), spec))
        else:
            self._put_deployment(msgspec.structs.replace(known, spec=spec, metadata=_next(known.metadata)))

    @rule(app=APPS)
    def delete_deployment(self, app: str) -> None:
        if deployment := self.store.deployments.items.get(app):
            if FINALIZER in deployment.metadata.finalizers:
                self._put_deployment(_deleting(deployment))
            else:
                self._vanish("FleetDeployment", app)

    @rule(kind=st.sampled_from(("Device", "FleetDeployment")), name=st.one_of(NAMES, APPS), why=st.sampled_from("ab"))
    def becomes_unreadable(self, kind: Kind, name: str, why: str) -> None:
        """Somebody wrote what does not parse."""
        known = (self.store.devices if kind == "Device" else self.store.deployments).items.get(name)
        meta = known.metadata if known else Metadata(name, "fleet", "uid", generation=1)
        status = known.status if isinstance(known, FleetDeployment) else DeploymentStatus()
        self.store.unparsed[kind].put(self._newer(Unparsed(meta, why, status)))
        self._vanish(kind, name)

    @rule(kind=st.sampled_from(("Device", "FleetDeployment")), name=st.one_of(NAMES, APPS))
    def becomes_readable(self, kind: Kind, name: str) -> None:
        self.versions += 1
        self.store.unparsed[kind].remove(name, self.versions)

    @rule(version=VERSION, artifact=st.sampled_from((None, *ARTIFACTS)))
    def publish(self, version: AgentVersion, artifact: Artifact | None) -> None:
        self.store.put_published(version, artifact)

    # What devices do, and whoever writes in their names.

    @rule(name=NAMES, agent=AGENTS, boot=BOOTS, interval=st.sampled_from((1.0, 10.0)), generation=st.integers(0, 2))
    def beat(self, name: str, agent: str, boot: str, interval: float, generation: int) -> None:
        version = VERSIONS[generation % 2]
        self.store.put_heartbeat(name, Heartbeat(version, agent, boot, 1, interval, generation), 0, 0)

    @rule(name=st.sampled_from("ab"), version=st.integers(1, 2), what=st.sampled_from(("there", "gone", "no key")))
    def secret_changes(self, name: str, version: int, what: str) -> None:
        seen = SecretSeen("uid", str(version), "Opaque", True, {"k": b"v"} if what == "there" else {})
        self.store.secrets.put(name, SecretProblem("SecretMissing", name) if what == "gone" else seen)

    @rule(name=NAMES)
    def beat_is_deleted(self, name: str) -> None:
        self.store.forget_heartbeat(name)

    @rule(
        name=NAMES,
        app=APPS,
        phase=st.sampled_from((Phase.RUNNING, Phase.FAILED, Phase.PENDING)),
        late=st.integers(0, 1),
        text=st.sampled_from("ab"),
    )
    def report(self, name: str, app: str, phase: Phase, late: int, text: str) -> None:
        generation = self.store.indexes.get(name, DesiredIndex()).deployments.get(app, 1)
        told = self.store.desired.get(name, {}).get(app)
        state = DeviceState(max(0, generation - late), phase, Reason.STARTED, text)
        secrets = told.edition[1] if told and not late else ""
        self.store.put_state(name, app, msgspec.structs.replace(state, secrets=secrets))

    @rule(name=NAMES, app=APPS)
    def report_is_deleted(self, name: str, app: str) -> None:
        self.store.put_state(name, app, None)

    @rule(
        name=NAMES,
        phase=st.sampled_from(UpgradePhase),
        bad=st.booleans(),
        late=st.integers(0, 1),
        key=KEYS,
        outcomes=st.integers(0, 2),
    )
    def inform(self, name: str, phase: UpgradePhase, bad: bool, late: int, key: str = "", outcomes: int = 0) -> None:
        target = self.store.targets.get(name)
        reason = UpgradeReason.NO_SPACE if bad else UpgradeReason.IN_PROGRESS
        status = UpgradeStatus(max(0, target.generation - late), phase, reason) if target else None
        info = DeviceInfo(VERSIONS[0], "arm64", "Debian", "6.1", 1, 1, "boot-1", upgrade=status, sealing_key=key)
        info = msgspec.structs.replace(info, volume_outcomes=OUTCOMES[:outcomes])
        self.store.put_info(name, info)

    @rule(name=NAMES, version=VERSION, what=st.integers(0, 3))
    def upgrade(self, name: str, version: AgentVersion, what: int) -> None:
        """A device goes through an upgrade, a step at a time: it is ordered, waits, hands over, soaks."""
        device, target = self.store.devices.items.get(name), self.store.targets.get(name)
        if device and (target is None or what == 0):
            spec = msgspec.structs.replace(device.spec, agent_version=str(version))
            self._put_device(msgspec.structs.replace(device, spec=spec, metadata=_next(device.metadata)))
        elif target is not None and not target.granted:
            self.beat(name, "agent-1", "boot-1", 10.0, 0)
            self.inform(name, UpgradePhase.SELF_TESTED, bad=False, late=0)
        elif target is not None:
            beat = Heartbeat(target.version, "agent-2", "boot-1", 1, 10.0, target.generation)
            self.store.put_heartbeat(name, beat, 0, 0)
            self._settle()
            self.lease(name, "agent-1" if what == 1 else "agent-2", "boot-1")
        self._settle()

    @rule(name=NAMES)
    def info_is_refused(self, name: str) -> None:
        if info := self.store.infos.get(name):
            self.store.refuse_info(name, info, "too large")

    @rule(name=NAMES, agent=st.one_of(st.none(), AGENTS), boot=BOOTS)
    def lease(self, name: str, agent: str | None, boot: str) -> None:
        self.store.put_lease(name, AgentLease(agent, 1, 0, boot) if agent is not None else None)

    @rule(name=NAMES, app=APPS, what=st.integers(0, 4), subject=SUBJECTS)
    def spoil(self, name: str, app: str, what: int, subject: str) -> None:
        """Somebody writes into, or deletes from, the operator's own keys."""
        match what:
            case 0:
                self.store.put_index(name, None)
            case 1:
                self.store.put_index(name, DesiredIndex({app: 1}))
            case 2:
                self.store.put_desired(name, app, None)
            case 3:
                self.store.put_desired(name, app, Desired(1, Container("ghost")))
            case _:
                self.store.put_target(name, None)
        if subject and what == 0:
            self.store.put_identity(subject, Identity(DeviceId(name), IdentityState.ACTIVE))

    @rule(name=NAMES)
    def flood(self, name: str) -> None:
        device = self.store.devices.items.get(name)
        known = self.store.identities.get(device.spec.subject) if device else None
        if device and known and known.device == name and not self.store.is_barred(name):
            self.store.put_identity(device.spec.subject, quarantined(known, device, "it floods", self.clock.time()))

    # The world between.

    @rule(hears=st.booleans())
    def connectivity(self, hears: bool) -> None:
        self.store.connectivity.devices(hears)

    @rule(name=NAMES, ended=st.booleans())
    def drop_is_over(self, name: str, ended: bool) -> None:
        if kick := self.kicks.pop(name, None):
            if ended:
                self.store.sessions_gone(name, kick.denied)
            self.store.changes.device(name)

    @rule(name=NAMES)
    def session_begins(self, name: str) -> None:
        if self.store.is_barred(name):
            self.store.session_begun(name)

    @rule(seconds=st.sampled_from((0.5, 1.0, 5.0, 31.0, 61.0, 86_401.0)))
    def wait(self, seconds: float) -> None:
        self.clock.at += seconds

    @rule(count=st.integers(1, 5))
    def write_objects(self, count: int) -> None:
        for key in list(self.pending)[:count]:
            self._write(self.pending.pop(key))

    # The operator.

    @rule()
    def decide(self) -> None:
        self._settle()

    @rule(carried_out=st.integers(0, 5))
    def fail(self, carried_out: int) -> None:
        """NATS does not answer in the middle of a pass."""
        plan = self._plan()
        for action in plan.actions[:carried_out]:
            self._carry_out(action)
        self.planner.again(plan)

    @rule()
    def begin_anew(self) -> None:
        self.planner.begin_anew()

    def _settle(self) -> None:
        """Pass after pass until nothing is left; then everything that is to be done is on its way already."""
        for _ in range(60):
            plan = self._plan()
            for action in plan.actions:
                self._carry_out(action)
            self._want(plan)
            if not plan.more and not self.store.changes:
                break
        else:
            raise AssertionError("it never comes to an end")
        everything = reconcile(self.store.snapshot())
        assert {one.device for one in everything if isinstance(one, Kick)} <= self.kicks.keys()
        others = {str(_essence(action)) for action in everything if not isinstance(action, Kick)}
        assert others == {str(_essence(action)) for action in self.pending.values()}

    def _plan(self) -> Plan:
        return self.planner.plan(self.store.snapshot(), raised)

    def _want(self, plan: Plan) -> None:
        for key in plan.decided:
            self.pending.pop(key, None)
        for action in plan.actions:
            if key := _object(action):
                assert key in plan.decided
                self.pending[key] = action
            if isinstance(action, RemoveFinalizer):
                alive = [name for name, device in self.store.devices.items.items() if live(device)]
                told = {
                    app for name in alive if name in self.store.indexes for app in self.store.indexes[name].deployments
                }
                assert action.name not in told, "its last key goes first"

    def _carry_out(self, action: Action) -> None:
        store = self.store
        match action:
            case WriteIdentity(subject, identity):
                store.put_identity(subject, identity)
            case DeleteIdentity(subject):
                store.put_identity(subject, None)
            case Kick(device):
                self.kicks.setdefault(device, action)
            case WriteDesired(device, deployment, desired):
                store.put_desired(device, deployment, filled(desired))
            case WriteIndex(device, index):
                store.put_index(device, index)
            case DeleteDesired(device, deployment):
                assert deployment not in store.indexes[device].deployments, "index first"
                store.put_desired(device, deployment, None)
            case DeleteStates(device, deployments):
                known = store.states[device]
                store.put_states(device, {name: one for name, one in known.items() if name not in deployments})
            case WriteTarget(device, target, over):
                assert store.targets.get(device) == over
                store.put_target(device, target)
            case Purge(device):
                store.forget_device(device)
            case _:
                pass

    def _write(self, action: Action) -> None:  # noqa: C901 - one case for each action
        store = self.store
        match action:
            case AddFinalizer("Device", name) if name in store.devices.items:
                self._put_device(_held(store.devices.items[name]))
            case AddFinalizer("FleetDeployment", name) if name in store.deployments.items:
                self._put_deployment(_held(store.deployments.items[name]))
            case RemoveFinalizer("Device", name):
                self._vanish("Device", name)
            case RemoveFinalizer("FleetDeployment", name):
                self._vanish("FleetDeployment", name)
            case PatchDeviceStatus(name, status) if name in store.devices.items:
                before = store.devices.items[name]
                written = msgspec.structs.replace(before, status=status)
                store.devices.put(self._newer(written), decided=not (carried_over(written) or over(written)))
            case ClearVolumeOrders(name) if name in store.devices.items:
                device = store.devices.items[name]
                if over(device):
                    self._put_device(without_orders(device))
            case CarryLabels(name) if name in store.devices.items:
                device = store.devices.items[name]
                if change := carried_over(device):
                    self._put_device(relabelled_as(device, change))
            case PatchDeploymentStatus(name, status) if name in store.deployments.items:
                there = msgspec.structs.replace(store.deployments.items[name], status=status)
                store.deployments.put(self._newer(there), decided=True)
            case PatchDeploymentStatus(name, status) if name in store.unparsed["FleetDeployment"].items:
                refused = store.unparsed["FleetDeployment"].items[name]
                written = msgspec.structs.replace(refused, status=status)
                store.unparsed["FleetDeployment"].put(self._newer(written), decided=True)
            case _:
                pass

    def _put_device(self, device: Device) -> None:
        self.store.devices.put(self._newer(device))
        self.store.unparsed["Device"].remove(device.metadata.name, self.versions)

    def _put_deployment(self, deployment: FleetDeployment) -> None:
        self.store.deployments.put(self._newer(deployment))
        self.store.unparsed["FleetDeployment"].remove(deployment.metadata.name, self.versions)

    def _newer(self, item: K) -> K:
        self.versions += 1
        meta = msgspec.structs.replace(item.metadata, resource_version=str(self.versions))
        return msgspec.structs.replace(item, metadata=meta)

    def _vanish(self, kind: Kind, name: str) -> None:
        self.versions += 1
        cache = self.store.devices if kind == "Device" else self.store.deployments
        cache.remove(name, self.versions)


class InSlices(Machine):
    """The same, two devices at a time."""

    limit = 2


TestPlan = Machine.TestCase
TestPlan.settings = settings(max_examples=40, stateful_step_count=40)
TestPlanInSlices = InSlices.TestCase
TestPlanInSlices.settings = settings(max_examples=40, stateful_step_count=40)


def _essence(action: Action) -> object:
    return essence(action) if isinstance(action, PatchDeviceStatus | PatchDeploymentStatus) else action


def _object(action: Action) -> tuple[Kind, str] | None:
    match action:
        case AddFinalizer(kind, name) | RemoveFinalizer(kind, name):
            return kind, name
        case PatchDeviceStatus(name) | CarryLabels(name) | ClearVolumeOrders(name):
            return "Device", name
        case PatchDeploymentStatus(name):
            return "FleetDeployment", name
        case _:
            return None


def _next(meta: Metadata) -> Metadata:
    return msgspec.structs.replace(meta, generation=meta.generation + 1)


def _held(item: K) -> K:
    return msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, finalizers=(FINALIZER,)))


def _deleting(item: K) -> K:
    deletion = msgspec.structs.replace(item.metadata, deletion_timestamp="2026-02-01T00:00:00Z")
    return msgspec.structs.replace(item, metadata=deletion)
