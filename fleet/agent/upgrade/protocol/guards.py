"""What can be said of an agent process at one moment.

Each predicate is a guard of the protocol: the model checker's tests take them away one by one, and see it fail.
"""

from __future__ import annotations

from fleet.agent.upgrade.protocol.journal import BadJournal, Candidate, Journal, Release, Stage
from fleet.agent.upgrade.protocol.state import State
from fleet.contract.upgrade import UpgradeReason
from fleet.contract.wire import AgentTarget, Heartbeat

# What the journal says.


def candidate(state: State) -> Candidate | None:
    """The release on trial."""
    return state.journal.candidate if isinstance(state.journal, Journal) else None


def _stage(state: State) -> Stage | None:
    trial = candidate(state)
    return trial.stage if trial else None


def unreadable(state: State) -> bool:
    """The journal cannot be used."""
    return isinstance(state.journal, BadJournal)


def is_committed(state: State) -> bool:
    """This very release is the committed one."""
    return isinstance(state.journal, Journal) and state.journal.committed == state.process.release


def on_trial(state: State) -> bool:
    """This very release is the candidate, and has not given up."""
    trial = candidate(state)
    return trial is not None and trial.release == state.process.release and trial.stage is not Stage.STEPPED_DOWN


def stranger(state: State) -> bool:
    """The journal knows of no reason why this process should run."""
    return not unreadable(state) and not is_committed(state) and not on_trial(state)


def no_candidate(state: State) -> bool:
    """Nothing is on trial (any more)."""
    return candidate(state) is None


def proposed(state: State) -> bool:
    """A candidate is named, and the committed agent is still the writer."""
    return _stage(state) is Stage.PROPOSED


def handed_over(state: State) -> bool:
    """The candidate is to be the writer."""
    return _stage(state) is Stage.HANDED_OVER


def stepped_down(state: State) -> bool:
    """The candidate gave up."""
    return _stage(state) is Stage.STEPPED_DOWN


# What is ordered.


def attempt(state: State) -> int:
    """The generation of the attempt under way; 0 for none."""
    if state.order is not None:
        return state.order.generation
    trial = candidate(state)
    return trial.generation if trial else 0


def late(state: State, target: AgentTarget) -> bool:
    """The order belongs to an attempt that is over, or is older than one that was seen."""
    ended = state.journal.generation if isinstance(state.journal, Journal) else 0
    seen = state.target.generation if state.target else 0
    return target.generation < max(ended, seen)


def current(state: State) -> AgentTarget | None:
    """The newest order, if it is about the attempt under way."""
    target = state.target
    return target if target is not None and target.generation == attempt(state) else None


def ordered(state: State) -> bool:
    """There is an order that was neither carried out nor refused."""
    done = state.journal.generation if isinstance(state.journal, Journal) else 0
    return state.target is not None and not state.target.withdrawn and state.target.generation > done


def overtaken(state: State) -> bool:
    """Another attempt was ordered while this one is under way: the latest wins."""
    return state.target is not None and state.target.generation > attempt(state)


def withdrawn(state: State) -> bool:
    """What this attempt brings is not wanted any more."""
    target = current(state)
    return target is not None and target.withdrawn


def already_running(state: State) -> bool:
    """The order names the very release that is committed."""
    return ordered(state) and _wanted(state) == state.process.release


def _wanted(state: State) -> Release | None:
    return Release(state.target.version, state.target.digest) if state.target else None


def digest_conflict(state: State) -> bool:
    """The order names a version that this device knows with another digest."""
    wanted = _wanted(state)
    if not ordered(state) or wanted is None or not isinstance(state.journal, Journal):
        return False
    known = [state.process.release, state.journal.previous, *(bad.release for bad in state.journal.bad)]
    return any(
        release is not None and release.version == wanted.version and release.digest != wanted.digest
        for release in known
    )


def known_bad(state: State) -> bool:
    """The order names a release that failed on this device."""
    bad = state.journal.bad if isinstance(state.journal, Journal) else ()
    return ordered(state) and any(entry.release == _wanted(state) for entry in bad)


def unhealthy_order(state: State) -> bool:
    """There is an order, and a workload is not well: nothing is begun on such a device."""
    return ordered(state) and not state.healthy


def granted(state: State) -> bool:
    """The device holds the scheduling lock for this attempt."""
    target = current(state)
    return target is not None and target.granted


def not_granted(state: State) -> bool:
    """The lock is not, or no longer, held."""
    return not granted(state)


def told_to_stop(state: State) -> bool:
    """The operator orders this very instance to hand over in this attempt."""
    target = current(state)
    return target is not None and target.stop_instance == state.process.instance


def told_to_take_over(state: State) -> bool:
    """The operator orders another instance to hand over in this attempt."""
    target = current(state)
    return target is not None and target.stop_instance not in {"", state.process.instance}


def confirmed(state: State) -> bool:
    """The operator confirms this very instance in this attempt."""
    target = current(state)
    return target is not None and target.confirmed == state.process.instance


def versions_kept(state: State) -> int | None:
    """How many versions the operator orders to be kept; None while it orders none to be removed."""
    return state.target.versions_kept if state.target else None


# What the world is like.


def locked(state: State) -> bool:
    """This process holds the writer's lock."""
    return state.locked


def connected(state: State) -> bool:
    """NATS answers this agent, if only to refuse its login, so it is no excuse for another one."""
    return state.connected


def busy(state: State) -> bool:
    """A reconcile is in flight, as far as is known since none was begun any more."""
    return state.busy


def quiet(state: State) -> bool:
    """No reconcile is in flight."""
    return not state.busy


def ready(state: State) -> bool:
    """No reconcile is in flight, and every workload is well."""
    return not state.busy and state.healthy


def unhealthy(state: State) -> bool:
    """A workload is not well."""
    return not state.healthy


def cramped(state: State) -> bool:
    """A job found no space, and versions that are not needed may be removed for it; once an attempt."""
    return state.reason is UpgradeReason.NO_SPACE and versions_kept(state) is not None and not state.shrunk


def heard_candidate(state: State) -> bool:
    """A heartbeat of the candidate of this attempt and boot arrived."""
    return state.heard is True


def heard_another_version(state: State) -> bool:
    """What calls itself the candidate says another version than it should."""
    return state.heard is False


def proves(state: State, beat: Heartbeat) -> bool | None:
    """Whether a heartbeat shows the candidate with its version; None when it is not the candidate's, or is old."""
    trial = candidate(state)
    if trial is None or beat.generation != trial.generation:
        return None
    if beat.boot_id != state.process.boot_id or beat.instance_id == state.process.instance:
        return None
    return beat.agent_version == trial.release.version
