"""What a device remembers of its agents across crashes and power cuts: pure data, and the changes made to it.

Every change is a pure function of what is on disk, made under the journal's own lock, so that the old agent, the
candidate and the launcher can each make theirs. A change that was made already, or came too late, changes nothing:
the caller reads the result from the journal that is returned.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from fleet.contract.errors import InvalidInput
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import STATE_SCHEMA, UpgradePhase, UpgradeReason
from fleet.contract.wire import decode, encode

_REMEMBERED = 32
"""Bad versions kept, newest last."""


class Release(msgspec.Struct, frozen=True):
    """One agent: its version and the digest of its artefact. Two of one version with two digests are two agents."""

    version: AgentVersion
    digest: Digest


class Stage(Enum):
    """How far a candidate has come."""

    PROPOSED = "proposed"
    """The committed agent is the writer, as long as it lives."""
    HANDED_OVER = "handed-over"
    """The candidate is the writer; the committed agent will not come back by itself."""
    STEPPED_DOWN = "stepped-down"
    """The candidate gave up before it was handed anything; the committed agent clears up."""


class Candidate(msgspec.Struct, frozen=True, rename="camel"):
    """The release on trial. `attempts` counts its starts; the launcher adds to it before each."""

    release: Release
    generation: int
    stage: Stage = Stage.PROPOSED
    attempts: int = 0


class BadRelease(msgspec.Struct, frozen=True):
    """A release that failed on this device, and is not tried again."""

    release: Release
    reason: UpgradeReason


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """How the latest attempt ended: a terminal phase. `at` is Unix seconds, for people."""

    generation: int
    release: Release
    phase: UpgradePhase
    reason: UpgradeReason
    message: str = ""
    at: float = 0
    leaving: bool = False
    """The agent that stays may have been on its way out when this was written: its unit is to be started afresh."""


class Journal(msgspec.Struct, frozen=True, rename="camel", tag="journal"):
    """`<root>/var/lib/fleet/agent/journal.json`. `previous` is the rollback target."""

    committed: Release
    schema: int = STATE_SCHEMA
    previous: Release | None = None
    candidate: Candidate | None = None
    bad: tuple[BadRelease, ...] = ()
    outcome: Outcome | None = None

    @property
    def generation(self) -> int:
        """The newest attempt that was begun past the swap, or ended; 0 for none. Older orders are void."""
        begun = self.candidate.generation if self.candidate else 0
        return max(begun, self.outcome.generation if self.outcome else 0)

    def candidate_of(self, generation: int) -> Candidate | None:
        """The candidate, if it is this attempt's."""
        return self.candidate if self.candidate and self.candidate.generation == generation else None


class JournalTrouble(Enum):
    """Why a journal cannot be used."""

    MISSING = "missing"
    DAMAGED = "damaged"
    TOO_NEW = "too new"


class BadJournal(msgspec.Struct, frozen=True):
    """A journal that is not there, does not parse, or was written by a newer agent; never an exception."""

    trouble: JournalTrouble
    message: str


class _Form(msgspec.Struct, tag="journal"):
    schema: int = 0


def render(journal: Journal) -> bytes:
    """The file's content; `parse` reads it back equal."""
    return encode(journal)


def parse(data: bytes | None) -> Journal | BadJournal:
    """What the file says; None stands for no file. It tolerates nothing: a guess here could start the wrong agent."""
    if data is None:
        return BadJournal(JournalTrouble.MISSING, "there is no journal")
    try:
        form = decode(data, _Form)
        if form.schema > STATE_SCHEMA:
            what = f"it has form {form.schema}, and this agent understands up to {STATE_SCHEMA}"
            return BadJournal(JournalTrouble.TOO_NEW, what)
        if form.schema < 1:
            return BadJournal(JournalTrouble.DAMAGED, "it does not say its form")
        return decode(data, Journal)
    except InvalidInput as error:
        return BadJournal(JournalTrouble.DAMAGED, error.what)


class Propose(msgspec.Struct, frozen=True):
    """Name a candidate, before the link points to it."""

    release: Release
    generation: int


class CountAttempt(msgspec.Struct, frozen=True):
    """One more start of the candidate; made by the launcher before it starts it."""

    generation: int


class HandOver(msgspec.Struct, frozen=True):
    """The candidate is the writer from now on; void once it has stepped down."""

    generation: int


class StepDown(msgspec.Struct, frozen=True):
    """The candidate gives up; void once it was handed over."""

    generation: int


class Commit(msgspec.Struct, frozen=True):
    """The candidate has proven itself; what was committed is the rollback target."""

    generation: int


class Recall(msgspec.Struct, frozen=True):
    """The committed agent takes the trial back; void once the candidate was handed over."""

    generation: int
    reason: UpgradeReason
    message: str = ""


class Reject(msgspec.Struct, frozen=True):
    """The candidate has failed, by its own word or the launcher's; what was committed stays."""

    generation: int
    reason: UpgradeReason
    message: str = ""


class FallBack(msgspec.Struct, frozen=True):
    """What was committed cannot run any more; made by the launcher before it starts `release` in its place."""

    release: Release
    reason: UpgradeReason
    message: str = ""


class Finish(msgspec.Struct, frozen=True):
    """An attempt ends without a candidate: refused, or there was nothing to do."""

    generation: int
    release: Release
    phase: UpgradePhase
    reason: UpgradeReason
    message: str = ""


Change = Propose | CountAttempt | HandOver | StepDown | Commit | Recall | Reject | FallBack | Finish


def apply(journal: Journal, change: Change, at: float = 0) -> Journal:
    """The journal after `change`, or the same when it is void. `at` is Unix seconds, for people."""
    match change:
        case Propose() if change.generation > journal.generation:
            return msgspec.structs.replace(journal, candidate=Candidate(change.release, change.generation))
        case Finish() if change.generation > journal.generation:
            outcome = Outcome(change.generation, change.release, change.phase, change.reason, change.message, at)
            return _ended(journal, outcome)
        case FallBack() if change.release != journal.committed:
            return _fallen_back(journal, change, at)
        case Propose() | Finish() | FallBack():
            return journal
        case _:
            candidate = journal.candidate_of(change.generation)
            return journal if candidate is None else _moved(journal, candidate, change, at)


def _moved(
    journal: Journal,
    candidate: Candidate,
    change: CountAttempt | HandOver | StepDown | Commit | Recall | Reject,
    at: float,
) -> Journal:
    match change:
        case CountAttempt() | HandOver() | StepDown():
            return msgspec.structs.replace(journal, candidate=_staged(candidate, change))
        case Commit() if candidate.stage is Stage.HANDED_OVER:
            return _committed(journal, candidate, at)
        case Recall() if candidate.stage is not Stage.HANDED_OVER:
            return _reverted(journal, candidate, change, at)
        case Reject():
            return _reverted(journal, candidate, change, at)
        case _:
            return journal


def _staged(candidate: Candidate, change: CountAttempt | HandOver | StepDown) -> Candidate:
    match change:
        case CountAttempt():
            return msgspec.structs.replace(candidate, attempts=candidate.attempts + 1)
        case _ if candidate.stage is not Stage.PROPOSED:
            return candidate
        case HandOver():
            return msgspec.structs.replace(candidate, stage=Stage.HANDED_OVER)
        case StepDown():
            return msgspec.structs.replace(candidate, stage=Stage.STEPPED_DOWN)


def _committed(journal: Journal, candidate: Candidate, at: float) -> Journal:
    outcome = Outcome(candidate.generation, candidate.release, UpgradePhase.COMMITTED, UpgradeReason.CONFIRMED, at=at)
    ended = _ended(journal, outcome)
    return msgspec.structs.replace(ended, committed=candidate.release, previous=journal.committed)


def _reverted(journal: Journal, candidate: Candidate, change: Recall | Reject, at: float) -> Journal:
    outcome = Outcome(
        candidate.generation,
        candidate.release,
        UpgradePhase.REVERTED,
        change.reason,
        change.message,
        at,
        leaving=candidate.stage is Stage.HANDED_OVER,
    )
    return _ended(journal, outcome)


def _fallen_back(journal: Journal, change: FallBack, at: float) -> Journal:
    phase, generation = UpgradePhase.REVERTED, journal.generation
    outcome = Outcome(generation, journal.committed, phase, change.reason, change.message, at, leaving=True)
    ended = _ended(journal, outcome)
    previous = None if journal.previous == change.release else journal.previous
    return msgspec.structs.replace(ended, committed=change.release, previous=previous)


def _ended(journal: Journal, outcome: Outcome) -> Journal:
    bad = journal.bad
    if outcome.reason.condemns and all(entry.release != outcome.release for entry in bad):
        bad = (*bad, BadRelease(outcome.release, outcome.reason))[-_REMEMBERED:]
    return msgspec.structs.replace(journal, candidate=None, outcome=outcome, bad=bad)
