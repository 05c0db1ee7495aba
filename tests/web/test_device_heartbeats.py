"""The last heartbeat of a device: heard while its screen is open, and at most once a second."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from fleet.contract.buckets import APP_USER, DEVICE_HEARTBEAT, WEB_USER
from fleet.contract.errors import Unreachable
from fleet.contract.names import AgentVersion
from fleet.contract.versions import user_of
from fleet.contract.wire import Heartbeat
from fleet.nats.bus import RECONNECTED, Bus, Login, connect
from fleet.web.device_heartbeats import DeviceHeartbeats
from fleet.web.streams import DeviceFeed
from tests.support.nats import PASSWORDS, Nats
from tests.support.tls import Tls
from tests.support.web import OFFLINE, ONLINE, RunningPage, device
from tests.web.test_streams import stream, until

BEAT = Heartbeat(AgentVersion("v0.1.0"), "instance-1", "boot-1", 1, 10)
SUBJECT = "fleet.changed.device-heartbeat."


class Source:
    """NATS as the page knows it: who is asked for, and a heartbeat when the test says so."""

    def __init__(self) -> None:
        self.asked: dict[str, list[asyncio.Future[None]]] = {}
        self.changed = asyncio.Condition()

    async def wait(self, subject: str) -> None:
        answer = asyncio.get_running_loop().create_future()
        self.asked.setdefault(subject.removeprefix(SUBJECT), []).append(answer)
        async with self.changed:
            self.changed.notify_all()
        await answer

    async def until_asked(self, device: str, times: int = 1) -> asyncio.Future[None]:
        async with asyncio.timeout(60), self.changed:
            await self.changed.wait_for(lambda: len(self.asked.get(device, ())) >= times)
        return self.asked[device][-1]


Scene = Callable[[DeviceHeartbeats, Source, asyncio.Event], Awaitable[None]]


def play(scene: Scene, **settings: float) -> None:
    async def run() -> None:
        heartbeats, source, heard = DeviceHeartbeats(lambda: 1000.0, **settings), Source(), asyncio.Event()  # type: ignore[arg-type]
        heartbeats.connect(source.wait)
        try:
            await scene(heartbeats, source, heard)
        finally:
            await heartbeats.close()
        assert not heartbeats.devices
        assert all(one.done() for answers in source.asked.values() for one in answers), "nothing is asked for any more"

    asyncio.run(run())


def test_nobody_is_followed_whose_screen_is_closed_and_two_screens_ask_once() -> None:
    async def scene(heartbeats: DeviceHeartbeats, source: Source, heard: asyncio.Event) -> None:
        first, second = (heartbeats.follow("pi-1", heard.set) for _ in range(2))
        (await source.until_asked("pi-1")).set_result(None)
        async with asyncio.timeout(60):
            await heard.wait()
        assert heartbeats.last("pi-1") == 1000.0
        assert set(source.asked) == {"pi-1"}
        first()
        assert heartbeats.devices == {"pi-1"}, "the second screen is open"
        waiting = await source.until_asked("pi-1", 2)
        second()
        await asyncio.wait([waiting], timeout=60)
        assert waiting.cancelled(), "with the last screen it ends"
        assert not heartbeats.devices
        assert heartbeats.last("pi-1") is None, "it is not told as the last one later"

    play(scene, interval=0, linger=0)


def test_a_device_that_sends_without_end_is_asked_once_in_an_interval() -> None:
    async def scene(heartbeats: DeviceHeartbeats, source: Source, heard: asyncio.Event) -> None:
        heartbeats.follow("pi-1", heard.set)
        (await source.until_asked("pi-1")).set_result(None)
        async with asyncio.timeout(60):
            await heard.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(source.asked["pi-1"]) == 1

    play(scene, interval=3600)


def test_a_screen_whose_stream_was_cut_goes_on_with_what_was_heard() -> None:
    async def scene(heartbeats: DeviceHeartbeats, source: Source, heard: asyncio.Event) -> None:
        cut = heartbeats.follow("pi-1", heard.set)
        (await source.until_asked("pi-1")).set_result(None)
        async with asyncio.timeout(60):
            await heard.wait()
        cut()
        heartbeats.follow("pi-1", heard.set)
        assert heartbeats.last("pi-1") == 1000.0

    play(scene)


def test_who_opens_and_closes_screens_without_end_has_few_followed() -> None:
    async def scene(heartbeats: DeviceHeartbeats, source: Source, heard: asyncio.Event) -> None:
        for number in range(1_000):
            heartbeats.follow(f"pi-{number}", heard.set)()
        assert heartbeats.devices == {f"pi-{number}" for number in range(950, 1_000)}
        for odd in ("pi.1", "*", ">", "pi 1"):
            heartbeats.follow(odd, heard.set)()
        assert len(heartbeats.devices) == 50, "what is no name of a device is no subject either"

    play(scene)


def test_a_connection_that_has_ended_is_asked_again_later() -> None:
    async def scene(heartbeats: DeviceHeartbeats, source: Source, heard: asyncio.Event) -> None:
        heartbeats.follow("pi-1", heard.set)
        (await source.until_asked("pi-1")).set_exception(Unreachable("it is closed", next_step="wait"))
        (await source.until_asked("pi-1", 2)).set_result(None)
        async with asyncio.timeout(60):
            await heard.wait()

    play(scene, interval=0)


def test_a_heartbeat_is_told_without_the_screen() -> None:
    at: list[float | None] = [None]
    made: list[int] = []
    feed = DeviceFeed(lambda: made.append(1) or "screen", lambda: 1, lambda: at[0])
    assert [(one.name, one.data) for one in feed.next_events()] == [("screen", "screen"), ("heartbeat", "")]
    assert feed.next_events() == []
    at[0] = 1000.25
    assert [(one.name, one.data) for one in feed.next_events()] == [("heartbeat", "1000.250")]


def test_one_page_hears_of_it_and_no_screen_is_made_anew(page: RunningPage) -> None:
    """A heartbeat changes nothing that the others know: no version, so no screen."""
    sent: list[asyncio.Future[None]] = []

    async def wait(_: str) -> None:
        sent.append(asyncio.get_running_loop().create_future())
        await sent[-1]

    page.show(device("pi-1", ONLINE), device("pi-2", ONLINE))
    page.do(lambda: page.parts.store.heartbeats.connect(wait))
    with stream(page, "/events/device/pi-1", page.cookie()) as read:
        assert until(read, "heartbeat")[2] == ""
        before = page.parts.store.version
        began = time.time()
        page.do(lambda: sent[0].set_result(None))
        assert began - 1 <= float(until(read, "heartbeat")[2]) <= time.time() + 1
        assert page.parts.store.version == before
        assert page.do(lambda: page.parts.store.heartbeats.devices) == {"pi-1"}


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        (device("pi-1", ONLINE), '<time id="heartbeat" data-otherwise="recently">recently</time>'),
        (device("pi-1", OFFLINE), '<time datetime="never">never</time>'),
    ],
)
def test_before_one_is_heard_the_page_says_what_is_known(
    page: RunningPage, viewer: httpx.Client, known: dict[str, object], shown: str
) -> None:
    page.show(known)
    assert f"last heartbeat: {shown}</p>" in viewer.get("/devices/pi-1").text


class Both:
    """The page's connection, and that of whoever sends heartbeats."""

    def __init__(self, page: Bus, store: Bus) -> None:
        self.page, self._store = page, store

    async def asked(self) -> asyncio.Task[None]:
        """A wait for the next heartbeat, of which the server knows."""
        waiting = asyncio.create_task(self.page.wait_for(DEVICE_HEARTBEAT.changed("pi-1")))
        await self.arrived()
        return waiting

    async def arrived(self) -> None:
        """What the page has begun to say is with the server; a request and its limit may travel one after the other."""
        for _ in range(3):
            await self.page.ask()

    async def beat(self, count: int = 1) -> int:
        """Send heartbeats; how many messages the page got of the server meanwhile."""
        before = self.page.client.stats["in_msgs"]
        await asyncio.gather(*(self._store.kv(DEVICE_HEARTBEAT).put("pi-1", BEAT) for _ in range(count)))
        await self.page.ask()
        return self.page.client.stats["in_msgs"] - before


def on_nats(nats: Nats, scene: Callable[[Both, Callable[[], Awaitable[None]]], Awaitable[None]]) -> None:
    """Play a scene, which is given what waits until both connections have come back."""

    async def run() -> None:
        user = user_of(WEB_USER, PASSWORDS.web)
        logins = Login(nats.url, "page", nats.tls.ca, user=user, password=PASSWORDS.web), nats.login(APP_USER)
        notices = [asyncio.Queue[str](), asyncio.Queue[str]()]

        async def back() -> None:
            for said in notices:
                while await said.get() != RECONNECTED:
                    pass

        async with contextlib.AsyncExitStack() as cleanup, asyncio.timeout(120):
            buses: list[Bus] = []
            for login, said in zip(logins, notices, strict=True):
                buses.append(await connect(login, notice=said.put_nowait))
                cleanup.push_async_callback(buses[-1].close)
            await buses[1].ensure(DEVICE_HEARTBEAT)
            await scene(Both(*buses), back)

    nats.start()
    try:
        asyncio.run(run())
    finally:
        nats.stop()


def test_nats_sends_one_notice_of_many_heartbeats(tls: Tls, tmp_path: Path) -> None:
    """The limit holds at the server: what comes beyond is not even sent to the page."""

    async def scene(both: Both, _: object) -> None:
        for _ in range(2):
            waiting = await both.asked()
            assert await both.beat(200) == 1
            await waiting
        waiting = await both.asked()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await both.arrived()
        assert await both.beat() == 0, "nobody waits any more"

    on_nats(Nats(tmp_path / "nats", tls, sealed=False), scene)


def test_a_heartbeat_is_heard_after_nats_was_away(tls: Tls, tmp_path: Path) -> None:
    nats = Nats(tmp_path / "nats", tls, sealed=False)

    async def scene(both: Both, back: Callable[[], Awaitable[None]]) -> None:
        waiting = await both.asked()
        await asyncio.to_thread(nats.stop)
        await asyncio.to_thread(nats.start)
        await back()
        await both.page.ask()
        assert await both.beat(200) == 1
        await waiting

    on_nats(nats, scene)
