"""Components of a local world: what should run, what does run, what happened; and the words to the supervisor.

Files are the truth, so any process can say what should run and read what does: `components/<name>.json` holds a
`ComponentSpec`, `status/<name>.json` a `ComponentStatus`, `history.jsonl` an `Event` per line, `logs/<name>.log` a log.
The socket `sup.sock` takes one `Request` per connection, and answers when it is done.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from harness.errors import ComponentNotReady, HarnessError, of_os_error
from harness.world import folders

S = TypeVar("S", bound=msgspec.Struct)

Side = Literal["product", "world"]
"""Whose failure it is when the component ends unasked."""
Restart = Literal["always", "on-failure", "no"]
KillMode = Literal["group", "mixed", "process"]
Result = Literal["", "success", "exit-code", "signal", "start-limit-hit"]
Verb = Literal["reconcile", "kill", "signal", "restart", "pause", "resume", "detach", "end"]

_CLEAN_SIGNALS = {-signal.SIGHUP, -signal.SIGINT, -signal.SIGTERM, -signal.SIGPIPE}
"""Ends that systemd calls clean (systemd.service(5), "Restart=")."""


class ComponentSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """A process that should run.

    Attributes:
        env: Its environment, and which world it belongs to.
        inherits: Whether it also has the supervisor's own environment; what a device's unit starts has not.
        restart: As in a systemd unit; a pod's containers have `always`.
        pause: Seconds before a restart; doubled up to `longest_pause` while it keeps ending within 10 s.
        ready: A URL (`http`, `https`, `tcp`) that answers when the component does; empty: ready once started.
        run: False stops it, and keeps the manifest.
        grace: Seconds from SIGTERM to SIGKILL.
        kill: Who gets SIGTERM, and who is killed after the process itself has ended: `group` all and all, `mixed` the
            process alone and all, `process` the process alone and nobody.
        clean: Exit codes that are a success, besides 0.
        stay_down: Exit codes, or negative signals, after which it is not restarted whatever `restart` says.
        burst: Starts that are allowed in `window` seconds; one more and it stays down. 0 is no limit.
    """

    name: str
    argv: tuple[str, ...]
    side: Side
    env: dict[str, str] = {}
    inherits: bool = True
    cwd: str = ""
    restart: Restart = "always"
    pause: float = 0.1
    longest_pause: float = 2.0
    ready: str = ""
    run: bool = True
    grace: float = 5.0
    kill: KillMode = "group"
    clean: tuple[int, ...] = ()
    stay_down: tuple[int, ...] = ()
    burst: int = 0
    window: float = 10.0

    def restarts_after(self, code: int) -> bool:
        """Whether it is started again after an end with this code."""
        if self.restart == "no" or code in self.stay_down:
            return False
        return self.restart == "always" or not self.is_clean(code)

    def is_clean(self, code: int) -> bool:
        """Whether an end with this code is a success."""
        return code == 0 or code in self.clean or code in _CLEAN_SIGNALS


class Exit(msgspec.Struct, frozen=True):
    """One end of a process. `code` is negative for a signal; `at` is Unix time in seconds."""

    at: float
    code: int
    asked: bool


class ComponentStatus(msgspec.Struct, frozen=True):
    """What the supervisor knows of a component.

    Attributes:
        unready: Why it does not answer; empty when it does.
        result: How it ended for good, in systemd's words; empty while it runs, or is about to be started again.
    """

    name: str
    side: Side
    pid: int | None = None
    starts: int = 0
    started: float = 0
    unready: str = "not started"
    paused: bool = False
    exits: tuple[Exit, ...] = ()
    result: Result = ""

    @property
    def ready(self) -> bool:
        """Whether it runs and answers."""
        return self.pid is not None and not self.unready and not self.paused


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened in a world, on two clocks: Unix time, and the monotonic clock of this machine."""

    wall: float
    monotonic: float
    what: str
    component: str = ""
    asked: bool = False


class Request(msgspec.Struct, frozen=True):
    """One word to the supervisor. `number` is the signal to send, to the process itself if `alone`.

    With `wait` unset it is answered before it is done, so that a component may ask for its own end.
    """

    verb: Verb
    component: str = ""
    number: int = signal.SIGKILL
    alone: bool = False
    wait: bool = True


class Answer(msgspec.Struct, frozen=True):
    """Its answer: empty when done."""

    problem: str = ""


def put(root: Path, spec: ComponentSpec) -> None:
    """Say that a component should exist; `ask(root, "reconcile")` makes the supervisor see it."""
    write_atomic(root / "components" / f"{spec.name}.json", msgspec.json.format(msgspec.json.encode(spec)))


def remove(root: Path, name: str) -> None:
    """Say that a component should no longer exist."""
    (root / "components" / f"{name}.json").unlink(missing_ok=True)


def specs(root: Path) -> dict[str, ComponentSpec]:
    """What should run, by name."""
    return _read_folder(root / "components", ComponentSpec)


def statuses(root: Path) -> dict[str, ComponentStatus]:
    """What runs, by name."""
    return _read_folder(root / "status", ComponentStatus)


def history(root: Path, since: float = 0) -> list[Event]:
    """What happened from a monotonic time on, oldest first."""
    try:
        lines = (root / "history.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    return [event for event in (msgspec.json.decode(line, type=Event) for line in lines) if event.monotonic >= since]


def record(root: Path, what: str, *, component: str = "", asked: bool = False) -> None:
    """Append an event; a line is written at once, so that several processes may do so."""
    event = Event(time.time(), time.monotonic(), what, component, asked)
    line = msgspec.json.encode(event) + b"\n"
    file = os.open(root / "history.jsonl", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def ask(root: Path, verb: Verb, component: str = "", *, timeout: float = 20) -> None:
    """Tell the supervisor of a world; returns when it is done.

    Raises:
        HarnessError: as `tell`.
    """
    tell(root, Request(verb, component), timeout=timeout)


def tell(root: Path, request: Request, *, timeout: float = 20) -> None:
    """As `ask`, with every detail of the request.

    Raises:
        HarnessError: there is no supervisor, it does not answer within `timeout` seconds, or it cannot do that.
    """
    verb, component = request.verb, request.component
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
            talk.settimeout(timeout)
            talk.connect(str(root / "sup.sock"))
            talk.sendall(msgspec.json.encode(request) + b"\n")
            answer = talk.makefile("rb").readline()
    except TimeoutError as error:
        raise ComponentNotReady(
            f"the supervisor of {root} did not {verb} {component or 'its components'} within {timeout:g} s",
            next_step=f"see {folders.logs_to_read(root)}/supervisor.log",
        ) from error
    except OSError as error:
        raise HarnessError(
            f"no supervisor answers in {root}: {error.strerror}", next_step="has that world ended?"
        ) from error
    problem = msgspec.json.decode(answer, type=Answer).problem if answer else "it ended"
    if problem:
        raise HarnessError(
            f"the supervisor of {root} cannot {verb} {component}: {problem}", next_step="see its components folder"
        )


def write_atomic(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Write a file that readers see whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch(mode)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise of_os_error(error, "writing a file of the world", path) from error


def unready(states: dict[str, ComponentStatus], names: Sequence[str]) -> dict[str, str]:
    """Which of the named components are not ready, and why; empty when all are."""
    missing = {name: "not started" for name in names if name not in states}
    return missing | {name: _why(state) for name, state in states.items() if name in names and not state.ready}


def _why(status: ComponentStatus) -> str:
    if status.paused:
        return "paused"
    ended = f", last ended with code {status.exits[-1].code}" if status.exits else ""
    return f"{status.unready or 'not running'} (starts: {status.starts}{ended})"


def _read_folder(folder: Path, kind: type[S]) -> dict[str, S]:
    found: dict[str, S] = {}
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            continue  # removed since it was listed
        except msgspec.DecodeError as error:
            raise HarnessError(f"{path}: {error}", next_step="write it with harness.processes.spec.put") from error
    return found
