"""The journal: what it says comes back, what is damaged is told, and a change that is void changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.agent.upgrade.protocol.journal import (
    BadJournal,
    BadRelease,
    Candidate,
    Change,
    Commit,
    CountAttempt,
    FallBack,
    Finish,
    HandOver,
    Journal,
    JournalTrouble,
    Outcome,
    Propose,
    Recall,
    Reject,
    Release,
    Stage,
    StepDown,
    apply,
    parse,
    render,
)
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import UpgradePhase, UpgradeReason


def release(number: int) -> Release:
    return Release(AgentVersion(f"v0.1.{number}"), Digest("sha256:" + f"{number:064x}"))


OLD, NEW = release(1), release(2)
CRASHED = UpgradeReason.CANDIDATE_CRASHED
releases = st.integers(0, 3).map(release)
generations = st.integers(1, 4)
reasons = st.sampled_from([CRASHED, UpgradeReason.NOT_CONFIRMED, UpgradeReason.SELF_TEST_FAILED])
changes: st.SearchStrategy[Change] = st.one_of(
    st.builds(Propose, releases, generations),
    st.builds(CountAttempt, generations),
    st.builds(HandOver, generations),
    st.builds(StepDown, generations),
    st.builds(Commit, generations),
    st.builds(Recall, generations, reasons),
    st.builds(Reject, generations, reasons),
    st.builds(FallBack, releases, reasons),
    st.builds(Finish, generations, releases, st.just(UpgradePhase.REFUSED), reasons),
)
journals = st.lists(changes, max_size=12).map(lambda made: grown(Journal(committed=OLD), made))


def grown(journal: Journal, made: list[Change]) -> Journal:
    for change in made:
        journal = apply(journal, change, at=5)
    return journal


@given(journals)
def test_it_comes_back_equal(journal: Journal) -> None:
    assert parse(render(journal)) == journal


@given(journals, changes)
def test_a_change_made_twice_is_made_once(journal: Journal, change: Change) -> None:
    """A crash may come between a change and its answer. Starts are counted each time: there were as many."""
    once = apply(journal, change, at=6)
    if not isinstance(change, CountAttempt):
        assert apply(once, change, at=7) == once


@given(journals, changes)
def test_generations_only_rise_and_what_is_bad_stays_bad(journal: Journal, change: Change) -> None:
    after = apply(journal, change)
    assert after.generation >= journal.generation
    assert after.bad[: len(journal.bad)] == journal.bad


@given(st.binary(max_size=300))
def test_random_bytes_are_damage(data: bytes) -> None:
    assert isinstance(parse(data), BadJournal)


def test_every_cut_is_damage() -> None:
    whole = render(grown(Journal(committed=OLD), [Propose(NEW, 1), CountAttempt(1)]))
    for length in range(len(whole)):
        found = parse(whole[:length])
        assert isinstance(found, BadJournal)
        assert found.trouble is JournalTrouble.DAMAGED


@pytest.mark.parametrize(
    ("data", "trouble"),
    [
        (None, JournalTrouble.MISSING),
        (b"", JournalTrouble.DAMAGED),
        (b'{"type":"journal"}', JournalTrouble.DAMAGED),
        (b'{"type":"journal","schema":1}', JournalTrouble.DAMAGED),
        (b'{"type":"another","schema":1}', JournalTrouble.DAMAGED),
        (b'{"type":"journal","schema":2,"committed":{"of":"another form"}}', JournalTrouble.TOO_NEW),
    ],
)
def test_what_cannot_be_used_says_why(data: bytes | None, trouble: JournalTrouble) -> None:
    found = parse(data)
    assert isinstance(found, BadJournal)
    assert found.trouble is trouble
    assert found.message


def test_an_upgrade_from_proposal_to_commit() -> None:
    journal = grown(Journal(committed=OLD), [Propose(NEW, 1), CountAttempt(1), HandOver(1)])
    assert journal.candidate == Candidate(NEW, 1, Stage.HANDED_OVER, attempts=1)
    assert journal.committed == OLD
    journal = apply(journal, Commit(1), at=9)
    assert (journal.committed, journal.previous, journal.candidate) == (NEW, OLD, None)
    assert journal.outcome == Outcome(1, NEW, UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED, at=9)


def test_whoever_comes_first_decides_between_handing_over_and_stepping_down() -> None:
    proposed = apply(Journal(committed=OLD), Propose(NEW, 1))
    handed, down = apply(proposed, HandOver(1)), apply(proposed, StepDown(1))
    assert apply(handed, StepDown(1)) == handed
    assert apply(handed, Recall(1, UpgradeReason.STOP_NOT_ORDERED)) == handed
    assert apply(down, HandOver(1)) == down
    assert apply(down, Recall(1, UpgradeReason.STOP_NOT_ORDERED)).candidate is None


def test_only_what_was_handed_over_is_committed() -> None:
    proposed = apply(Journal(committed=OLD), Propose(NEW, 1))
    assert apply(proposed, Commit(1)) == proposed


def test_a_change_of_another_attempt_is_void() -> None:
    journal = grown(Journal(committed=OLD), [Propose(NEW, 2)])
    for change in (HandOver(1), StepDown(1), Commit(1), Recall(1, CRASHED), Reject(1, CRASHED), Propose(NEW, 2)):
        assert apply(journal, change) == journal


def test_a_failure_of_the_artefact_is_remembered_and_one_of_the_world_is_not() -> None:
    proposed = apply(Journal(committed=OLD), Propose(NEW, 1))
    assert apply(proposed, Reject(1, CRASHED)).bad == (BadRelease(NEW, CRASHED),)
    assert apply(proposed, Reject(1, UpgradeReason.NOT_CONFIRMED)).bad == ()


def test_the_rollback_target_takes_the_place_of_a_damaged_committed_one() -> None:
    journal = grown(Journal(committed=OLD), [Propose(NEW, 1), HandOver(1), Commit(1)])
    journal = apply(journal, FallBack(OLD, UpgradeReason.COMMITTED_DAMAGED, "its digest is another"))
    assert (journal.committed, journal.previous) == (OLD, None)
    assert journal.outcome is not None
    assert (journal.outcome.release, journal.outcome.reason) == (NEW, UpgradeReason.COMMITTED_DAMAGED)
