"""A world's components as local processes under a supervisor: start it, speak to it, end it without a trace."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
from msgspec.structs import replace

from fleet.process.user_folders import user_cache
from harness.errors import ComponentDied, ComponentNotReady, HarnessError, PortTaken, TargetUnavailable, Unanswered
from harness.processes.spawn import let_go, tail
from harness.processes.spec import (
    ComponentStatus,
    Event,
    ask,
    history,
    put,
    record,
    specs,
    statuses,
    unready,
    write_atomic,
)
from harness.wait import WaitFailed, WaitTimeout, wait_until
from harness.world import folders
from harness.world.diagnosis import PORT_TAKEN, Triage, product_deaths

_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV")
"""Of our own environment; nothing of it may steer the product."""
_ENV = "env.sh"
_START = 60.0
"""Seconds that components have to answer: 20 times the usual, for a machine that is busy with something else."""
_CRASHES = 5
"""Ends in a row, before it was ever ready, after which a component counts as failed for good."""
_DYING = 2.0
"""Seconds in which what was killed with the supervisor is gone, also when the machine is busy."""


def inherited() -> dict[str, str]:
    """The variables of our environment that a world may see."""
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    beside_python = str(Path(sys.executable).parent)
    return {
        **variables,
        "PATH": os.pathsep.join([beside_python, variables.get("PATH", os.defpath)]),
        "LANG": "C.UTF-8",
        # A world's admin has a new home; what was downloaded once to build agents serves all of them.
        "XDG_CACHE_HOME": str(user_cache()),
    }


class LocalComponents:
    """Satisfies `harness.world.world.Components`; owns the supervisor of a world's folder."""

    def __init__(self, root: Path, lock: IO[bytes], engine: str) -> None:
        """Start the supervisor; components whose specifications are there already start with it.

        `engine` is the socket of the container engine, for the triage.
        """
        self._root = root
        self.triage = Triage(root, engine)
        (root / "logs").mkdir(exist_ok=True)
        with (root / "logs" / "supervisor.log").open("ab") as log:
            # Its standard input is the pipe that ends when we do, and it shares our lock on the folder.
            self._supervisor = subprocess.Popen(
                [sys.executable, "-m", "harness.processes.supervisor", str(root)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env={**inherited(), "FLEET_WORLD": str(root)},
                pass_fds=[lock.fileno()],
                start_new_session=True,
            )

    def await_ready(self, names: Sequence[str], timeout: float = _START) -> None:
        """Until the supervisor and the components answer.

        Raises:
            HarnessError: they do not in time, or keep dying; the message holds their last words.
        """
        condition = f"{', '.join(['supervisor', *names])} answer"
        try:
            wait_until(
                lambda: self._missing(names),
                condition,
                timeout=timeout,
                until=lambda missing: not missing,
                error=self._hopeless,
                interval=0.02,
            )
        except WaitTimeout as error:
            raise ComponentNotReady(
                f"{error}\n{self._last_words(names)}",
                next_step=f"see {folders.logs_to_read(self._root)}, and whether the machine is busy",
            ) from error
        except WaitFailed as error:
            raise self._death(error.why, names) from error

    def statuses(self) -> Mapping[str, ComponentStatus]:
        """As `Components.statuses`."""
        return statuses(self._root)

    def kill(self, name: str) -> None:
        """As `Components.kill`."""
        ask(self._root, "kill", name)

    def stop(self, name: str) -> None:
        """As `Components.stop`."""
        self._want(name, run=False)

    def start(self, name: str) -> None:
        """As `Components.start`."""
        self._want(name, run=True)
        self.await_ready([name])

    def pause(self, name: str) -> None:
        """As `Components.pause`."""
        ask(self._root, "pause", name)

    def resume(self, name: str) -> None:
        """As `Components.resume`."""
        ask(self._root, "resume", name)

    def fetch(self, name: str, path: str) -> list[str]:
        """As `Components.fetch`: of the server that tells whether the component is ready."""
        spec = specs(self._root).get(name)
        if spec is None or not spec.ready.startswith("http"):
            raise TargetUnavailable(
                f"the component {name} cannot be asked over HTTP", next_step="see world.components()"
            )
        base = urlsplit(spec.ready)
        try:
            answer = httpx.get(f"{base.scheme}://{base.netloc}{path}", timeout=2, trust_env=False)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise Unanswered(f"{name} does not answer: {error}", next_step=f"see the log of {name}") from error
        return [answer.text]

    def problems(self, since: float) -> list[str]:
        """As `Components.problems`."""
        return self.triage.problems(since)

    def product_deaths(self, since: float) -> list[str]:
        """As `Components.product_deaths`."""
        return product_deaths(self._root, since)

    def history(self, since: float) -> list[Event]:
        """As `Components.history`."""
        return history(self._root, since)

    def record(self, what: str, component: str) -> None:
        """As `Components.record`."""
        record(self._root, what, component=component, asked=True)

    def detach(self) -> None:
        """Let the world live on without us."""
        ask(self._root, "detach")
        let_go(self._supervisor)

    def close(self) -> None:
        """End every component and the supervisor, and make sure that nothing is left.

        Raises:
            HarnessError: something outlived it all the same; it has been killed.
        """
        if self._supervisor.stdin is not None:
            self._supervisor.stdin.close()
        try:
            self._supervisor.wait(15)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
            self._supervisor.wait()
        try:
            # What the kernel kills with its parent is there until it has run once more.
            wait_until(
                lambda: folders.members(self._root), "no process is left", timeout=_DYING, until=lambda pids: not pids
            )
        except WaitTimeout as error:
            folders.kill_members(self._root)
            raise HarnessError(
                f"processes outlived {self._root}: {error}", next_step="they were killed; see who started them"
            ) from error

    def _want(self, name: str, *, run: bool) -> None:
        known = specs(self._root)
        if name not in known:
            raise HarnessError(f"there is no component {name!r}", next_step=f"use one of {', '.join(sorted(known))}")
        put(self._root, replace(known[name], run=run))
        ask(self._root, "reconcile")

    def _missing(self, names: Sequence[str]) -> dict[str, str]:
        deaf = {} if (self._root / "sup.sock").exists() else {"supervisor": "does not listen yet"}
        return deaf | unready(statuses(self._root), names)

    def _hopeless(self, missing: Mapping[str, str]) -> str | None:
        if self._supervisor.poll() is not None:
            return f"the supervisor ended with code {self._supervisor.returncode}"
        now = statuses(self._root)
        for status in (now[name] for name in missing if name in now):
            unasked = [end for end in status.exits if not end.asked]
            if unasked and PORT_TAKEN.search(self._last_words([status.name])):
                return f"{status.name} does not start"
            if len(unasked) >= _CRASHES:
                return f"{status.name} keeps ending, last with code {unasked[-1].code}"
        return None

    def _death(self, why: str, names: Sequence[str]) -> HarnessError:
        words = self._last_words([*names, "supervisor"])
        if PORT_TAKEN.search(words):
            return PortTaken(f"{why}: its port is taken\n{words}", next_step="see who listens there (ss -ltnp)")
        return ComponentDied(f"{why}\n{words}", next_step=f"see {folders.logs_to_read(self._root)}")

    def _last_words(self, names: Sequence[str]) -> str:
        return "\n".join(f"  {name}:\n{tail(self._root / 'logs' / f'{name}.log', 8)}" for name in names)


def write_env(root: Path, env: Mapping[str, str]) -> None:
    """The file that a shell reads to act as the world's operator; `kept_world` names it."""
    lines = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in env.items())
    write_atomic(root / _ENV, lines.encode())


def kept_world(worker: str, root: Path, *ends: tuple[str, Path]) -> str:
    """What to type to enter a world that outlives its run, and to end it: by modules of the harness, with a folder."""
    python = shlex.quote(sys.executable)
    end = "; ".join(f"{python} -m {module} --end {shlex.quote(str(folder))}" for module, folder in ends)
    return (
        f"the world of worker {worker} lives on in {root}\n  enter: . {shlex.quote(str(root / _ENV))}\n  end:   {end}"
    )
