"""Turns the machine's effects into acts, and what comes of them into events. It decides nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
import structlog

from fleet.agent.supervise import keep_going
from fleet.agent.upgrade.device import units
from fleet.agent.upgrade.device import writer_lock as lock
from fleet.agent.upgrade.device.channel import UpgradeChannel
from fleet.agent.upgrade.device.failures import log_failure, reason_of, words_of
from fleet.agent.upgrade.device.lease import Lease
from fleet.agent.upgrade.protocol import effects as do
from fleet.agent.upgrade.protocol import events as seen
from fleet.agent.upgrade.protocol.deadlines import Deadline, limit_of
from fleet.agent.upgrade.protocol.journal import BadJournal, Change, Journal, Release
from fleet.agent.upgrade.protocol.machine import begin, step
from fleet.agent.upgrade.protocol.reporting import beats_as
from fleet.agent.upgrade.protocol.state import AgentProcess, Phase, State
from fleet.contract.config import AgentConfig
from fleet.contract.errors import Unreachable
from fleet.contract.upgrade import UpgradeStatus
from fleet.contract.wire import AgentTarget
from fleet.nats.bus import Bus
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_LOOK_AT_JOURNAL = 0.2
"""Seconds between checks for a change of the journal."""
_IDLE = frozenset({Phase.STANDBY, Phase.SERVING, Phase.DISABLED})

Job = do.Fetch | do.StageFiles | do.SelfTest


class Disk(Protocol):
    """The device's versions and its journal. Every method may be called again after a crash in its middle.

    The methods that are not async may block; they are called in a thread. What refuses an artefact is a `Refusal`,
    what the disk refuses an `OSError`.
    """

    def read_journal(self) -> Journal | BadJournal:
        """What the journal says now."""
        ...

    def stamp(self) -> object:
        """Something that differs whenever the journal was written in between; cheap."""
        ...

    def record(self, change: Change) -> Journal:
        """Make a change durably, under the journal's lock; what the journal says afterwards."""
        ...

    def point_link(self, release: Release) -> None:
        """Swap the link durably, to a version that is there and as it was verified."""
        ...

    async def fetch(self, bus: Bus, target: AgentTarget) -> None:
        """Download, going on where an earlier call stopped. Raises `Unreachable` when NATS does not answer."""
        ...

    async def stage(self, target: AgentTarget) -> None:
        """Verify what was downloaded and lay it down, the marker last."""
        ...

    async def self_test(self, target: AgentTarget, within: float) -> None:
        """Run the staged version's examination, for at most so many seconds."""
        ...

    def retain(self, newest: int) -> object:
        """Remove versions but the `newest` ones and those that may be needed."""
        ...


class Installed(msgspec.Struct, frozen=True):
    """An agent with its versions side by side: which one this process is, and the disk that holds them."""

    release: Release
    disk: Disk


class AgentControl(Protocol):
    """The rest of the agent, as the upgrade needs it."""

    async def write(self, *, engine: bool, reports: bool) -> None:
        """See the effect `Write`; tells `Workloads` afterwards."""
        ...

    def report(self, status: UpgradeStatus) -> None:
        """See the effect `Report`."""
        ...

    def beat_as(self, generation: int) -> None:
        """The generation of the heartbeats from now on."""
        ...


class HandedOver(Exception):  # noqa: N818 - not an error: another version runs, and this process ends
    """The machine is done with this process."""


class Runner:
    """One process' upgrade machine at work."""

    def __init__(
        self, config: AgentConfig, process: AgentProcess, disk: Disk, control: AgentControl, lock_file: Path
    ) -> None:
        self._limits = limits = config.upgrade
        self._self_test = limits.self_test
        self._process = process
        self._disk = disk
        self._control = control
        self._lock_file = lock_file
        self._events: asyncio.Queue[seen.Event] = asyncio.Queue()
        self.channel = UpgradeChannel(config.device_id, config.resync_interval, self.put_event)
        self._lease = Lease(config.device_id, process, self.channel, limits.lease, self.put_event)
        self._job: asyncio.Task[None] | None = None
        self._locking: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._lock = -1

    def put_event(self, event: seen.Event) -> None:
        """Something happened."""
        self._events.put_nowait(event)

    async def run(self) -> None:
        """Work until cancelled.

        Raises:
            HandedOver: this process is to end with `EXIT_DONE`.
        """
        watch = asyncio.create_task(keep_going("watch of the journal", self._watch_journal))
        try:
            state, effects = begin(self._process, await asyncio.to_thread(self._disk.read_journal))
            self._log_phase(None, state)
            while True:
                self._control.beat_as(beats_as(state))
                self.channel.awaits_candidate = state.phase is Phase.STARTING
                for effect in effects:
                    await self._carry_out(effect)
                event = await self._events.get()
                before = state
                state, effects = self._step(state, event)
                self._log_phase(before, state)
        finally:
            watch.cancel()
            self._lease.drop()
            for task in (self._job, self._locking):
                if task is not None:
                    task.cancel()
            if self._deadline is not None:
                self._deadline.cancel()

    def _step(self, state: State, event: seen.Event) -> tuple[State, Sequence[do.Effect]]:
        """The machine's next state; an event that it was not made for is passed over, as one that was lost."""
        try:
            return step(state, event)
        except Exception:  # the agent must go on with its workloads, whatever the protocol meets
            _log.exception("an event of the upgrade is passed over", happened=type(event).__name__)
            return state, ()

    def _log_phase(self, before: State | None, after: State) -> None:
        if before is None or before.phase is not after.phase:
            words = {"why": after.reason.value, "message": after.message} if after.phase not in _IDLE else {}
            _log.info("upgrade", phase=after.phase.value, **words)

    async def _carry_out(self, effect: do.Effect) -> None:  # noqa: C901, PLR0912 - one case for each effect
        match effect:
            case do.TakeLock():
                if self._locking is None:
                    self._locking = asyncio.create_task(keep_going("writer's lock", self._take_lock))
            case do.TakeLease(generation, patient):
                self._lease.take(generation, patient=patient)
            case do.ReleaseLease():
                await self._lease.release()
            case do.Write(engine, reports):
                await self._control.write(engine=engine, reports=reports)
            case do.Report(status):
                self._control.report(status)
            case do.Fetch() | do.StageFiles() | do.SelfTest():
                self._drop_job()
                self._job = asyncio.create_task(self._work(effect))
            case do.DropJob():
                self._drop_job()
            case do.Retain(newest):
                await self._retain(newest)
            case do.Record(change):
                await self._record(change)
            case do.PointLink(release):
                await self._point_link(release)
            case do.StartUnit(release, afresh):
                await self._unit(units.start(release.version, afresh=afresh), seen.UnitStarted())
            case do.StopUnit(release):
                await self._unit(units.stop(release.version), seen.UnitStopped())
            case do.StopOthers(release):
                await units.stop_others(release.version)
            case do.Arm(deadline):
                self._arm(deadline)
            case do.Exit():
                raise HandedOver

    async def _take_lock(self) -> None:
        if self._lock < 0:
            self._lock = await lock.take(self._lock_file)
        self.put_event(seen.LockTaken(await asyncio.to_thread(self._disk.read_journal)))

    async def _retain(self, newest: int) -> None:
        try:
            await asyncio.to_thread(self._disk.retain, newest)
        except Exception as error:  # old versions only take room; any failure to remove them must not end the upgrade
            log_failure("versions not removed", error, kept=newest)

    async def _record(self, change: Change) -> None:
        try:
            journal = await asyncio.to_thread(self._disk.record, change)
        except Exception as error:  # the machine must learn of every failure, or it waits for an event that never comes
            log_failure("journal not written", error, change=type(change).__name__)
            self.put_event(seen.NotRecorded(words_of(error)))
        else:
            _log.info("journal written", change=msgspec.to_builtins(change, enc_hook=str))
            self.put_event(seen.Recorded(journal))

    async def _point_link(self, release: Release) -> None:
        try:
            await asyncio.to_thread(self._disk.point_link, release)
        except Exception as error:  # as in `_record`
            log_failure("link not swapped", error, version=release.version)
            self.put_event(seen.LinkRefused(reason_of(error), words_of(error)))
        else:
            self.put_event(seen.LinkPointed())

    async def _unit(self, act: Awaitable[None], done: seen.Event) -> None:
        try:
            await act
        except Exception as error:  # as in `_record`
            log_failure("unit", error)
            self.put_event(seen.UnitFailed(words_of(error)))
        else:
            self.put_event(done)

    def _arm(self, deadline: Deadline | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if deadline is not None:
            loop, seconds = asyncio.get_running_loop(), limit_of(self._limits, deadline)
            self._deadline = loop.call_later(seconds, self.put_event, seen.Passed(deadline))

    # Jobs.

    def _drop_job(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    async def _work(self, job: Job) -> None:
        generation = job.target.generation
        try:
            answer = await self._worked(job)
        except Exception as error:  # as in `_record`; an artifact from outside may fail in any way
            log_failure("upgrade not possible", error, version=job.target.version)
            answer = seen.JobFailed(generation, reason_of(error), words_of(error))
        self.put_event(answer)

    async def _worked(self, job: Job) -> seen.Event:
        target = job.target
        match job:
            case do.Fetch():
                await self._fetch(target)
                return seen.Fetched(target.generation)
            case do.StageFiles():
                await self._disk.stage(target)
                return seen.Staged(target.generation)
            case do.SelfTest():
                await self._disk.self_test(target, self._self_test)
                return seen.SelfTested(target.generation)

    async def _fetch(self, target: AgentTarget) -> None:
        """However often the connection ends meanwhile."""
        backoff = Backoff(0.2, 10)
        while True:
            try:
                await self._disk.fetch(await self.channel.bus(), target)
            except Unreachable as error:
                _log.warning("download interrupted; it goes on", version=target.version, why=error.what)
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _watch_journal(self) -> None:
        known: object = None
        while True:
            with contextlib.suppress(OSError):
                stamp = self._disk.stamp()
                if stamp != known:
                    known = stamp
                    self.put_event(seen.JournalSeen(await asyncio.to_thread(self._disk.read_journal)))
            await asyncio.sleep(_LOOK_AT_JOURNAL)
