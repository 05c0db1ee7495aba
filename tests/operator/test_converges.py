"""Whatever people and devices do, and wherever the operator is killed, it comes to the same end."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fleet.contract.labels import labels_of
from fleet.contract.names import DeviceId
from fleet.contract.objects import FINALIZER, FleetDeployment, Strategy, StrategyType
from fleet.contract.pod import as_sent
from fleet.contract.wire import Container, Desired, DesiredIndex, Identity, IdentityState, Phase
from tests.operator.model import World

NAMES = ("pi-1", "pi-2", "pi-3", "vm-1")
SUBJECTS = ("", "sub-1", "sub-2", "sub-3", "sub-4", "sub-5")
APPS = ("web", "db")
LABELS = st.sampled_from(({}, {"site": "lab"}, {"site": "home"}))
STRATEGIES = st.sampled_from(
    (Strategy(), Strategy(StrategyType.ROLLING, 1), Strategy(StrategyType.ROLLING, 2)),
)


class Machine(RuleBasedStateMachine):
    """Random days of a fleet. `step` is one pass of an operator that is killed after `cut` actions."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    # People.

    @rule(name=st.sampled_from(NAMES), subject=st.sampled_from(SUBJECTS), labels=LABELS)
    def create_device(self, name: str, subject: str, labels: dict[str, str]) -> None:
        if name not in self.world.devices:
            self.world.add_device(name, subject=subject, **labels)

    @rule(name=st.sampled_from(NAMES), subject=st.sampled_from(SUBJECTS))
    def enroll_again(self, name: str, subject: str) -> None:
        if name in self.world.devices:
            self.world.edit_device(name, subject=subject)

    @rule(name=st.sampled_from(NAMES), labels=LABELS, revoked=st.booleans())
    def edit_device(self, name: str, labels: dict[str, str], revoked: bool) -> None:
        if name in self.world.devices:
            self.world.edit_device(name, labels=labels, revoked=revoked)

    @rule(app=st.sampled_from(APPS), image=st.sampled_from("ab"), select=LABELS, strategy=STRATEGIES)
    def deploy(self, app: str, image: str, select: dict[str, str], strategy: Strategy) -> None:
        self.world.deploy(app, image, select=select, strategy=strategy)

    @rule(name=st.sampled_from(NAMES))
    def delete_device(self, name: str) -> None:
        if name in self.world.devices:
            self.world.delete_device(name)
            if FINALIZER not in self.world.devices[name].metadata.finalizers:
                del self.world.devices[name]

    @rule(app=st.sampled_from(APPS))
    def delete_deployment(self, app: str) -> None:
        if app in self.world.deployments:
            self.world.delete_deployment(app)
            if FINALIZER not in self.world.deployments[app].metadata.finalizers:
                del self.world.deployments[app]

    @rule(name=st.sampled_from(NAMES), app=st.sampled_from(APPS), what=st.integers(0, 3))
    def spoil(self, name: str, app: str, what: int) -> None:
        """Somebody writes into, or deletes from, the operator's own keys."""
        if what == 0:
            self.world.indexes.pop(name, None)
        elif what == 1:
            self.world.desired.get(name, {}).pop(app, None)
            index = self.world.indexes.get(name)
            if index:
                kept = {key: value for key, value in index.deployments.items() if key != app}
                self.world.indexes[name] = DesiredIndex(kept)
        elif what == 2:
            self.world.desired.setdefault(name, {})["ghost"] = Desired(1, Container("ghost"))
        else:
            # A registry entry is the only trace of a session that must end, so only one that is right is lost here.
            claims = [device.spec.subject for device in self.world.devices.values()]
            subject = self.world.devices[name].spec.subject if name in self.world.devices else ""
            identity = self.world.identities.get(subject)
            if identity and identity.device == name and claims.count(subject) == 1:
                del self.world.identities[subject]

    # Devices.

    @rule(names=st.sets(st.sampled_from(NAMES)))
    def beat(self, names: set[str]) -> None:
        self.world.beat(*names)

    @rule(name=st.sampled_from(NAMES), app=st.sampled_from(APPS), good=st.booleans())
    def report(self, name: str, app: str, good: bool) -> None:
        if app in self.world.desired.get(name, {}):
            self.world.report(name, app, Phase.RUNNING if good else Phase.FAILED)

    @rule(name=st.sampled_from(NAMES))
    def connect(self, name: str) -> None:
        self.world.connect(name)

    # The operator and time.

    @rule(seconds=st.sampled_from((1.0, 31.0)))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(cut=st.one_of(st.none(), st.integers(0, 12)))
    def step(self, cut: int | None) -> None:
        begun = {app: self._on_their_way(app) for app in self.world.deployments}
        self.world.step(cut)
        for app, before in begun.items():
            deployment = self.world.deployments.get(app)
            if deployment and deployment.spec.strategy.type is StrategyType.ROLLING:
                after = self._on_their_way(app)
                limit = max(len(before), deployment.spec.strategy.max_unavailable)
                assert len(after) <= limit, f"{app}: {after} are on their way at once"

    @rule()
    def restart(self) -> None:
        self.world.restart()

    @rule()
    def settle(self) -> None:
        self.world.settle(passes=30)
        assert self.world.plan() == ()
        self._judge()

    # What must hold.

    @invariant()
    def an_index_names_only_what_is_there(self) -> None:
        """Unless somebody else deleted it, which the rule `spoil` does not."""
        for device, index in self.world.indexes.items():
            assert index.deployments.keys() <= self.world.desired.get(device, {}).keys()

    def _on_their_way(self, app: str) -> set[str]:
        generation = self.world.deployments[app].metadata.generation
        return {
            name
            for name, index in self.world.indexes.items()
            if app in index.deployments
            and self.world.desired[name][app].generation == generation
            and not self._ready(name, app, generation)
        }

    def _ready(self, name: str, app: str, generation: int) -> bool:
        state = self.world.states.get(name, {}).get(app)
        return state is not None and (state.generation, state.phase) == (generation, Phase.RUNNING)

    def _judge(self) -> None:
        world = self.world
        assert not any(device.metadata.deletion_timestamp for device in world.devices.values())
        assert not any(deployment.metadata.deletion_timestamp for deployment in world.deployments.values())
        barred = {name for name, device in world.devices.items() if device.spec.revoked}
        for name, subject in world.sessions:
            assert world.identities[subject] == Identity(DeviceId(name), IdentityState.ACTIVE)
        for subject, identity in world.identities.items():
            device = world.devices[identity.device]
            assert device.spec.subject == subject
            assert (identity.state is IdentityState.REVOKED) == device.spec.revoked
        assert {d.spec.subject for d in world.devices.values()} - {""} == world.identities.keys()
        for name, device in world.devices.items():
            if name not in barred:
                self._judge_keys(
                    name, {app: d for app, d in world.deployments.items() if d.spec.selector.selects(labels_of(device))}
                )

    def _judge_keys(self, name: str, selecting: dict[str, FleetDeployment]) -> None:
        world = self.world
        runs = world.runs(name)
        assert runs == {app: desired.generation for app, desired in world.desired.get(name, {}).items()}
        assert runs.keys() <= selecting.keys()
        for app, deployment in selecting.items():
            new = Desired(deployment.metadata.generation, as_sent(deployment.spec.workload))
            if deployment.spec.strategy.type is StrategyType.ALL_AT_ONCE:
                assert world.desired[name][app] == new


TestConverges = Machine.TestCase
TestConverges.settings = settings(max_examples=50, stateful_step_count=30)


def test_every_prefix_of_every_pass_may_be_the_last() -> None:
    """The operator is killed after each of the actions of a busy day; what comes to be is always the same."""
    ends = {_day(cut) for cut in range(40)}
    assert len(ends) == 1


def _day(cut: int) -> bytes:
    world = World()
    for name in NAMES:
        world.add_device(name, subject=f"sub-{name}", site="lab")
    world.deploy("web", select={"site": "lab"})
    world.deploy("db")
    world.step(cut)
    world.settle()
    world.edit_device("pi-1", revoked=True)
    world.edit_device("pi-2", subject="sub-new", labels={"site": "home"})
    world.delete_device("pi-3")
    world.delete_deployment("db")
    world.deploy("web", "app:2", select={"site": "lab"})
    for _ in range(cut + 1):
        world.step(cut)
        world.restart()
    world.settle()
    state = (world.devices, world.deployments, world.indexes, world.desired, world.identities)
    return msgspec.json.encode(state, order="deterministic", enc_hook=str)
