"""What must happen next about a deployment of several containers, and how it stands. Pure.

What is ordered is made as a whole before anything that runs is touched; then each container takes the place of its own
predecessor, in the order in which they wait for each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from fleet.agent.desired_state import Deployment
from fleet.agent.reconcile import (
    LIFE,
    PREVIOUS,
    Action,
    Observed,
    Remove,
    RollBack,
    Run,
    Start,
    Status,
    detail,
    has_lived,
    is_well,
    kept_container,
    liveliness,
    must_start,
    next_action,
    previous_container,
    resumed,
    trial_ends_in,
)
from fleet.contract.confinement import Update
from fleet.contract.containers import spec_hash, unit_of
from fleet.contract.pod import Condition, Dependency, Member, SentPod, members
from fleet.contract.wire import Container, Workload


class View(msgspec.Struct, frozen=True):
    """A deployment's containers, compared with its desired state. A container that stands alone has the name ''."""

    workload: Workload
    wanted: Mapping[str, Container]
    kept: Mapping[str, Observed]
    """What stands for each container that is wanted, as far as it is there."""
    others: Sequence[Observed]

    @property
    def new(self) -> list[Observed]:
        """Those that were made for this order: one that stands alone always is."""
        order = spec_hash(self.workload)
        return [one for one in self.kept.values() if one.order == order or not one.container]

    @property
    def before(self) -> list[Observed]:
        """Those that ran before, and may run again."""
        return [one for one in self.others if has_lived(one)]

    @property
    def on_trial(self) -> bool:
        """Whether what is new is not well yet, and what ran before is kept for that long."""
        well = len(self.kept) == len(self.wanted) and all(
            is_well(self.wanted[one.container].restart, one) for one in self.new
        )
        return self.workload.update != Update() and bool(self.before) and not well

    def waits_for(self, name: str) -> Dependency | None:
        """What a container has to wait for; None for nothing."""
        wanted = self.wanted[name]
        return next((one for one in wanted.after if not self._met(one)), None) if isinstance(wanted, Member) else None

    def _met(self, needed: Dependency) -> bool:
        found = self.kept.get(needed.name)
        if found is None:
            return False
        match needed.condition:
            case Condition.STARTED:
                return found.status is not Status.CREATED
            case Condition.HEALTHY:
                return is_well(self.wanted[needed.name].restart, found)
            case Condition.COMPLETED:
                return found.status is Status.EXITED and found.exit_code == 0


def view(workload: Workload, containers: Sequence[Observed]) -> View:
    """The containers of a deployment, sorted by what they are to a workload."""
    there = [one for one in containers if one.status is not Status.REMOVING]
    wanted: dict[str, Container] = dict(members(workload)) if isinstance(workload, SentPod) else {"": workload}
    found = {name: kept_container(one, _group(there, name)) for name, one in wanted.items()}
    kept = {name: one for name, one in found.items() if one is not None}
    return View(workload, wanted, kept, [one for one in there if one is not kept.get(one.container)])


def stands_alone(workload: Workload | None, containers: Sequence[Observed]) -> bool:
    """Whether there is, and is to be, no pod."""
    return not isinstance(workload, SentPod) and not any(one.container for one in containers)


def next_actions(
    deployment: str, desired: Deployment | None, containers: Sequence[Observed], *, rolled_back: bool = False
) -> dict[str, Action]:
    """What to do next about a deployment, by `unit_of` what is acted on: several containers may start at one time.

    What concerns all of them is by the deployment's name, and is done alone.
    """
    if desired is None or desired.workload is None or stands_alone(desired.workload, containers):
        action = next_action(desired, containers, rolled_back=rolled_back)
        return {deployment: action} if action is not None else {}
    seen = view(desired.workload, containers)
    if rolled_back and containers:
        return _go_on(deployment, seen, containers)
    deadline = desired.workload.update.deadline
    if deadline and seen.on_trial and seen.new and min(one.age for one in seen.new) >= deadline:
        return {deployment: _roll_back(seen, deadline)}
    missing = [name for name in seen.wanted if name not in seen.kept]
    found = {unit_of(deployment, name): _make(seen, name, desired) for name in missing}
    found |= _starts(deployment, seen, desired, complete=not missing)
    if found or missing or any(must_start(seen.wanted[name].restart, one) for name, one in seen.kept.items()):
        return found
    surplus = [one for one in seen.others if not (seen.on_trial and one in seen.before)]
    return {deployment: Remove(_ids(surplus))} if surplus else {}


def may_begin(unit: str, action: Action, under_way: Mapping[str, Action]) -> bool:
    """Whether an action may begin now, given those under way by `unit_of`: several containers start at one time.

    What acts on a whole deployment, or ends other containers than its own, is alone in the deployment.
    """
    mates = {one: it for one, it in under_way.items() if _deployment(one) == _deployment(unit)}
    if _acts_on_others(unit, action):
        return not mates
    return unit not in mates and not any(_acts_on_others(one, it) for one, it in mates.items())


def _acts_on_others(unit: str, action: Action) -> bool:
    return unit == _deployment(unit) or (isinstance(action, Start) and bool(action.aside))


def _deployment(unit: str) -> str:
    return unit.partition("/")[0]


def looks_again_in(desired: Deployment, containers: Sequence[Observed]) -> float:
    """Seconds until a deployment has to be looked at again though nothing changed; infinite for never."""
    if desired.workload is None or stands_alone(desired.workload, containers):
        return trial_ends_in(desired, containers)
    seen = view(desired.workload, containers)
    ages = [one.age for one in seen.new] if seen.on_trial and desired.workload.update.deadline else []
    left = [desired.workload.update.deadline - min(ages)] if ages else []
    return min(one for one in (*left, *(kept.steady_in for kept in seen.kept.values()), math.inf) if one > 0)


def _make(seen: View, name: str, desired: Deployment) -> Run:
    rest = _group(seen.others, name)
    wanted = seen.wanted[name]
    before = previous_container(rest, spec_hash(wanted))
    return Run(
        wanted,
        _ids(rest),
        before,
        desired.sealed,
        start=False,
        order=spec_hash(seen.workload),
        meanwhile=resumed(rest, before),
    )


def _starts(deployment: str, seen: View, desired: Deployment, *, complete: bool) -> dict[str, Action]:
    """Before all that is ordered is `complete`, only what takes nothing away: what ran, and does not run any more."""
    found: dict[str, Action] = {}
    strangers = [one for one in seen.others if one.container not in seen.wanted and one.status in LIFE]
    for name, kept in seen.kept.items():
        wanted, rest = seen.wanted[name], _group(seen.others, name)
        if not must_start(wanted.restart, kept) or seen.waits_for(name) is not None:
            continue
        if not complete and (rest or kept.status is Status.CREATED):
            continue
        ends = strangers if complete and not _is_first(seen, name) else []
        ends = [*ends, *_at_its_address(seen, kept)]
        found[unit_of(deployment, name)] = Start(
            kept.id,
            _ids(rest),
            previous_container(rest, kept.spec),
            wanted,
            wanted.update,
            desired.sealed,
            tuple((one.id, one.container) for one in ends),
            name,
            kept.place,
        )
        if ends:
            break  # the others wait until these have ended
    return found


def _at_its_address(seen: View, kept: Observed) -> list[Observed]:
    """What ran before with the address that a container has now: where the names change, the addresses move on."""
    others = (one for one in seen.others if one.container in seen.wanted and one.status in LIFE)
    address = kept.place[1]
    return [one for one in others if address and one.place[1] == address and one.container != kept.container]


def _is_first(seen: View, name: str) -> bool:
    """Whether it is an init container: the previous containers keep running during it."""
    return isinstance(seen.workload, SentPod) and any(one.name == name for one in seen.workload.init_containers)


def _roll_back(seen: View, deadline: int) -> RollBack:
    unwell = [one for one in seen.new if not is_well(seen.wanted[one.container].restart, one)]
    details = ", ".join(f"{one.container}{detail(one)}" for one in unwell) or "some of it is missing"
    latest = {one.container: one for one in sorted(seen.before, key=liveliness)}
    back = tuple((one.id, name) for name, one in latest.items())
    return RollBack(_ids(seen.new), back, f"it was not well within {deadline} s: {details}")


def _go_on(deployment: str, seen: View, containers: Sequence[Observed]) -> dict[str, Action]:
    """Start the previous containers by their own restart policies, or as the order says of those of the same names."""
    found: dict[str, Action] = {}
    for name in dict.fromkeys((*seen.wanted, *(one.container for one in containers))):
        there = [one for one in _group(containers, name) if one.status is not Status.REMOVING]
        latest = max(there, key=liveliness, default=None)
        wanted = seen.wanted.get(name)
        if latest is not None and (
            latest.resumes or _made_anew(latest) or (wanted is not None and must_start(wanted.restart, latest))
        ):
            found[unit_of(deployment, name)] = Start(latest.id, member=name, place=latest.place)
    return found


def _made_anew(container: Observed) -> bool:
    """Whether it replaces a previous container that was removed, and was not started before the agent ended."""
    return container.status is Status.CREATED and PREVIOUS in container.name


def _group(containers: Sequence[Observed], name: str) -> list[Observed]:
    return [one for one in containers if one.container == name]


def _ids(containers: Sequence[Observed]) -> tuple[str, ...]:
    return tuple(one.id for one in containers)
