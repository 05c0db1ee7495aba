"""What the agent relies on when it reads a log: the same on a real engine and on the double."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from fleet.agent.answers import EngineRefused, Past
from fleet.agent.engine import Engine
from fleet.agent.logs.container import ContainerLogs
from fleet.agent.logs.frames import Lines
from fleet.agent.logs.outbox import Outbox
from fleet.contract.containers import DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.logs import LogAsk
from fleet.contract.owner import Owner
from fleet.contract.wire import Restart
from tests.engine.lab import LABEL, Lab, workload
from tests.support.waiting import eventually

ALL = Past(0, 10_000)


async def read(engine: Engine, container: str, wanted: Past = ALL, *, follow: bool = False) -> list[bytes]:
    lines, found = Lines(), list[bytes]()
    async for data in engine.logs(container, wanted, follow=follow):
        found += lines.feed(data)
    return [*found, *lines.end()]


async def ended(lab: Lab, engine: Engine, program: str) -> str:
    container = await lab.started(engine, workload("sh", "-c", program, restart=Restart.NO))
    await lab.until(engine, container, "it has ended", lambda one: one.state.status == "exited")
    return container


def test_a_log_is_read_whole_and_by_its_end(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await ended(lab, engine, "for n in 1 2 3; do echo line $n; done")
        assert await read(engine, container) == [b"line 1", b"line 2", b"line 3"]
        assert await read(engine, container, Past(0, 2)) == [b"line 2", b"line 3"]
        assert await read(engine, container, Past(0, 0)) == []
        assert await read(engine, container, Past(time.time() + 60, 10)) == []

    lab.run(body)


def test_a_last_line_without_an_end_is_read(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await ended(lab, engine, "echo a line; printf 'no end'")
        found = await read(engine, container)
        assert found == ([b"a lineno end"] if lab.is_podman and not lab.is_double else [b"a line", b"no end"])

    lab.run(body)


def test_what_is_older_than_asked_for_is_left_out(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        container = await lab.started(engine, workload("sh", "-c", "echo old; sleep 2; echo new; sleep 1000"))
        between = 0.0
        async with asyncio.timeout(30):
            async for data in engine.logs(container, ALL, follow=True):
                if b"old" in data:
                    between = time.time() + 1
                if b"new" in data:
                    break
        assert await read(engine, container, Past(between, 10)) == [b"new"]

    lab.run(body)


def test_a_log_is_followed_until_its_container_ends(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        wanted = workload("sh", "-c", "echo one; sleep 0.5; echo two >&2; sleep 0.5", restart=Restart.NO)
        container = await lab.started(engine, wanted)
        assert await read(engine, container, follow=True) == [b"one", b"two"]

    lab.run(body)


def test_any_bytes_come_through(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        # In one write: of two, podman loses an end of line that comes alone.
        container = await ended(lab, engine, r"printf '\000\377\033[2J\r\n%08000d\n' 7 > /tmp/all; cat /tmp/all")
        first, long = await read(engine, container)
        assert first in {b"\0\xff\x1b[2J", "\0\ufffd\x1b[2J".encode()}, "dockerd writes JSON"
        assert long == b"0" * 4097, "cut, and known to be longer"

    lab.run(body)


def test_no_log_of_a_container_that_is_not_there(lab: Lab) -> None:
    async def body(engine: Engine) -> None:
        with pytest.raises(EngineRefused, match="read the log"):
            await read(engine, "0" * 64)

    lab.run(body)


class _Kept(Outbox):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(drops=True)
        self.kept: list[bytes] = []

    async def put(self, lines: Sequence[bytes]) -> None:
        self.kept += lines


def test_who_follows_sees_each_start_of_a_container_that_ends_again_and_again(lab: Lab) -> None:
    """Each run has a line of its own: nothing is missing, and nothing comes twice."""
    owner = Owner(f"pi-{lab.mark}", "here")
    labels = {LABEL: lab.mark, DEVICE_LABEL: owner.device, SERVER_LABEL: owner.server, DEPLOYMENT_LABEL: "web"}
    wanted = workload("sh", "-c", "cat /proc/sys/kernel/random/uuid; sleep 1", restart=Restart.ALWAYS)

    async def body(engine: Engine) -> None:
        container = await engine.create(lab.name(), wanted, labels)
        await engine.start(container)
        outbox = _Kept()
        ask = LogAsk("any-session", "web", tail=10, follow=True)
        following = asyncio.create_task(ContainerLogs(engine, owner).read(ask, outbox))
        await eventually(lambda: len(outbox.kept) >= 3, "three runs are seen", within=25)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        written = (await read(engine, container))[: len(outbox.kept)]
        assert outbox.kept == written

    lab.run(body)
