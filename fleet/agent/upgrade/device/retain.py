"""Removes old versions from a device: only if a number to keep is set, and never one that may be needed.

The committed version, the rollback target, the candidate and what the link points to stay whatever is asked; so does
everything when one of these cannot be told.
"""

from __future__ import annotations

import structlog

from fleet.agent.upgrade.device.files import remove
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.protocol.journal import BadJournal, Journal
from fleet.contract.errors import InvalidInput
from fleet.contract.names import AgentVersion
from fleet.process.durable import sync

_log = structlog.stdlib.get_logger()


def retain(store: VersionStore, journal: Journal | BadJournal, newest: int) -> list[AgentVersion]:
    """Remove versions but the `newest` ones and those that may be needed; what was removed.

    Raises:
        OSError: one could not be removed; a repeat goes on.
    """
    surplus = surplus_versions(store, journal, newest)
    for version in surplus:
        _log.info("version removed", version=version, kept=newest)
        remove(store.broken(version))
        # Out of the way as a whole: a version that is there only in part would leave everything unclear.
        store.home(version).rename(store.broken(version))
    if surplus:
        sync(store.versions)
    for left in store.leftovers():
        remove(left)
    return surplus


def surplus_versions(store: VersionStore, journal: Journal | BadJournal, newest: int) -> list[AgentVersion]:
    """Which versions `retain` would remove, oldest first; none while anything is unclear."""
    if isinstance(journal, BadJournal):
        return _unclear(f"the journal cannot be used: {journal.message}")
    names = [path.name for path in store.versions.iterdir() if not path.name.startswith(".")]
    try:
        versions = sorted((AgentVersion(name) for name in names), key=lambda version: version.precedence)
        linked = AgentVersion(store.link.readlink().parent.name)
    except (OSError, InvalidInput) as error:
        return _unclear(f"a folder or the link names no version: {error}")
    unmarked = [version for version in versions if store.marker(version) is None]
    if unmarked:
        return _unclear(f"no marker can be read of {', '.join(unmarked)}")
    kept = set(versions[-newest:]) if newest > 0 else set[AgentVersion]()
    return [version for version in versions if version not in needed(journal, linked) | kept]


def needed(journal: Journal, linked: AgentVersion) -> set[AgentVersion]:
    """The versions that must stay: committed, rollback target, candidate, and what the link points to."""
    releases = [journal.committed, journal.previous, journal.candidate.release if journal.candidate else None]
    return {linked, *(release.version for release in releases if release)}


def _unclear(why: str) -> list[AgentVersion]:
    _log.warning("every version is kept", why=why)
    return []
