"""Lays down the first version of a device; `fleet device setup --agent` runs it out of the artefact itself.

It is started in place of the agent's command line (shiv's `SHIV_ENTRY_POINT`), with the words VERSION and DIGEST.
A device that has a version already keeps it: what comes after the first one comes by an upgrade.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fleet.agent.paths import AgentPaths
from fleet.agent.upgrade.device.disk import DeviceDisk
from fleet.agent.upgrade.device.stage import stage
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.protocol.journal import Journal, JournalTrouble, Release
from fleet.artifacts.refusal import Refusal
from fleet.contract.errors import FleetError
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.upgrade import UpgradeReason
from fleet.process.console import answer, tell
from fleet.process.umask import tighten


def adopt(paths: AgentPaths, release: Release) -> Release:
    """Make a downloaded release the committed one, unless there is one; what is committed now.

    Raises:
        Refusal: it is not what was signed, does not fit this machine, or a newer agent wrote what is on disk.
        OSError: the disk failed; a repeat goes on.
    """
    disk = DeviceDisk(paths)
    journal = disk.read_journal()
    if isinstance(journal, Journal):
        return journal.committed
    if journal.trouble is JournalTrouble.TOO_NEW:
        raise Refusal(
            UpgradeReason.STATE_TOO_NEW,
            f"a newer agent wrote the journal of this device: {journal.message}",
            next_step="set the device up with an agent that is as new",
        )
    store = VersionStore(paths.root)
    store.versions.mkdir(parents=True, exist_ok=True)
    stage(store, release)
    _set_aside(store)
    disk.begin(Journal(release))
    disk.point_link(release)
    return release


def _set_aside(store: VersionStore) -> None:
    """Move an agent that was installed as a plain file to a name of its own: its place becomes a link to a version."""
    if store.link.is_file() and not store.link.is_symlink():
        store.link.replace(store.link.with_name(f"{store.link.name}.before-versions"))


def main() -> None:
    """The command line: `VERSION DIGEST`, below $FLEET_ROOT."""
    tighten()
    try:
        version, digest = sys.argv[1:]
        paths = AgentPaths(Path(os.environ.get("FLEET_ROOT") or "/"))
        committed = adopt(paths, Release(AgentVersion(version), Digest(digest)))
    except FleetError as error:
        tell(*error.lines)  # for the person who sets the device up
        sys.exit(error.exit_code)
    except OSError as error:
        tell(f"the disk refused: {error}")
        sys.exit(FleetError.exit_code)
    answer(str(committed.version))
