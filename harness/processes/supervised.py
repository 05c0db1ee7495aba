"""One supervised process: keep it as its specification says, and publish what is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections import deque
from pathlib import Path

import msgspec
from msgspec.structs import replace

from harness.errors import BinaryMissing
from harness.processes.health import why_not
from harness.processes.spawn import signal_group, spawn
from harness.processes.spec import ComponentSpec, ComponentStatus, Exit, Result, record, write_atomic

_LOOK_STARTING = 0.05
_LOOK_READY = 1.0
"""Seconds between looks at a component that is not ready yet, and at one that is."""
_SETTLED = 10.0
"""Seconds after which a component that ends is restarted without a longer pause."""
_EXITS_KEPT = 50


class SupervisedProcess:
    """Lives in the supervisor's event loop; every method returns once the thing is done."""

    def __init__(self, root: Path, spec: ComponentSpec) -> None:
        """Nothing runs before `start`."""
        self.spec = spec
        self._root = root
        self._status = ComponentStatus(spec.name, spec.side)
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._asked = False
        self._reported = False
        self._keeper: asyncio.Task[None] | None = None
        self._operation = asyncio.Lock()
        self._started: deque[float] = deque()

    async def start(self) -> None:
        """Spawn it, and restart it from here on as its policy says; nothing if it is kept already."""
        async with self._operation:
            if self._keeper is None or self._keeper.done():
                self._unwanted.clear()
                spawned = asyncio.Event()
                self._keeper = asyncio.create_task(self._keep(spawned))
                await spawned.wait()

    async def stop(self, longest: float = 3600) -> None:
        """SIGTERM, and SIGKILL after its grace or `longest` seconds; at once where that is 0. It stays down."""
        async with self._operation:
            self._unwanted.set()
            if self._keeper is not None:
                grace = min(longest, self.spec.grace)
                await self._end(signal.SIGTERM if grace else signal.SIGKILL, grace)
                await self._keeper

    async def kill(self) -> None:
        """Send SIGKILL on request; the restart policy decides what follows."""
        async with self._operation:
            await self._end(signal.SIGKILL, self.spec.grace)

    def signal(self, number: signal.Signals, *, alone: bool) -> None:
        """Send a signal on request; nothing if the process does not run."""
        if self._process is not None:
            self._asked = True
            record(self._root, f"sent {number.name}", component=self.spec.name, asked=True)
            if alone:
                self._process.send_signal(number)  # nothing if only what it started is left
            else:
                signal_group(self._process.pid, number)

    async def restart(self) -> None:
        """Stop, and start at once."""
        await self.stop()
        await self.start()

    async def become(self, spec: ComponentSpec) -> None:
        """Run a new specification; a process of the old one is stopped first, within the new one's grace."""
        await self.stop(spec.grace)
        self.spec = spec
        if spec.run:
            await self.start()

    def freeze(self, *, paused: bool) -> None:
        """SIGSTOP, or SIGCONT."""
        if self._process is not None:
            signal_group(self._process.pid, signal.SIGSTOP if paused else signal.SIGCONT)
            record(self._root, "paused" if paused else "resumed", component=self.spec.name, asked=True)
            self._publish(paused=paused)

    def forget(self) -> None:
        """Remove the published status; the component no longer exists."""
        (self._root / "status" / f"{self.spec.name}.json").unlink(missing_ok=True)

    async def _keep(self, spawned: asyncio.Event) -> None:
        pause = self.spec.pause
        while not self._unwanted.is_set():
            started = time.monotonic()
            if not self._may_start(started):
                spawned.set()
                self._publish(unready="started too often", result="start-limit-hit")
                record(self._root, "not started again: too often", component=self.spec.name)
                return
            code = await self._run(spawned)
            asked, self._asked = self._asked, False
            exits = (*self._status.exits, Exit(time.time(), code, asked))[-_EXITS_KEPT:]
            over = not self.spec.restarts_after(code)
            result = _result(self.spec, code) if over else ""
            self._publish(pid=None, unready="not running", paused=False, exits=exits, result=result)
            how = "ended cleanly" if code in self.spec.clean else "ended"
            record(self._root, f"{how} with code {code}", component=self.spec.name, asked=asked)
            if over:
                return
            lasted = time.monotonic() - started
            pause = self.spec.pause if asked or lasted >= _SETTLED else min(2 * pause, self.spec.longest_pause)
            await _either(self._unwanted, pause)

    def _may_start(self, now: float) -> bool:
        """Whether one more start keeps within the limit; it counts if so."""
        if not self.spec.burst:
            return True
        while self._started and self._started[0] <= now - self.spec.window:
            self._started.popleft()
        if len(self._started) >= self.spec.burst:
            return False
        self._started.append(now)
        return True

    async def _run(self, spawned: asyncio.Event) -> int:
        """One life of the process; returns its exit code."""
        spec = self.spec
        log = self._root / "logs" / f"{spec.name}.log"
        env = {**(os.environ if spec.inherits else {}), **spec.env, "FLEET_WORLD": str(self._root)}
        try:
            process = spawn(spec.argv, log=log, env=env, cwd=Path(spec.cwd) if spec.cwd else None)
        except BinaryMissing as error:
            self._publish(unready=error.what)
            return 127
        finally:
            spawned.set()
        self._process, starts = process, self._status.starts + 1
        waiting = "has not answered yet" if spec.ready else ""
        self._publish(pid=process.pid, starts=starts, started=time.time(), unready=waiting, result="")
        record(self._root, f"started, pid {process.pid}", component=spec.name)
        self._gone.clear()
        watch = asyncio.create_task(self._watch_answers(process)) if spec.ready else None
        try:
            await _end_of(process)
            code = process.wait()
            if spec.kill == "group":
                await self._end_rest(process.pid)
        finally:
            if watch is not None:
                watch.cancel()
            if spec.kill != "process":
                signal_group(process.pid, signal.SIGKILL)  # what the process itself left behind
            self._process, self._reported = None, False
            self._gone.set()
        return code

    async def _end_rest(self, group: int) -> None:
        """Also end the processes that outlive it, with the same grace period."""
        if not self._reported:
            signal_group(group, signal.SIGTERM)
        deadline = time.monotonic() + self.spec.grace
        while _lives(group) and time.monotonic() < deadline:  # noqa: ASYNC110 - the kernel tells nobody of a group
            await asyncio.sleep(0.01)

    async def _watch_answers(self, process: subprocess.Popen[bytes]) -> None:
        while True:
            reason, before = await why_not(self.spec.ready), self._status.unready
            # asyncio.wait_for of Python 3.11 may swallow the cancellation that came with the end of this life, and what
            # a watcher of an earlier life publishes would hide the one that runs.
            if self._process is not process:
                return
            if reason != before and not self._status.paused:
                if not (reason and before):
                    record(self._root, f"does not answer: {reason}" if reason else "ready", component=self.spec.name)
                self._publish(unready=reason)
            await asyncio.sleep(_LOOK_STARTING if reason else _LOOK_READY)

    async def _end(self, number: signal.Signals, grace: float) -> None:
        process = self._process
        if process is None:
            return
        self._asked = True
        record(self._root, f"asked to end ({number.name})", component=self.spec.name, asked=True)
        to = signal_group if self.spec.kill == "group" or number == signal.SIGKILL else os.kill
        self._reported = True
        to(process.pid, number)
        to(process.pid, signal.SIGCONT)
        if not await _either(self._gone, grace):
            signal_group(process.pid, signal.SIGKILL)
            await self._gone.wait()

    def _publish(self, **changes: object) -> None:
        self._status = replace(self._status, **changes)
        write_atomic(self._root / "status" / f"{self.spec.name}.json", msgspec.json.encode(self._status))


def _result(spec: ComponentSpec, code: int) -> Result:
    if spec.is_clean(code):
        return "success"
    return "signal" if code < 0 else "exit-code"


def _lives(group: int) -> bool:
    """Whether anything of a group is left; its orphans are ours, and are reaped."""
    try:
        return os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG) is None
    except ChildProcessError:
        return False


async def _either(event: asyncio.Event, seconds: float) -> bool:
    """Until the event, or for so long; whether the event came."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def _end_of(process: subprocess.Popen[bytes]) -> None:
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(process.pid)
    ended = loop.create_future()
    loop.add_reader(handle, lambda: ended.done() or ended.set_result(None))
    try:
        await ended
    finally:
        loop.remove_reader(handle)
        os.close(handle)
