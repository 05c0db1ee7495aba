"""What is wrong with the world itself: the question that turns "failed" into "broken".

Every check is a small function that returns sentences. What a scenario asked for (a kill, a stop, a pause) is no
problem of the world; neither is the death of a component of the product, which is the product's failure.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from harness.errors import HarnessError
from harness.processes.health import why_not
from harness.processes.spawn import tail
from harness.processes.spec import ComponentSpec, ComponentStatus, Event, ask, history, specs, statuses

_LEAST_FREE = 32 * 2**20
"""Bytes: below this, etcd and JetStream begin to fail in ways that look like the product's."""
_CLOCK_JUMP = 2.0
"""Seconds by which the wall clock may drift from the monotonic one during a run."""
_CHECKS = 3
_BETWEEN_CHECKS = 0.1
"""Seconds; together longer than the supervisor takes to notice an end."""
_HUNG = 2.0
"""Seconds that a server has to answer the triage."""
PORT_TAKEN = re.compile(r"address already in use|\S+:\d+ is taken", re.IGNORECASE)
"""Messages about a port that is in use: those of Go, of Python and of our double."""


class Triage:
    """Knows how a local world was when it was made, and so what is wrong with it now."""

    def __init__(self, root: Path, engine: str) -> None:
        """`engine` is the socket of the engine that runs the workloads of the world's devices."""
        self._root = root
        self._engine = engine
        self._clock_offset = time.time() - time.monotonic()
        self._vital: dict[Path, bytes] = {}

    def remember(self, files: Sequence[Path]) -> None:
        """These must stay as they are now."""
        self._vital |= {path: path.read_bytes() for path in files}

    def problems(self, since: float) -> list[str]:
        """Everything wrong now, or that ended unasked since a monotonic time; empty when the world is sound.

        Sound means seen so three times in a row: what was just killed may not have been noticed yet.
        """
        for attempt in range(_CHECKS):
            time.sleep(_BETWEEN_CHECKS if attempt else 0)
            if found := self._check(since):
                return found
        return []

    def _check(self, since: float) -> list[str]:
        root = self._root
        if not root.is_dir():
            return [f"the world's folder {root} is gone"]
        try:
            gone = supervisor_gone(root)
            wanted, found, happened = specs(root), statuses(root), history(root, since)
        except (HarnessError, OSError, msgspec.DecodeError) as error:
            return [f"the world's folder cannot be read: {error}"]
        return [
            *gone,
            *unasked_ends(found, happened, root, side="world"),
            *([] if gone else not_answering(wanted, found)),
            *ports_taken(wanted, found, root),
            *files_changed(self._vital),
            *engine_gone(root, self._engine),
            *disk_full(root),
            *clock_jumped(self._clock_offset),
        ]


def product_deaths(root: Path, since: float) -> list[str]:
    """Components of the product that ended unasked since a monotonic time, with their last lines: a product failure."""
    return unasked_ends(statuses(root), history(root, since), root, side="product")


def unasked_ends(
    found: Mapping[str, ComponentStatus], happened: Sequence[Event], root: Path, *, side: str
) -> list[str]:
    """One sentence per component that ended without being asked."""
    ended = {
        event.component: event.what
        for event in happened
        if event.what.startswith("ended") and not event.asked and event.component in found
    }
    return [
        f"{component} {what} without being asked; its last words:\n{tail(root / 'logs' / f'{component}.log', 8)}"
        for component, what in ended.items()
        if found[component].side == side and not (side == "product" and _good(what))
    ]


def _good(what: str) -> bool:
    return what == "ended with code 0" or what.startswith("ended cleanly")


def not_answering(wanted: Mapping[str, ComponentSpec], found: Mapping[str, ComponentStatus]) -> list[str]:
    """The world's components that should run, but do not, or do not answer now."""
    expected = [
        spec
        for spec in wanted.values()
        if spec.side == "world" and spec.run and spec.restart == "always" and not _asked_down(found.get(spec.name))
    ]
    stopped = [spec for spec in expected if spec.name not in found or found[spec.name].pid is None]
    probed = [spec for spec in expected if spec not in stopped and spec.ready]
    answers = _in_own_loop([spec.ready for spec in probed])
    return [
        *(f"{spec.name} does not run" for spec in stopped),
        *(f"{spec.name} runs, but does not answer: {why}" for spec, why in zip(probed, answers, strict=True) if why),
    ]


def _asked_down(status: ComponentStatus | None) -> bool:
    """Frozen by a scenario, or ended by one and not back yet."""
    if status is None:
        return False
    return status.paused or (status.pid is None and bool(status.exits) and status.exits[-1].asked)


def _in_own_loop(urls: Sequence[str]) -> list[str]:
    """Look at all URLs at once, from a thread of its own: the caller may have a running event loop."""

    async def check() -> list[str]:
        return await asyncio.gather(*(why_not(url, _HUNG) for url in urls))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(check())).result()


def ports_taken(expected: Mapping[str, ComponentSpec], found: Mapping[str, ComponentStatus], root: Path) -> list[str]:
    """Processes of either side that cannot start because another program has their port."""
    return [
        f"the port of {name} is taken by somebody else:\n{tail(root / 'logs' / f'{name}.log', 4)}"
        for name, status in found.items()
        if name in expected
        and not status.ready
        and status.exits
        and PORT_TAKEN.search(tail(root / "logs" / f"{name}.log", 20))
    ]


def files_changed(vital: Mapping[Path, bytes]) -> list[str]:
    """Files that everything depends on, and that must not change."""
    problems: list[str] = []
    for path, content in vital.items():
        try:
            if path.read_bytes() != content:
                problems.append(f"{path} is not as it was made")
        except OSError:
            problems.append(f"{path} is gone")
    return problems


def engine_gone(root: Path, socket: str) -> list[str]:
    """The engine that runs the workloads of the world's devices, where there are devices."""
    if not any((root / "devices").glob("*")):
        return []
    (why,) = _in_own_loop([f"unix:{socket}"])
    return [f"the engine {socket} does not answer: {why}"] if why else []


def disk_full(root: Path) -> list[str]:
    """No space to write where the world lives."""
    free = shutil.disk_usage(root).free
    if free < _LEAST_FREE:
        return [f"only {free / 2**20:.0f} MiB are free at {root}; {_LEAST_FREE // 2**20} are needed"]
    try:
        with tempfile.NamedTemporaryFile(dir=root) as probe:
            probe.write(b"\0" * 65536)
            probe.flush()
    except OSError as error:
        return [f"cannot write at {root}: {error.strerror}"]
    return []


def clock_jumped(offset: float) -> list[str]:
    """The clock was set: tokens, certificates and the timeline are wrong."""
    drift = time.time() - time.monotonic() - offset
    return (
        [f"the machine's clock jumped by {drift:+.1f} s since the world was made"] if abs(drift) > _CLOCK_JUMP else []
    )


def supervisor_gone(root: Path) -> list[str]:
    """The supervisor does not run."""
    try:
        ask(root, "reconcile", timeout=_HUNG + 8)
    except HarnessError as error:
        return [error.what]
    return []
