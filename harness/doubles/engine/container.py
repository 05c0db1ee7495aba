"""One container: its life from creation to removal, with the engine's restart policy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from harness.doubles.engine.errors import Refused, no_program, not_running, port_taken, still_running
from harness.doubles.engine.events import Events
from harness.doubles.engine.health import command, watch
from harness.doubles.engine.log import Log
from harness.doubles.engine.manners import Manners
from harness.doubles.engine.process import Process, Spec, StartFailed
from harness.doubles.engine.records import Config, Health, HostConfig, Mount, Record, now
from harness.doubles.engine.volumes import Volumes

_FIRST_DELAY, _LONGEST_DELAY, _SETTLED = 0.1, 60.0, 10.0
"""Seconds: Docker's restart delays double from 100 ms to a minute, and begin anew after ten seconds of life."""


Neighbours = Callable[[Record], contextlib.AbstractAsyncContextManager[int]]


class Container:
    """A record, and the process while there is one. `image` is what the image says where the record does not."""

    def __init__(
        self,
        record: Record,
        image: Config,
        home: Path,
        events: Events,
        manners: Manners,
        volumes: Volumes,
        neighbours: Neighbours,
    ) -> None:
        """Nothing runs before `start`. `neighbours` is asked for a process in a network of the container's."""
        self._neighbours = neighbours
        self._volumes = volumes
        self.record = record
        self._image = image
        self._home = home
        self._events = events
        self._manners = manners
        self._process: Process | None = None
        self.log = Log(home / "log", lambda: self.record.state.running)
        self._tasks: list[asyncio.Task[None]] = []
        self._delay = _FIRST_DELAY
        self._changing = asyncio.Lock()

    @property
    def pid(self) -> int:
        """Its process; 0 while there is none."""
        return self._process.pid if self._process else 0

    def save(self) -> None:
        """Write the record to disk."""
        draft = self._home / "record.new"
        draft.write_bytes(msgspec.json.encode(self.record))
        draft.replace(self._home / "record.json")

    async def start(self) -> bool:
        """Run it; False if it runs already.

        Raises:
            Refused: it cannot be started; the state says why.
        """
        async with self._changing:
            if self.record.state.running:
                return False
            self.record.stopped = False
            self.record.restart_count = 0
            self._delay = _FIRST_DELAY
            await self._start()
            return True

    async def stop(self, grace: float | None) -> bool:
        """Ask it to end, and end it after `grace` seconds, or its own; False if it does not run."""
        own = self.record.config.stop_timeout
        grace = grace if grace is not None else 10 if own is None else own
        async with self._changing:
            self.record.stopped = True
            if not self.record.state.running:
                return False
            await self._end(self._stop_signal(), grace)
            self._emit("stop")
            self.save()
            return True

    async def kill(self, number: signal.Signals) -> None:
        """Send it a signal.

        Raises:
            Refused: 409 it does not run.
        """
        if self._process is None:
            raise not_running(self.record.id)
        self._emit("kill", signal=str(int(number)))
        self._process.send(number)

    async def remove(self, *, force: bool) -> None:
        """Make it gone.

        Raises:
            Refused: 409 it runs, and `force` was not given.
        """
        async with self._changing:
            if self.record.state.running and not force:
                raise still_running(self.record.id)
            self.record.stopped = True
            await self._end(signal.SIGKILL, None)
            shutil.rmtree(self._home)
            self._emit("destroy")

    async def revive(self) -> None:
        """What becomes of it when the engine comes back after an end that took its process."""
        state = self.record.state
        if state.running:
            state.become("exited")
            state.pid, state.exit_code, state.finished_at = 0, 137, now()
            self.save()
        if not self.record.stopped and self.record.host_config.restart_policy.name in {"always", "unless-stopped"}:
            async with self._changing:
                if state.status != "created":
                    await self._restart()

    async def _start(self) -> None:
        state = self.record.state
        try:
            async with self._neighbours(self.record) as pid:
                self._process = await Process.start(msgspec.structs.replace(self._spec(), join=pid))
                state.pid = self._process.pid
        except StartFailed as error:
            raise self._not_started(error) from error
        state.become("running")
        state.pid, state.exit_code, state.error, state.started_at = self._process.pid, 0, "", now()
        self._tasks = [
            asyncio.create_task(self._attend(self._process, time.monotonic())),
            asyncio.create_task(self.log.note()),
        ]
        self._emit("start")
        check = self.record.config.healthcheck or self._image.healthcheck
        if check is not None and command(check):
            health = state.health = Health()
            changed = lambda: self._emit(f"health_status: {health.status}")  # noqa: E731 - two words
            self._tasks.append(asyncio.create_task(watch(self._process, check, health, changed)))
        self.save()

    def _not_started(self, error: StartFailed) -> Refused:
        if error.kind == "port":
            code, refused = 128, port_taken(error.port, self.record.name)
        elif error.kind == "exec":
            code, refused = 127, no_program(self._argv()[0])
        else:
            code, refused = 128, Refused(500, error.message)
        self.record.state.become("created" if self.record.state.status == "created" else "exited")
        if self._manners.tells_failed_start:
            self.record.state.exit_code, self.record.state.error = code, refused.message
        self.save()
        return refused

    async def _attend(self, process: Process, started: float) -> None:
        """Wait for the process's end, and do what the policy says."""
        code = await process.wait()
        for task in self._tasks[1:]:
            task.cancel()
        self._process = None
        state = self.record.state
        state.exit_code, state.pid, state.finished_at = code, 0, now()
        again = self._restarts(code)
        state.become(self._manners.between if again else "exited")
        if again:
            self.record.restart_count += 1
        self._emit("die", exitCode=str(code))
        self.save()
        if again:
            if time.monotonic() - started >= _SETTLED:
                self._delay = _FIRST_DELAY
            await asyncio.sleep(self._delay if self._manners.pauses else 0)
            self._delay = min(2 * self._delay, _LONGEST_DELAY)
            async with self._changing:
                if not self.record.stopped:
                    await self._restart()

    async def _restart(self) -> None:
        try:
            await self._start()
        except Refused:
            self.record.state.become("exited")
            self._emit("die", exitCode=str(self.record.state.exit_code))

    def _restarts(self, code: int) -> bool:
        policy = self.record.host_config.restart_policy
        if self.record.stopped:
            return False
        if policy.name == "on-failure":
            most = policy.maximum_retry_count
            return code != 0 and (most == 0 or self.record.restart_count < most)
        return policy.name in {"always", "unless-stopped"}

    async def _end(self, number: int, grace: float | None) -> None:
        process, tasks = self._process, self._tasks
        if process is not None:
            self._emit("kill", signal=str(int(number)))
            process.send(number)
            try:
                await asyncio.wait_for(process.wait(), grace)
            except TimeoutError:
                self._emit("kill", signal="9")
                process.send(signal.SIGKILL)
            await asyncio.wait(tasks[:1])
        else:
            for task in tasks:
                task.cancel()
            if self.record.state.status == self._manners.between:
                self.record.state.become("exited")

    def _stop_signal(self) -> int:
        name = self.record.config.stop_signal or self._image.stop_signal or "SIGTERM"
        if name.isdigit():
            return int(name)
        # Real-time signals are named by their distance from the first or the last one: SIGRTMIN+3.
        base, _, distance = name.removeprefix("SIG").replace("-", "+-").partition("+")
        return signal.Signals[f"SIG{base}"] + int(distance or 0)

    def _argv(self) -> list[str]:
        own = self.record.config
        entrypoint = own.entrypoint or self._image.entrypoint or []
        # A new entry point drops the image's command, as the engine does.
        default = [] if own.entrypoint else self._image.cmd or []
        return [*entrypoint, *(own.cmd or default)]

    def _spec(self) -> Spec:
        own, host = self.record.config, self.record.host_config
        env = dict(entry.split("=", 1) for entry in [*(self._image.env or []), *(own.env or [])] if "=" in entry)
        return Spec(
            root=str(self._home / "root"),
            argv=self._argv(),
            env={"PATH": os.defpath, "HOSTNAME": own.hostname or self.record.id[:12], **self._manners.env, **env},
            folder=own.working_dir or self._image.working_dir or "/",
            log=str(self.log.file),
            ports=_published(host),
            hostname=own.hostname or self.record.id[:12],
            network=host.network_mode,
            mounts=[
                *(
                    {
                        "type": mount.type,
                        "source": self._source(mount),
                        "target": mount.target,
                        "read_only": mount.read_only,
                        "size": mount.tmpfs_options.size_bytes if mount.tmpfs_options else 0,
                    }
                    for mount in host.mounts or []
                ),
                *(
                    {
                        "type": "bind",
                        "source": device.path_on_host,
                        "target": device.path_in_container,
                        "read_only": False,
                    }
                    for device in host.devices or []
                ),
            ],
            shm=host.shm_size,
            read_only=host.readonly_rootfs,
            privileged=host.privileged,
            cap_add=host.cap_add or [],
            cap_drop=host.cap_drop or [],
            security=host.security_opt or [],
            ulimits=[(ulimit.name, ulimit.soft, ulimit.hard) for ulimit in host.ulimits or []],
            user=own.user or self._image.user,
        )

    def mounts(self) -> list[dict[str, Any]]:
        """What is mounted, as `inspect` shows it; sources are where they lie on the host."""
        return [
            {
                "Type": mount.type,
                "Name": mount.source if mount.type == "volume" else "",
                "Source": "" if mount.type == "tmpfs" else self._source(mount),
                "Destination": mount.target,
                "RW": not mount.read_only,
            }
            for mount in self.record.host_config.mounts or []
        ]

    def _source(self, mount: Mount) -> str:
        return str(self._volumes.data(mount.source)) if mount.type == "volume" else mount.source

    def _emit(self, action: str, **attributes: str) -> None:
        self._events.emit(action, self.record, **attributes)


def _published(host: HostConfig) -> list[dict[str, int | str]]:
    return [
        {"host": int(binding.host_port), "container": int(key.partition("/")[0]), "protocol": key.partition("/")[2]}
        for key, bindings in (host.port_bindings or {}).items()
        for binding in bindings or []
    ]
