"""Agents that are wrong in one way each, published as an admin would publish them; and a slow way to an engine."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import msgspec

from fleet.contract.names import AgentVersion
from tests.support.agents import signed
from tests.upgrade.device import artifact

_SAYS = "import sys, time\nif '--version' in sys.argv: print('fleet-agent {version}'); sys.exit(0)\n"
_FIT = _SAYS + "if '--self-test' in sys.argv: sys.exit(0)\n"

CRASHES = f"{_FIT}sys.exit(3)\n"
SILENT = f"{_FIT}time.sleep(100000)\n"
UNFIT = f"{_SAYS}print('no engine'); sys.exit(1)\n"
HANGS = f"{_SAYS}time.sleep(100000)\n"
LIES = "print('fleet-agent v1.2.3')\n"
CHATTERS = f"{_SAYS}\nwhile True: sys.stdout.write('x' * 65536)\n"

_numbers = itertools.count(1)

Publish = Callable[[Path, bytes], None]


def version() -> AgentVersion:
    """One that no other row uses: what is published is never replaced."""
    return AgentVersion(f"v0.9.{next(_numbers)}")


def faulty(publish: Publish, folder: Path, code: str, **manifest: object) -> AgentVersion:
    """Publish an agent that is properly signed and does the wrong thing; `manifest` changes what is said of it."""
    name = version()
    path, described = artifact(folder / "built", name, code)
    changed = msgspec.structs.replace(described, **manifest)
    publish(path, signed(changed))
    return name


class SlowEngine:
    """A socket that leads to an engine, and holds back the making of containers until it is let."""

    def __init__(self, path: Path, engine: str) -> None:
        self._engine = engine
        self.may_create = threading.Event()
        self.waiting = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.may_create.set()
        with contextlib.suppress(OSError):  # who waits in accept() is only woken by this
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.socket(socket.AF_UNIX)
                theirs.connect(self._engine)
                threading.Thread(target=self._pipe, args=(ours, theirs, True), daemon=True).start()
                threading.Thread(target=self._pipe, args=(theirs, ours, False), daemon=True).start()

    def _pipe(self, source: socket.socket, sink: socket.socket, asks: bool) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(65536):
                if asks and data.startswith(b"POST /containers/create"):
                    self.waiting.set()
                    self.may_create.wait(60)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def slow_engine(link: Path) -> Generator[SlowEngine]:
    """Put it where an agent's socket is; afterwards the engine is there again."""
    engine = str(link.readlink())
    place = link.with_name("slow.sock")
    slow = SlowEngine(place, engine)
    _point(link, str(place))
    try:
        yield slow
    finally:
        slow.close()
        _point(link, engine)
        place.unlink()


def _point(link: Path, target: str) -> None:
    draft = link.with_name("socket.new")
    draft.symlink_to(target)
    draft.replace(link)
