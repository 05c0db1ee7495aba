"""`python -m harness.processes.supervisor ROOT`: the kubelet of a local world.

Level-based: at the start and at every request to reconcile it makes true what `components/*.json` say; it restarts what
ends. It ends everything when its owner ends: its standard input is a pipe that nobody else holds, so the end of file is
the owner's end, however that came. Components end with it (PR_SET_PDEATHSIG). The children that a component leaves
become its own (PR_SET_CHILD_SUBREAPER), and it kills them. `python -m harness.processes.supervisor --end ROOT` ends a
world that was kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import signal
import sys
from pathlib import Path

import msgspec

from harness.errors import HarnessError
from harness.processes.spec import Answer, Request, ask, record, specs
from harness.processes.supervised import SupervisedProcess
from harness.wait import WaitTimeout, wait_until
from harness.world import folders

_PR_SET_CHILD_SUBREAPER = 36
_END_GRACE = 1.0
"""Seconds that components of the product have at the end of a world; nothing of the others is needed any more."""


class Supervisor:
    """Keeps the components of one world."""

    def __init__(self, root: Path) -> None:
        """Nothing runs before `serve`."""
        self._root = root
        self._components: dict[str, SupervisedProcess] = {}
        self._end = asyncio.Event()
        self._reconciling = asyncio.Lock()

    async def serve(self) -> None:
        """Run until the owner ends or sends "end"; then end every process."""
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._owner_ended)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._end.set)
        first = asyncio.create_task(self._reconcile())
        server = await asyncio.start_unix_server(self._talk, self._root / "new-sock")
        # Under its name only once it listens: between bind and listen a connection is refused.
        (self._root / "new-sock").rename(self._root / "sup.sock")
        record(self._root, f"supervisor started, pid {os.getpid()}")
        await self._end.wait()
        server.close()
        await first
        await self._end_all()

    def _owner_ended(self) -> None:
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        self._end.set()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        later: Request | None = None
        try:
            request = msgspec.json.decode(await reader.readline(), type=Request)
            later = None if request.wait else request
            problem = await self._do(request) if request.wait else ""
        except (msgspec.DecodeError, HarnessError, OSError) as error:
            problem = str(error)
        with contextlib.suppress(ConnectionError):
            writer.write(msgspec.json.encode(Answer(problem)) + b"\n")
            await writer.drain()
        writer.close()
        if later is not None:
            await self._do(later)

    async def _do(self, request: Request) -> str:
        """Do it; returns what is wrong with the request, or nothing."""
        if request.verb == "reconcile":
            await self._reconcile()
        elif request.verb == "detach":
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        elif request.verb == "end":
            self._end.set()
        else:
            component = self._components.get(request.component)
            if component is None:
                names = ", ".join(sorted(self._components)) or "none"
                return f"there is no component {request.component!r}; there are {names}"
            await self._act(component, request)
        return ""

    async def _act(self, component: SupervisedProcess, request: Request) -> None:
        if request.verb == "kill":
            await component.kill()
        elif request.verb == "signal":
            component.signal(signal.Signals(request.number), alone=request.alone)
        elif request.verb == "restart":
            await component.restart()
        else:
            component.freeze(paused=request.verb == "pause")

    async def _reconcile(self) -> None:
        """Make the manifests true; returns once what should stop has stopped and what should run was spawned."""
        async with self._reconciling:
            expected = specs(self._root)
            gone = [self._components.pop(name) for name in set(self._components) - set(expected)]
            changed = [component for name, component in self._components.items() if component.spec != expected[name]]
            new = {
                name: SupervisedProcess(self._root, spec)
                for name, spec in expected.items()
                if name not in self._components
            }
            self._components |= new
            await asyncio.gather(
                *(component.stop() for component in gone),
                *(component.become(expected[component.spec.name]) for component in changed),
                *(component.start() for component in new.values() if component.spec.run),
            )
            for component in gone:
                component.forget()

    async def _end_all(self) -> None:
        components = self._components.values()
        await asyncio.gather(
            *(component.stop(_END_GRACE if component.spec.side == "product" else 0) for component in components)
        )
        record(self._root, "supervisor ended")


def main(argv: list[str]) -> int:
    """Serve, or end a kept world."""
    if len(argv) == 2 and argv[0] == "--end":
        return _end_kept(Path(argv[1]))
    if len(argv) != 1:
        print("usage: python -m harness.processes.supervisor [--end] ROOT", file=sys.stderr)  # noqa: T201
        return 2
    root = Path(argv[0])
    _adopt_orphans()
    try:
        asyncio.run(Supervisor(root).serve())
    finally:
        _kill_children()
        (root / "sup.sock").unlink(missing_ok=True)
    return 0


def _end_kept(root: Path) -> int:
    try:
        ask(root, "end")
        socket = root / "sup.sock"
        wait_until(socket.exists, "the supervisor has ended", timeout=15, until=lambda there: not there)
        folders.kill_members(root)  # machines that were kept
        wait_until(
            lambda: folders.members(root),
            f"no process of the world in {root} is left",
            timeout=15,
            until=lambda left: not left,
        )
    except (HarnessError, WaitTimeout) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    shutil.rmtree(root)
    return 0


def _adopt_orphans() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _kill_children() -> None:
    """Kill what components left behind, generation by generation: killing one makes its children ours."""
    while True:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        if not children:
            return
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(child), 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
