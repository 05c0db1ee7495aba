"""The neighbours of a hostile device, and the server's components, watched from threads while it attacks."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from fleet.contract.buckets import DEVICE_HEARTBEAT
from harness.errors import Unanswered
from harness.probes.kube import KubeProbe
from harness.probes.nats import NatsProbe
from harness.processes.files import files_below
from harness.scenario.setup import is_online
from harness.siege.findings import Findings
from harness.world.world import World

_LOOK = 0.25
_WEIGH = 1.0
"""Seconds between looks at the neighbours, and between weighings of the components."""
_MIB = 1024 * 1024


@contextmanager
def watched(world: World, neighbours: Sequence[str], seen: Findings) -> Generator[None]:
    """Look again and again until the `with` ends, into `seen`."""
    over = threading.Event()
    before, grown = {name: status.starts for name, status in world.components().items()}, _folders(world)
    watcher = _Neighbours(world, neighbours, seen)

    def weigh() -> None:
        for name, status in world.components().items():
            if status.pid is not None:
                seen.peak(seen.memory, name, _resident(status.pid))
        for name, size in _folders(world).items():
            seen.peak(seen.disk, name, (size - grown[name]) / _MIB)

    threads = [
        threading.Thread(target=_again, args=(over, _LOOK, watcher.check), name="siege-look"),
        threading.Thread(target=_again, args=(over, _WEIGH, weigh), name="siege-weigh"),
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()
        watcher.close()
        now = world.components()
        seen.deaths += [
            f"{name} was started {now[name].starts - starts} times more" if name in now else f"{name} is gone"
            for name, starts in before.items()
            if not name.startswith("agent-") and (name not in now or now[name].starts != starts)
        ]


class _Neighbours:
    def __init__(self, world: World, neighbours: Sequence[str], seen: Findings) -> None:
        self._names = neighbours
        self._seen = seen
        self._last: dict[str, tuple[object, float]] = {}
        self._closing = contextlib.ExitStack()
        kubeconfig = Path(world.env["KUBECONFIG"])
        self._kube = self._closing.enter_context(closing(KubeProbe(kubeconfig, world.namespace)))
        self._nats = self._closing.enter_context(closing(NatsProbe(world.nats_login)))

    def check(self) -> None:
        """Once at each neighbour."""
        for name in self._names:
            beat = self._nats.get(DEVICE_HEARTBEAT, name)
            mark = (beat.instance_id, beat.sequence) if beat else None
            self._heard(name, mark)
        held = {device.metadata.name: device for device in self._kube.devices()}
        self._seen.offline |= {name for name in self._names if not is_online(held.get(name))}

    def close(self) -> None:
        """End the probes."""
        self._closing.close()

    def _heard(self, name: str, mark: object) -> None:
        now = time.monotonic()
        last, at = self._last.get(name, (None, now))
        self._seen.peak(self._seen.silence, name, now - at)
        if mark != last:
            self._last[name] = (mark, now)


def _again(over: threading.Event, pause: float, check: Callable[[], None]) -> None:
    while not over.wait(pause):
        # A check that gets no answer is left out; the next one sees what it would have seen, grown.
        with contextlib.suppress(Unanswered):
            check()


def _resident(pid: int) -> float:
    """Its resident memory in MiB; 0 once it has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        return int(found.group(1)) / 1024 if found else 0.0
    return 0.0


def _folders(world: World) -> dict[str, int]:
    """The bytes in each folder of the world that messages could fill."""
    found: dict[str, int] = {}
    for folder in (path for path in world.root.iterdir() if path.is_dir() and path.name not in {"devices", "tls"}):
        found[folder.name] = sum(about.st_blocks * 512 for _, about in files_below(folder))
    return found
