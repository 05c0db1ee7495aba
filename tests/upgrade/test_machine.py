"""The agent's machine by hand: one upgrade from both sides, and the rows that the exploration does not reach."""

from __future__ import annotations

import msgspec
import pytest

from fleet.agent.upgrade.protocol.deadlines import Deadline
from fleet.agent.upgrade.protocol.effects import (
    Effect,
    Exit,
    Fetch,
    PointLink,
    Record,
    Report,
    Retain,
    StageFiles,
    StartUnit,
    Write,
)
from fleet.agent.upgrade.protocol.events import (
    BeatHeard,
    Connected,
    Event,
    Fetched,
    JobFailed,
    LeaseReleased,
    LeaseTaken,
    LinkPointed,
    LinkRefused,
    LockTaken,
    NotRecorded,
    Passed,
    Recorded,
    SelfTested,
    Staged,
    TargetSeen,
    UnitFailed,
    UnitStarted,
    Workloads,
)
from fleet.agent.upgrade.protocol.journal import (
    BadJournal,
    Candidate,
    Commit,
    HandOver,
    Journal,
    JournalTrouble,
    Outcome,
    Propose,
    Reject,
    Stage,
    apply,
)
from fleet.agent.upgrade.protocol.machine import Step, begin, step
from fleet.agent.upgrade.protocol.state import AgentProcess, Phase, State
from fleet.contract.upgrade import UpgradePhase, UpgradeReason
from fleet.contract.wire import AgentTarget, Heartbeat
from tests.upgrade.releases import release, target

OLD, NEW = release(1), release(2)
OLD_ME, NEW_ME = AgentProcess(OLD, "old-1", "boot-1"), AgentProcess(NEW, "new-1", "boot-1")
QUIET = Workloads(busy=False, healthy=True)


def play(state: State, *events: Event) -> Step:
    """All events in turn; records are made in the journal at once."""
    effects: tuple[Effect, ...] = ()
    for event in events:
        state, more = step(state, event)
        effects += more
    return state, effects


def serving(journal: Journal | None = None) -> State:
    journal = journal or Journal(committed=OLD)
    state, _ = begin(OLD_ME, journal)
    state, _ = play(state, LockTaken(journal), LeaseTaken(), Connected(), QUIET)
    return state


def recorded(state: State, effects: tuple[Effect, ...]) -> Recorded:
    (change,) = [effect.change for effect in effects if isinstance(effect, Record)]
    assert isinstance(state.journal, Journal)
    return Recorded(apply(state.journal, change))


def test_the_old_one_from_order_to_exit() -> None:
    state, effects = play(serving(), TargetSeen(target(NEW, 1)))
    assert Fetch(target(NEW, 1)) in effects
    state, _ = play(state, Fetched(1), Staged(1), SelfTested(1))
    assert state.phase is Phase.WAITING
    state, effects = play(state, TargetSeen(target(NEW, 1, granted=True)))
    assert state.phase is Phase.QUIESCING
    assert effects[0] == Write(engine=False, reports=True)
    state, effects = play(state, QUIET)
    assert Record(Propose(NEW, 1)) in effects
    state, effects = play(state, recorded(state, effects))
    assert PointLink(NEW) in effects
    state, effects = play(state, LinkPointed())
    assert StartUnit(NEW) in effects
    state, _ = play(state, UnitStarted(), BeatHeard(Heartbeat(NEW.version, "new-1", "boot-1", 1, 10, generation=1)))
    assert state.phase is Phase.WATCHING
    state, effects = play(state, TargetSeen(target(NEW, 1, granted=True, stop_instance="old-1")))
    assert effects[0] == Write(engine=False, reports=True)
    state, effects = play(state, QUIET)
    assert Record(HandOver(1)) in effects
    state, effects = play(state, recorded(state, effects), UnitStarted(), LeaseReleased())
    assert (state.phase, effects[-1]) == (Phase.GONE, Exit())


def test_the_new_one_from_its_start_to_the_commit() -> None:
    proposed = apply(Journal(committed=OLD), Propose(NEW, 1))
    handed = apply(proposed, HandOver(1))
    state, effects = begin(NEW_ME, proposed)
    assert (state.phase, effects[0]) == (Phase.JOINING, Write(engine=False, reports=False))
    state, _ = play(state, Connected(), LockTaken(handed))
    assert state.phase is Phase.TAKING
    state, effects = play(state, LeaseTaken())
    assert (state.phase, effects[0]) == (Phase.SOAKING, Write(engine=True, reports=True))
    state, effects = play(state, QUIET, TargetSeen(target(NEW, 1, granted=True, confirmed="new-1")))
    assert Record(Commit(1)) in effects
    state, effects = play(state, recorded(state, effects))
    assert state.phase is Phase.SERVING
    (report,) = [effect for effect in effects if isinstance(effect, Report)]
    assert (report.status.phase, report.status.previous) == (UpgradePhase.COMMITTED, OLD.version)


def refusal(state: State, *events: Event) -> UpgradeReason:
    state, effects = play(state, *events)
    assert state.phase is Phase.FINISHING
    state, _ = play(state, recorded(state, effects))
    assert isinstance(state.journal, Journal)
    assert state.journal.outcome is not None
    assert state.phase is Phase.SERVING
    return state.journal.outcome.reason


def test_what_is_refused_before_anything_is_fetched() -> None:
    bad = Journal(committed=OLD, candidate=Candidate(NEW, 1))
    bad = apply(bad, Reject(1, UpgradeReason.CANDIDATE_CRASHED))
    assert refusal(serving(), TargetSeen(target(OLD, 1))) is UpgradeReason.ALREADY_RUNNING
    conflict = AgentTarget(OLD.version, NEW.digest, 1)
    assert refusal(serving(), TargetSeen(conflict)) is UpgradeReason.DIGEST_CONFLICT
    assert refusal(serving(bad), TargetSeen(target(NEW, 2))) is UpgradeReason.BAD_VERSION
    sick = serving(), Workloads(busy=False, healthy=False)
    assert refusal(*sick, TargetSeen(target(release(3), 1))) is UpgradeReason.WORKLOAD_UNHEALTHY


def test_the_same_order_twice_is_refused_once() -> None:
    state, effects = play(serving(), TargetSeen(target(OLD, 1)))
    state, _ = play(state, recorded(state, effects))
    assert play(state, TargetSeen(target(OLD, 1))) == (state, ())


def test_what_fails_on_the_way_says_why() -> None:
    fetching, _ = play(serving(), TargetSeen(target(NEW, 1)))
    failure = JobFailed(1, UpgradeReason.SIGNATURE_INVALID, "by key 2026-a")
    assert refusal(fetching, failure) is UpgradeReason.SIGNATURE_INVALID
    late = JobFailed(0, UpgradeReason.SIGNATURE_INVALID)
    assert play(fetching, late) == (fetching, ())
    waiting, _ = play(fetching, Fetched(1), Staged(1), SelfTested(1), TargetSeen(target(NEW, 1, granted=True)))
    assert refusal(waiting, Passed(Deadline.DRAIN)) is UpgradeReason.RECONCILE_TIMED_OUT
    sick = Workloads(busy=False, healthy=False)
    assert refusal(waiting, sick, Passed(Deadline.DRAIN)) is UpgradeReason.WORKLOAD_UNHEALTHY


def test_an_order_that_came_later_wins_before_the_swap() -> None:
    fetching, _ = play(serving(), TargetSeen(target(NEW, 1)))
    state, effects = play(fetching, TargetSeen(target(release(3), 2)))
    assert state.phase is Phase.FINISHING
    state, effects = play(state, recorded(state, effects))
    assert state.phase is Phase.DOWNLOADING
    assert Fetch(target(release(3), 2)) in effects


def swapping() -> tuple[State, tuple[Effect, ...]]:
    state, _ = play(serving(), TargetSeen(target(NEW, 1, granted=True)), Fetched(1), Staged(1), SelfTested(1))
    return play(state, QUIET)


def test_a_full_disk_at_the_swap_leaves_the_old_one_in_place() -> None:
    state, _ = swapping()
    state, _ = play(state, NotRecorded("no space left on device"))
    state, effects = play(state, NotRecorded("no space left on device"))
    assert state.phase is Phase.SERVING
    (report,) = [effect for effect in effects if isinstance(effect, Report)]
    assert report.status.reason is UpgradeReason.JOURNAL_NOT_SAVED
    assert report.status.message == "no space left on device"
    assert play(state, TargetSeen(target(NEW, 1, granted=True)))[0].phase is Phase.SERVING


def test_a_link_or_a_unit_that_fails_is_taken_back_with_its_reason() -> None:
    state, effects = swapping()
    linking, _ = play(state, recorded(state, effects))
    state, effects = play(linking, LinkRefused(UpgradeReason.LINK_MISSING, "the version is gone"))
    state, effects = play(state, recorded(state, effects))
    assert isinstance(state.journal, Journal)
    assert state.journal.outcome == Outcome(
        1, NEW, UpgradePhase.REVERTED, UpgradeReason.LINK_MISSING, "the version is gone"
    )
    state, effects = play(linking, LinkPointed(), UnitFailed("no such unit"))
    state, _ = play(state, recorded(state, effects))
    assert isinstance(state.journal, Journal)
    assert state.journal.outcome is not None
    assert (state.journal.outcome.reason, state.journal.outcome.message) == (
        UpgradeReason.CANDIDATE_NOT_STARTED,
        "no such unit",
    )


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (JournalTrouble.DAMAGED, UpgradeReason.JOURNAL_UNREADABLE),
        (JournalTrouble.TOO_NEW, UpgradeReason.STATE_TOO_NEW),
    ],
)
def test_a_journal_that_cannot_be_used_is_reported_and_kept(what: JournalTrouble, reason: UpgradeReason) -> None:
    trouble = BadJournal(what, "it is cut off")
    state, _ = begin(OLD_ME, trouble)
    state, effects = play(state, LockTaken(trouble), LeaseTaken(), TargetSeen(target(NEW, 1)))
    assert state.phase is Phase.DISABLED
    assert not any(isinstance(effect, Record) for effect in effects)
    (report,) = [effect for effect in effects if isinstance(effect, Report)]
    assert (report.status.reason, report.status.message) == (reason, "it is cut off")


def test_what_must_succeed_is_tried_again() -> None:
    handed = apply(apply(Journal(committed=OLD), Propose(NEW, 1)), HandOver(1))
    state, _ = begin(OLD_ME, handed)
    state, effects = play(state, LockTaken(handed))
    assert StartUnit(NEW) in effects
    state, effects = play(state, UnitFailed("systemd is busy"), Passed(Deadline.RETRY))
    assert StartUnit(NEW) in effects
    assert handed.candidate is not None
    assert handed.candidate.stage is Stage.HANDED_OVER


def retained(effects: tuple[Effect, ...]) -> list[int]:
    return [effect.newest for effect in effects if isinstance(effect, Retain)]


def test_old_versions_go_at_rest_alone() -> None:
    order = target(NEW, 1, versions_kept=3)
    state, effects = play(serving(), order_seen := TargetSeen(order), Fetched(1), Staged(1), SelfTested(1))
    assert retained(effects) == []
    state, effects = play(state, TargetSeen(target(NEW, 1, versions_kept=2, withdrawn=True)))
    assert (state.phase, retained(effects)) == (Phase.FINISHING, [])
    state, effects = play(state, recorded(state, effects))
    assert (state.phase, effects[-2]) == (Phase.SERVING, Retain(2)), "before the end is reported"
    state, effects = play(state, order_seen)
    assert effects == (Retain(3),), "another number needs no other attempt"
    assert play(state, order_seen)[1] == (), "once"
    assert play(state, TargetSeen(target(NEW, 1, withdrawn=True)))[1] == ()


def test_no_version_goes_between_one_order_and_the_next() -> None:
    """What was laid down for the first may be what the second wants."""
    fetching, _ = play(serving(), TargetSeen(target(NEW, 1, versions_kept=1)))
    state, effects = play(fetching, TargetSeen(target(NEW, 2, versions_kept=1)))
    state, effects = play(state, recorded(state, effects))
    assert (state.phase, retained(effects)) == (Phase.DOWNLOADING, [])


NO_SPACE = JobFailed(1, UpgradeReason.NO_SPACE, "3 bytes free")


def test_for_want_of_space_the_number_shrinks_to_its_floor_once() -> None:
    order = target(NEW, 1, versions_kept=3)
    state, effects = play(serving(), TargetSeen(order))
    state, effects = play(state, NO_SPACE)
    assert (state.phase, effects[-2:]) == (Phase.DOWNLOADING, (Retain(0), Fetch(order)))
    assert refusal(state, NO_SPACE) is UpgradeReason.NO_SPACE
    staging, _ = play(state, Fetched(1))
    assert refusal(staging, NO_SPACE) is UpgradeReason.NO_SPACE, "once an attempt, whichever job it was"
    again, _ = play(serving(), TargetSeen(order), Fetched(1))
    again, effects = play(again, NO_SPACE)
    assert (again.phase, effects[-2:]) == (Phase.STAGING, (Retain(0), StageFiles(order)))
    assert play(again, Staged(1))[0].phase is Phase.TESTING


def test_the_next_attempt_may_make_room_again() -> None:
    state, effects = play(serving(), TargetSeen(target(NEW, 1, versions_kept=3)), NO_SPACE, NO_SPACE)
    (failed,) = [effect for effect in effects if isinstance(effect, Record)]
    assert isinstance(state.journal, Journal)
    state, _ = play(state, Recorded(apply(state.journal, failed.change)))
    state, effects = play(state, TargetSeen(target(NEW, 2, versions_kept=3)))
    assert retained(effects) == []
    assert retained(play(state, msgspec.structs.replace(NO_SPACE, generation=2))[1]) == [0]


def test_without_a_number_nothing_is_ever_removed() -> None:
    fetching, _ = play(serving(), TargetSeen(target(NEW, 1)))
    assert refusal(fetching, NO_SPACE) is UpgradeReason.NO_SPACE
    assert retained(play(fetching, NO_SPACE)[1]) == []
    full = JobFailed(1, UpgradeReason.READ_ONLY)
    ordered, _ = play(serving(), TargetSeen(target(NEW, 1, versions_kept=3)))
    assert retained(play(ordered, full)[1]) == [], "no room helps"
