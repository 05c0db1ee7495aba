"""The launcher's rules of `docs/upgrade.md`, as the model plays them."""

from __future__ import annotations

from fleet.agent.upgrade.protocol.journal import (
    CountAttempt,
    FallBack,
    Journal,
    Reject,
    Stage,
)
from fleet.contract.upgrade import UpgradeReason
from tests.upgrade.model.world import RELEASES, Files, Plan

ATTEMPTS = 2
"""Starts of a candidate in the model; fewer than in the field, for the same reasons at less cost."""


def verifies(version: int, files: Files) -> bool:
    return version == 0 or files is Files.MARKED


def boot(journal: Journal, link: int) -> int:
    """The version whose unit is started at boot."""
    candidate = journal.candidate
    if candidate and candidate.stage is Stage.HANDED_OVER and RELEASES.index(candidate.release) == link:
        return link
    return RELEASES.index(journal.committed)


def run(version: int, journal: Journal, files: Files) -> Plan:
    """What the launcher of one unit does before it becomes its version."""
    candidate, mine = journal.candidate, RELEASES[version]
    committed = RELEASES.index(journal.committed)
    if candidate and candidate.release == mine and candidate.stage is not Stage.STEPPED_DOWN:
        if not verifies(version, files):
            return _rejected(journal, UpgradeReason.CANDIDATE_DAMAGED)
        if exhausted(candidate.attempts):
            return _rejected(journal, UpgradeReason.CANDIDATE_CRASHED)
        return Plan(CountAttempt(candidate.generation), become=True)
    if journal.committed == mine:
        if verifies(version, files):
            return Plan(None, become=True)
        other = 1 - version
        change = FallBack(RELEASES[other], UpgradeReason.COMMITTED_DAMAGED)
        return Plan(change, become=False, other=other, restart=True)
    return Plan(None, become=False, other=committed, restart=_leaving(journal))


def _leaving(journal: Journal) -> bool:
    if journal.candidate is not None:
        return journal.candidate.stage is Stage.HANDED_OVER
    return journal.outcome is not None and journal.outcome.leaving


def exhausted(attempts: int) -> bool:
    return attempts >= ATTEMPTS


def _rejected(journal: Journal, reason: UpgradeReason) -> Plan:
    candidate = journal.candidate
    assert candidate is not None
    handed = candidate.stage is Stage.HANDED_OVER
    other = RELEASES.index(journal.committed)
    return Plan(Reject(candidate.generation, reason), become=False, other=other, restart=handed)
