"""A device's logs, from the engine and the agent to a reader, over the real nats-server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from fleet.agent.logs import container
from fleet.agent.logs.outbox import shown
from fleet.cli.log_reader import Reading
from fleet.contract.containers import CONTAINER_LABEL, DEVICE_LABEL
from fleet.contract.errors import FleetError
from fleet.contract.logs import AT_ONCE, LOG_READER_USER, LogAsk, LogPiece, ask_subject, log_subject
from fleet.contract.pod import Pod, PodContainer, as_sent
from fleet.contract.wire import Container, Heartbeat, Phase, Port, Protocol, Reason, decode, encode
from fleet.nats.bus import Bus, connect
from harness.images import IMAGE
from harness.processes.ports import free_port
from tests.agent.stage import Stage

WEB = LogAsk("any-session", deployment="web")


def program(words: str) -> Container:
    return Container(image=IMAGE, command=("sh", "-c", words))


@asynccontextmanager
async def reader(stage: Stage) -> AsyncGenerator[Bus]:
    bus = await connect(stage.nats.login(LOG_READER_USER), notice=lambda _: None, attempts=1)
    try:
        yield bus
    finally:
        await bus.close()


async def read(stage: Stage, ask: LogAsk) -> list[LogPiece]:
    async with reader(stage) as bus:
        return [piece async for piece in Reading(bus, stage.device, ask).pieces()]


def lines(pieces: list[LogPiece]) -> list[str]:
    return [line for piece in pieces for line in piece.lines]


@asynccontextmanager
async def running(stage: Stage, words: str) -> AsyncGenerator[None]:
    async with stage.agent():
        await stage.deploy("web", program(words))
        await stage.until("web", Phase.RUNNING, Reason.STARTED, within=30)
        yield


def test_a_workloads_log_is_read(stage: Stage) -> None:
    async def body() -> None:
        async with running(stage, "for n in 1 2 3; do echo line $n; done; sleep 1000"):
            assert lines(await read(stage, WEB)) == ["line 1", "line 2", "line 3"]
            assert lines(await read(stage, LogAsk("any-session", "web", tail=1))) == ["line 3"]
            assert lines(await read(stage, LogAsk("any-session", "web", since=3600))) == ["line 1", "line 2", "line 3"]

    stage.play(body)


def test_each_line_reaches_who_follows(stage: Stage) -> None:
    port = free_port()
    web = Container(
        image=IMAGE, command=("httpd", "-f", "-vv", "-p", "80", "-h", "/www"), ports=(Port(port, 80, Protocol.TCP),)
    )

    async def body() -> None:
        async with stage.agent(), reader(stage) as bus:
            await stage.deploy("web", web)
            await stage.until("web", Phase.RUNNING, Reason.STARTED, within=30)
            following = Reading(bus, stage.device, LogAsk("any-session", "web", tail=10, follow=True)).pieces()
            await anext(following)  # which may come before the log is followed: the first line may be of the past
            for number in range(5):
                await visit(port, f"/none-{number}")
                async for piece in following:
                    if any(f"none-{number}" in line for line in piece.lines):
                        break

    stage.play(body)


async def visit(port: int, path: str) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    await writer.drain()
    writer.close()


def test_the_agents_own_log(stage: Stage) -> None:
    async def body() -> None:
        stage.own_log.add(json.dumps({"event": "connected"}))
        async with running(stage, "sleep 1000"), reader(stage) as bus:
            assert lines(await read(stage, LogAsk("any-session"))) == ['{"event": "connected"}']
            following = Reading(bus, stage.device, LogAsk("any-session", follow=True)).pieces()
            assert (await anext(following)).lines == ('{"event": "connected"}',)
            stage.own_log.add("another")
            found: list[str] = []
            async for piece in following:
                found += piece.lines
                if found:
                    break
            assert found == ["another"]

    stage.play(body)


@pytest.mark.parametrize(
    ("ask", "why"),
    [
        (LogAsk("any-session", "nothing"), "no container of nothing"),
        (LogAsk("any-session", "web", container="other"), "no container other of web; there are: fleet-.*-web"),
    ],
)
def test_what_is_not_there_is_named(stage: Stage, ask: LogAsk, why: str) -> None:
    async def body() -> None:
        async with running(stage, "sleep 1000"):
            with pytest.raises(FleetError, match=why) as error:
                await read(stage, ask)
            assert "fleet device show" in error.value.next_step
            assert "fleet device" not in error.value.what, "the next step stands there once"

    stage.play(body)


def test_a_flood_is_dropped_and_counted_and_heartbeats_go_on(stage: Stage) -> None:
    """What is written beyond the device's budget is not sent; who follows is told how much is missing."""

    async def body() -> None:
        async with running(stage, "yes a line that is written without an end"), reader(stage) as bus:
            began, size, missing = time.monotonic(), 0, False
            before = await stage.heartbeat()
            async for piece in Reading(bus, stage.device, LogAsk("any-session", "web", follow=True)).pieces():
                size += len(encode(piece))
                missing = missing or piece.dropped > 0 or piece.skipped
                if time.monotonic() - began > 6:
                    break
            seconds = time.monotonic() - began
            after = await stage.heartbeat()
            assert missing
            assert size < 512 * 1024 + 128 * 1024 * seconds, f"{size} bytes in {seconds:.1f} s"
            assert isinstance(before, Heartbeat)
            assert isinstance(after, Heartbeat)
            assert after.sequence - before.sequence >= seconds / 0.5 - 4, "heartbeats every half second"

    stage.play(body)


def test_what_is_no_text_is_escaped_and_what_is_too_long_is_cut() -> None:
    assert shown(b"\xff\x00\x1b[2J") == "\\xff\x00\x1b[2J", "the reader's terminal is the command's business"
    assert shown(b"x" * 5000) == "x" * 4093 + "..."


def test_a_device_answers_a_few_readers_and_says_so_to_the_others(stage: Stage) -> None:
    async def body() -> None:
        async with running(stage, "sleep 1000"), contextlib.AsyncExitStack() as open_:
            for _ in range(AT_ONCE):
                bus = await open_.enter_async_context(reader(stage))
                following = Reading(bus, stage.device, LogAsk("any-session", follow=True)).pieces()
                await open_.enter_async_context(contextlib.aclosing(following))
                await anext(following)
            with pytest.raises(FleetError, match="others read its logs now"):
                await read(stage, LogAsk("any-session"))

    stage.play(body)


BAD: list[tuple[str, Any]] = [
    ("nothing", b""),
    ("no JSON", b"\xff\xfe"),
    ("another type", b'{"type":"index"}'),
    ("a session with a dot", b'{"type":"log-ask","session":"a.b.c.d.e"}'),
    ("a tail beyond", b'{"type":"log-ask","session":"abcdefgh","tail":10001}'),
    ("a negative since", b'{"type":"log-ask","session":"abcdefgh","since":-1}'),
    ("too large", b'{"type":"log-ask","session":"abcdefgh","deployment":"' + b"x" * 5000 + b'"}'),
]


@pytest.mark.parametrize("data", [data for _, data in BAD], ids=[name for name, _ in BAD])
def test_a_question_that_does_not_parse_is_skipped(stage: Stage, data: bytes) -> None:
    async def body() -> None:
        async with running(stage, "echo here; sleep 1000"), reader(stage) as bus:
            await bus.client.publish(ask_subject(stage.device), data)
            assert lines(await read(stage, WEB)) == ["here"]
            await stage.logged("a question for a log does not parse")

    stage.play(body)


def test_who_is_silent_is_forgotten_and_who_asks_on_is_told(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.agent.logs.answer.FORGOTTEN", 0.5)

    async def body() -> None:
        async with running(stage, "sleep 1000"), reader(stage) as bus:
            found: list[LogPiece] = []
            await bus.listen(log_subject(stage.device), lambda one: found.append(decode(one.data or b"", LogPiece)))
            ask = LogAsk("a-session-of-mine", follow=True)
            await bus.client.publish(ask_subject(stage.device), encode(ask))

            async def look() -> list[LogPiece]:
                return [piece for piece in found if piece.ended]

            (last,) = await stage.eventually(look, bool, "it has ended")
            assert last.message == "nobody asked for more"
            await bus.client.publish(ask_subject(stage.device), encode(LogAsk("another-session", seen=7)))

            async def told() -> list[LogPiece]:
                return [piece for piece in found if piece.session == "another-session"]

            (last,) = await stage.eventually(told, bool, "it is told")
            assert (last.failed, "started anew" in last.message) == (True, True)

    stage.play(body)


def test_an_agent_that_does_not_report_does_not_answer(stage: Stage) -> None:
    """Of two agents of a device, as during an upgrade, a reader hears one."""

    async def body() -> None:
        async with running(stage, "echo here; sleep 1000"):
            asked: list[object] = []
            await stage.bus.listen(ask_subject(stage.device), asked.append)
            stage.logs_of_agent.allow(answers=False)
            reading = asyncio.create_task(read(stage, WEB))

            async def repeated() -> bool:
                return len(asked) > 1

            await stage.eventually(repeated, bool, "the question was repeated")
            assert not reading.done()
            stage.logs_of_agent.allow(answers=True)
            assert lines(await reading) == ["here"]

    stage.play(body)


async def seen(following: AsyncGenerator[LogPiece], text: str) -> list[str]:
    """The lines that come until one holds the text, with it."""
    found: list[str] = []
    async with asyncio.timeout(60):
        async for piece in following:
            found += piece.lines
            if any(text in line for line in piece.lines):
                return found
    raise AssertionError(f"the log ended before {text}: {found}")


def test_a_followed_log_is_taken_up_again_when_its_container_is_replaced(stage: Stage) -> None:
    async def body() -> None:
        async with running(stage, "echo first; exec sleep 1000"), reader(stage) as bus:
            following = Reading(bus, stage.device, LogAsk("any-session", "web", tail=10, follow=True)).pieces()
            assert await seen(following, "first") == ["first"]
            await stage.deploy("web", program("echo second; exec sleep 1000"), 2)
            assert await seen(following, "second") == ["second"], "all that the new one wrote, and nothing else"
            # The same container: somebody stops it on the device, and the agent starts it again.
            same = (await stage.containers())["web"].id
            await asyncio.to_thread(stage.raw.call, "POST", f"/containers/{same}/stop", params={"t": "0"})
            assert await seen(following, "second") == ["second"]
            await following.aclose()

    stage.play(body)


def test_a_followed_log_ends_when_nothing_takes_its_place(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "_SUCCESSOR", 0.2)

    async def body() -> None:
        async with running(stage, "echo first; exec sleep 1000"), reader(stage) as bus:
            following = Reading(bus, stage.device, LogAsk("any-session", "web", tail=10, follow=True)).pieces()
            assert await seen(following, "first") == ["first"]
            await stage.withdraw("web")
            async with asyncio.timeout(60):
                pieces = [piece async for piece in following]
            assert pieces[-1].ended
            assert "none has taken its place" in pieces[-1].message

    stage.play(body)


def test_a_container_of_a_pod_is_read_by_its_name(stage: Stage) -> None:
    async def body() -> None:
        pod = Pod(
            tuple(
                PodContainer(name=name, image=IMAGE, command=("sh", "-c", f"echo I am {name}; sleep 1000"))
                for name in ("one", "two")
            )
        )
        async with stage.agent():
            await stage.deploy("web", as_sent(pod))
            await stage.until("web", Phase.RUNNING, Reason.STARTED)
            assert "I am two" in lines(await read(stage, LogAsk("any", deployment="web", container="two")))
            with pytest.raises(FleetError, match="and --container names none: one, two"):
                await read(stage, LogAsk("any", deployment="web"))
            labels = {"label": [f"{CONTAINER_LABEL}=two", f"{DEVICE_LABEL}={stage.device}"]}
            (two,) = stage.raw.call("GET", "/containers/json", params={"filters": json.dumps(labels)}).json()
            stage.raw.call(
                "POST", f"/containers/{two['Id']}/rename", params={"name": f"fleet-{stage.device}.previous.1"}
            )
            # As while it is replaced, and after an agent was ended in the middle of that.
            assert "I am two" in lines(await read(stage, LogAsk("any", deployment="web", container="two")))

    stage.play(body)
