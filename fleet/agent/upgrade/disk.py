"""What an upgrade does to the device's disk: each act whole or not done after a power cut, and the same done twice."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from fleet.agent.child import call
from fleet.agent.place import Place
from fleet.agent.upgrade import examine, retain
from fleet.agent.upgrade.files import remove, replace, sync
from fleet.agent.upgrade.journal import BadJournal, Change, Journal, JournalTrouble, Release, apply, parse, render
from fleet.agent.upgrade.room import Room
from fleet.agent.upgrade.worker import work
from fleet.artifacts.refusal import Refusal
from fleet.contract.names import AgentVersion
from fleet.contract.upgrade import UpgradeReason
from fleet.contract.wire import AgentTarget

if TYPE_CHECKING:
    from fleet.bus import Bus

_ITSELF = 60.0
"""Seconds for the self-test of the agent that runs."""


class DeviceDisk:
    """The versions and the journal of one device. What refuses an artefact is a `Refusal`, what the disk an `OSError`.

    The methods that are not async may block.
    """

    def __init__(self, place: Place) -> None:
        """Touch nothing yet."""
        self._place = place
        self._room = Room(place.root)

    def read_journal(self) -> Journal | BadJournal:
        """What the journal says now, made durable first: nobody must act on a line that a power cut takes back."""
        try:
            sync(self._room.journal.parent)
            return parse(self._room.journal.read_bytes())
        except FileNotFoundError:
            return parse(None)
        except OSError as error:
            return BadJournal(JournalTrouble.DAMAGED, f"it cannot be read: {error.strerror}")

    def stamp(self) -> object:
        """Something that differs whenever the journal was written in between."""
        try:
            state = self._room.journal.stat()
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
                    f"the journal {self._room.journal} cannot be used: {journal.message}",
                    next_step="see which version runs, then set the device up again",
                )
            changed = apply(journal, change, time.time())
            if changed != journal:
                replace(self._room.journal, render(changed), 0o644)
            return changed

    def begin(self, journal: Journal) -> None:
        """Write the first journal of a device, durably.

        Raises:
            OSError: it could not be written.
        """
        with self._locked():
            replace(self._room.journal, render(journal), 0o644)

    def point_link(self, release: Release) -> None:
        """Swap the link durably, to a version that is there and as it was verified.

        Raises:
            Refusal: the version is not there or damaged, or the link is none of ours.
            OSError: the disk failed; the link is as it was, or swapped.
        """
        link, target = self._room.link, self._room.artifact(release.version)
        flaw = self._room.flaw(release)
        if flaw:
            there = self._room.artifact(release.version).exists()
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
        remove(self._room.new_link)
        self._room.new_link.symlink_to(os.path.relpath(target, link.parent))
        self._room.new_link.replace(link)
        sync(link.parent)

    async def fetch(self, bus: Bus, target: AgentTarget) -> None:
        """See `fleet.agent.upgrade.fetch`."""
        from fleet.agent.upgrade.fetch import fetch  # noqa: PLC0415 - the NATS client, which `adopt` needs not

        await fetch(bus.blobs(), self._room, _release(target))

    async def stage(self, target: AgentTarget) -> None:
        """See `fleet.agent.upgrade.stage`."""
        await work("stage", self._room, _release(target))

    async def self_test(self, target: AgentTarget, within: float) -> None:
        """See `fleet.agent.upgrade.examine`; `within` is in seconds."""
        await examine.self_test(self._room, _release(target), within, self._passes_itself)

    async def _passes_itself(self) -> bool:
        try:
            code, _ = await call("fleet.agent.main", "--self-test", "--root", str(self._place.root), within=_ITSELF)
        except TimeoutError:
            return False
        return code == 0

    def retain(self, newest: int) -> list[AgentVersion]:
        """See `fleet.agent.upgrade.retain`; what was removed."""
        with self._locked():
            return retain.retain(self._room, self.read_journal(), newest)

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Hold the journal's lock, which the launcher takes too."""
        with (self._room.folder / "journal.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _release(target: AgentTarget) -> Release:
    return Release(target.version, target.digest)
