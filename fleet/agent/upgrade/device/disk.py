"""What an upgrade does to the device's disk: each act whole or not done after a power cut, and the same done twice."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from fleet.agent.child import call
from fleet.agent.paths import AgentPaths
from fleet.agent.upgrade.device import examine, retain
from fleet.agent.upgrade.device.files import remove
from fleet.agent.upgrade.device.version_store import VersionStore
from fleet.agent.upgrade.device.worker import work
from fleet.agent.upgrade.protocol.journal import (
    BadJournal,
    Change,
    Journal,
    JournalTrouble,
    Release,
    apply,
    parse,
    render,
)
from fleet.artifacts.refusal import Refusal
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradeReason
from fleet.contract.wire import AgentTarget
from fleet.process.durable import replace_file, sync
from fleet.process.plain_file import open_lock, read_file

if TYPE_CHECKING:
    from fleet.nats.bus import Bus

_ITSELF = 60.0
"""Seconds for the self-test of the agent that runs."""


class DeviceDisk:
    """The versions and the journal of one device. What refuses an artefact is a `Refusal`, what the disk an `OSError`.

    The methods that are not async may block.
    """

    def __init__(self, paths: AgentPaths) -> None:
        self._place = paths
        self._store = VersionStore(paths.root)

    def read_journal(self) -> Journal | BadJournal:
        """The present journal, made durable first: no agent may act on a line that a power cut removes."""
        try:
            sync(self._store.journal.parent)
            return parse(read_file(self._store.journal))
        except FileNotFoundError:
            return parse(None)
        except OSError as error:
            return BadJournal(JournalTrouble.DAMAGED, f"it cannot be read: {error.strerror}")

    def stamp(self) -> object:
        """Something that differs whenever the journal was written in between."""
        try:
            state = self._store.journal.stat()
        except OSError as error:
            return error.errno
        return state.st_ino, state.st_mtime_ns, state.st_size

    def record(self, change: Change) -> Journal:
        """Make a change durably, under the journal's lock; what the journal says afterwards.

        Raises:
            Refusal: the journal cannot be used, and is left as it is.
            OSError: it could not be written, and is as it was.
        """
        with self._locked():
            journal = self.read_journal()
            if isinstance(journal, BadJournal):
                raise Refusal(
                    UpgradeReason.JOURNAL_UNREADABLE,
                    f"the journal {self._store.journal} cannot be used: {journal.message}",
                    next_step="see which version runs, then set the device up again",
                )
            changed = apply(journal, change, time.time())
            if changed != journal:
                replace_file(self._store.journal, render(changed), 0o644)
            return changed

    def begin(self, journal: Journal) -> None:
        """Write the first journal of a device, durably.

        Raises:
            OSError: it could not be written.
        """
        with self._locked():
            replace_file(self._store.journal, render(journal), 0o644)

    def point_link(self, release: Release) -> None:
        """Swap the link durably, to a version that is there and as it was verified.

        Raises:
            Refusal: the version is not there or damaged, or the link is none of ours.
            OSError: the disk failed; the link is as it was, or swapped.
        """
        link, target = self._store.link, self._store.artifact(release.version)
        flaw = self._store.flaw(release)
        if flaw:
            there = self._store.artifact(release.version).exists()
            raise Refusal(
                UpgradeReason.CANDIDATE_DAMAGED if there else UpgradeReason.LINK_MISSING,
                f"{release.version} cannot be started: {flaw}",
                next_step="order the version again; it is fetched and verified anew",
            )
        if link.exists() and not link.is_symlink():
            raise Refusal(
                UpgradeReason.LINK_MISSING,
                f"{link} is no link to a version, but a file that somebody put there",
                next_step="move it away, and set the device up again with --agent",
            )
        link.parent.mkdir(parents=True, exist_ok=True)
        remove(self._store.new_link)
        self._store.new_link.symlink_to(os.path.relpath(target, link.parent))
        self._store.new_link.replace(link)
        sync(link.parent)

    async def fetch(self, bus: Bus, target: AgentTarget) -> None:
        """See `fleet.agent.upgrade.device.fetch`."""
        from fleet.agent.upgrade.device.fetch import fetch  # noqa: PLC0415 - it loads the NATS client; `adopt` runs without it

        await fetch(bus.blobs(), self._store, _release(target))

    async def stage(self, target: AgentTarget) -> None:
        """See `fleet.agent.upgrade.device.stage`."""
        await work("stage", self._store, _release(target))

    async def self_test(self, target: AgentTarget, within: float) -> None:
        """See `fleet.agent.upgrade.device.examine`; `within` is in seconds."""
        await examine.self_test(self._store, _release(target), within, self._passes_itself)

    async def _passes_itself(self) -> bool:
        try:
            code, _ = await call("fleet.agent.main", "--self-test", "--root", str(self._place.root), within=_ITSELF)
        except TimeoutError:
            return False
        return code == 0

    def retain(self, newest: int) -> list[AgentVersion]:
        """See `fleet.agent.upgrade.device.retain`; what was removed."""
        with self._locked():
            return retain.retain(self._store, self.read_journal(), newest)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Hold the journal's lock, which the launcher takes too."""
        with open_lock(self._store.folder / "journal.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _release(target: AgentTarget) -> Release:
    return Release(target.version, target.digest)
