"""Which device is to run what: deployments and devices in, wanted desired state and counts out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fleet.contract.change import change_of
from fleet.contract.labels import labels_of
from fleet.contract.limits import MAX_DESIRED
from fleet.contract.objects import Device, FleetDeployment
from fleet.contract.pod import as_sent
from fleet.contract.sealed import Sealed
from fleet.contract.selector import Selector
from fleet.contract.wire import Desired, Edition, IdentityState, Phase, encode
from fleet.operator.reconcile.rollout import Member, updated
from fleet.operator.reconcile.secrets import SecretContents, SecretProblem, sealed_size, secret_contents
from fleet.operator.reconcile.snapshot import Snapshot, deleting, held, live
from fleet.operator.reconcile.tally import Outcome, Share, Tally, begun, held_back, tallied

Pair = tuple[str, str]
"""A label and its value."""

Wanted = dict[str, dict[str, Desired]]
"""By device and deployment."""


def place_deployments(snapshot: Snapshot) -> tuple[dict[str, DevicePlacement], dict[str, Tally]]:
    """What every live device is to have, and a tally of every deployment that stays.

    A revoked device keeps what it has (decision 011), but a deleted deployment goes from there too. A cordoned one
    keeps all that it has (decision 055). What does not parse stays where it is.
    """
    alive = {name for name, deployment in snapshot.deployments.items() if not deleting(deployment)}
    wanted: Wanted = {name: kept(snapshot, device) for name, device in snapshot.devices.items() if live(device)}
    targets = [snapshot.devices[name] for name in sorted(wanted) if not snapshot.devices[name].spec.revoked]
    problems: dict[str, dict[str, SecretProblem]] = {name: {} for name in wanted}
    tallies = {name: _place_one(snapshot, name, targets, wanted, problems) for name in sorted(alive)}
    return {name: DevicePlacement(desired, problems[name]) for name, desired in wanted.items()}, tallies


def kept(snapshot: Snapshot, device: Device) -> dict[str, Desired]:
    """What a device continues to run although no known deployment orders it."""
    return {
        name: desired
        for name, desired in running(snapshot, device.metadata.name).items()
        if device.spec.cordoned or _keeps(snapshot, name, revoked=device.spec.revoked)
    }


def _keeps(snapshot: Snapshot, name: str, *, revoked: bool) -> bool:
    deployment = snapshot.deployments.get(name)
    if deployment is None:
        return name in snapshot.unparsed_deployments
    return revoked and not deleting(deployment)


def running(snapshot: Snapshot, device: str) -> dict[str, Desired]:
    """What a device runs by its keys: entries that its index names."""
    index, entries = snapshot.indexes.get(device), snapshot.desired.get(device, {})
    return {name: entries[name] for name in index.deployments if name in entries} if index else {}


def running_desired(snapshot: Snapshot, device: str, deployment: str) -> Desired | None:
    """What a device runs of one deployment by its keys."""
    index = snapshot.indexes.get(device)
    named = index is not None and deployment in index.deployments
    return snapshot.desired.get(device, {}).get(deployment) if named else None


class DevicePlacement(msgspec.Struct, frozen=True):
    """What a device is to have: its desired state, and what it does not get, as its secrets cannot be sealed."""

    wanted: Mapping[str, Desired] = {}
    problems: Mapping[str, SecretProblem] = {}


def _place_one(
    snapshot: Snapshot,
    name: str,
    targets: Iterable[Device],
    wanted: Wanted,
    problems: dict[str, dict[str, SecretProblem]],
) -> Tally:
    deployment = snapshot.deployments[name]
    order = order_of(snapshot, deployment)
    selected = [device.metadata.name for device in targets if selects(deployment.spec.selector, device)]
    parts = {device: selected_device(snapshot, order, name, device) for device in selected}
    members = [part.member for part in parts.values()]
    chosen = set[str]() if order.frozen else updated(members, order.edition, deployment.spec.strategy)
    for device in selected:
        desired = (
            desired_for(snapshot, order, name, device) if device in chosen else running_desired(snapshot, device, name)
        )
        if desired is not None:
            wanted[device][name] = desired
        if problem := secret_problem(snapshot, order, device):
            problems[device][name] = problem
    if order.frozen:
        return Tally(matched=len(selected), oversized=order.oversized)
    outcomes = {device: part.begun if device in chosen else part.held_back for device, part in parts.items()}
    return tallied(outcomes, order.problem)


class SelectedDevice(msgspec.Struct, frozen=True):
    """A selected device: how it stands, what it adds once it is to run the deployment, and what until then."""

    member: Member
    begun: Outcome
    held_back: Outcome


def selected_device(snapshot: Snapshot, order: Order, deployment: str, device: str) -> SelectedDevice:
    """How a selected device stands to a deployment."""
    desired, new = running_desired(snapshot, device, deployment), desired_for(snapshot, order, deployment, device)
    state = snapshot.states.get(device, {}).get(deployment)
    ready = desired is not None and state is not None and desired.is_told_by(state) and state.phase is Phase.RUNNING
    online, why = snapshot.online(device), withheld(snapshot, order, device)
    identity = snapshot.identities.get(snapshot.devices[device].spec.subject)
    kept_out = identity is not None and identity.device == device and identity.state is IdentityState.QUARANTINED
    member = Member(device, order.edition_of(desired) if desired else None, ready, online, bool(why), kept_out)
    waits = held_back(online=online, why=why)
    info = snapshot.infos.get(device)
    outcome = begun(new, state, online=online, arch=info.arch if info else "") if new else waits
    if kept_out and outcome.share is not Share.READY:
        # What it said before is no failure of the deployment: nothing is halted by who is in quarantine.
        outcome = Outcome(Share.WAITING, reason="Quarantined")
    return SelectedDevice(member, outcome, waits)


def desired_for(snapshot: Snapshot, order: Order, deployment: str, device: str) -> Desired | None:
    """The desired state of a selected device whose turn it is, or was; None if it never had one.

    What is sealed for the device already stays as it is, and nothing is taken back for a Secret that is gone.
    """
    before, key = running_desired(snapshot, device, deployment), sealing_key(snapshot, device)
    if order.problem or (order.new.sealed and not key):
        return before
    if order.new.sealed is None:
        return order.new
    new = msgspec.structs.replace(order.new, sealed=Sealed(key, order.new.sealed.version))
    if before is not None and before.sealed is not None and unsealed(before) == new:
        return before
    return new


def unsealed(desired: Desired) -> Desired:
    """The same, without what is inside the seal: as it is decided."""
    if desired.sealed is None:
        return desired
    return msgspec.structs.replace(desired, sealed=msgspec.structs.replace(desired.sealed, data=b""))


def sealing_key(snapshot: Snapshot, device: str) -> str:
    """The key that secrets are sealed with for a device; empty where it has none."""
    info = snapshot.infos.get(device)
    return info.sealing_key if info else ""


def secret_problem(snapshot: Snapshot, order: Order, device: str) -> SecretProblem | None:
    """What keeps a deployment with secrets from a device; None for nothing."""
    if order.problem is None and order.new.sealed is not None and not sealing_key(snapshot, device):
        return _NO_KEY if device in snapshot.infos else _UNHEARD
    return order.problem


_DOUBTED = SecretProblem("SecretNotRead", "the Secrets that it takes have not been read since it was ordered")
_NO_KEY = SecretProblem(
    "NoSealingKey", "it takes secrets, and the device's agent has no sealing key: upgrade the agent"
)
_UNHEARD = SecretProblem("KeyNotTold", "it takes secrets, and the device has not told its sealing key yet", waits=True)


def withheld(snapshot: Snapshot, order: Order, device: str) -> str:
    """Why no change of a deployment is sent to a device, as a reason; empty where it is."""
    if order.paused:
        return "Paused"
    if snapshot.devices[device].spec.cordoned:
        return "Cordoned"
    problem = secret_problem(snapshot, order, device)
    return problem.reason if problem else ""


class Order(msgspec.Struct, frozen=True):
    """The orders of a deployment for its devices. A `frozen` or `paused` one changes nothing on any of them."""

    new: Desired
    """Of the secrets in it, only the version counts: the rest depends on the device."""
    oversized: int
    frozen: bool
    paused: bool
    problem: SecretProblem | None = None
    """Why its secrets cannot be sealed: devices that run its generation keep what they have, others do not begin."""

    @property
    def edition(self) -> Edition:
        """What a device that runs it runs. Without its secrets, every version of them is as good as the other."""
        return self.new.edition

    def edition_of(self, desired: Desired) -> Edition:
        """What a device with this order runs."""
        return (desired.generation, "") if self.problem else desired.edition


def order_of(snapshot: Snapshot, deployment: FleetDeployment) -> Order:
    """The orders of a deployment for its devices."""
    workload, change = deployment.spec.workload, change_of(deployment.metadata)
    doubted = deployment.metadata.name in snapshot.secrets_doubted
    contents = _DOUBTED if doubted else secret_contents(workload, snapshot.secrets)
    problem = contents if isinstance(contents, SecretProblem) else None
    new = Desired(deployment.metadata.generation, as_sent(workload), change.id if change else "")
    size = len(encode(new))
    if isinstance(contents, SecretContents):
        new = msgspec.structs.replace(new, sealed=Sealed("", contents.version))
        size += sealed_size(contents.contents)
    oversized = size if size > MAX_DESIRED else 0
    return Order(new, oversized, bool(oversized) or not held(deployment), deployment.spec.paused, problem)


def selects(selector: Selector, device: Device) -> bool:
    """Whether the device's labels are as the selector requires."""
    return selector.selects(labels_of(device))


def demanded(selector: Selector) -> tuple[Pair, ...]:
    """Labels without any of which no device is selected."""
    return tuple(sorted(selector.match_labels.items()))


def labels(device: Device) -> frozenset[Pair]:
    """What selectors look at."""
    return frozenset(labels_of(device).items())
