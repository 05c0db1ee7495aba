"""Whatever an API server does, it is not asked without end: the operator and the web page follow it in the same way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from fleet.contract.errors import Unreachable
from fleet.contract.objects import Kind
from fleet.kube import watching
from fleet.kube.kubeconfig import Access
from fleet.kube.reading import KubeReader
from fleet.kube.watching import Watch, pause
from fleet.operator.readiness import Readiness
from fleet.web.cluster import KINDS, Cluster
from fleet.web.messages import Start
from fleet.web.source import KUBERNETES
from fleet.web.store import Store
from tests.support.tls import make_tls
from tests.support.waiting import eventually
from tests.support.web import web_page
from tests.support.web_server import web_server

Answer = Callable[[web.Request], web.Response]
ENOUGH = 14
"""Attempts after which a pause has reached its longest."""


def listed(version: str = "70", more: str = "", *names: str) -> web.Response:
    items = [{"metadata": {"name": name, "resourceVersion": version}} for name in names]
    return web.json_response({"metadata": {"resourceVersion": version, "continue": more}, "items": items})


def told(kind: str, item: object) -> web.Response:
    return web.Response(body=msgspec.json.encode({"type": kind, "object": item}) + b"\n")


def refused(code: int, **headers: str) -> web.Response:
    body = {"kind": "Status", "code": code, "message": f"refused with {code}"}
    return web.json_response(body, status=code, headers={name.replace("_", "-"): one for name, one in headers.items()})


def expired_as_event(_: web.Request) -> web.Response:
    return told("ERROR", {"kind": "Status", "code": 410, "message": "too old"})


def ended(_: web.Request) -> web.Response:
    return web.Response()


def broken_as_event(_: web.Request) -> web.Response:
    return told("ERROR", {"kind": "Status", "code": 500, "message": "it is not well"})


@contextlib.asynccontextmanager
async def api(watched: Answer, lists: Answer = lambda _: listed()) -> AsyncGenerator[tuple[str, list[str]]]:
    """An API server; yields its URL and what was asked for, `list` or the version of a watch."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        watches = "watch" in request.query
        asked.append(request.query["resourceVersion"] if watches else "list")
        return watched(request) if watches else lists(request)

    async with web_server(handle) as url:
        yield url, asked


class Objects:
    """Lists as the operator does."""

    def __init__(self, reader: KubeReader) -> None:
        self._reader = reader
        self._version = ""
        self.told: list[bytes] = []

    async def list(self, kind: Kind) -> bool:
        self._version = str((await self._reader.list(kind))[1])
        return True

    def listed(self, kind: Kind) -> str:
        return self._version

    def take(self, kind: Kind, data: bytes, deleted: bool) -> bool:
        self.told.append(data)
        return True


@contextlib.asynccontextmanager
async def following(url: str, readiness: Readiness | None = None) -> AsyncGenerator[Objects]:
    reader = KubeReader(lambda: Access(url), "here", "test")
    objects = Objects(reader)
    watch = Watch(reader, "Device", objects, readiness or Readiness(), lambda: None)
    task = asyncio.create_task(watch.run())
    try:
        yield objects
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await reader.close()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, in seconds; none of them takes its time."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(watching, "sleep", sleep)
    return made


TROUBLE: dict[str, tuple[Answer, Answer, float]] = {
    "410 as an answer": (lambda _: refused(410), lambda _: listed(), 30.0),
    "410 as an event": (expired_as_event, lambda _: listed(), 30.0),
    "410 in the middle of a list": (
        ended,
        lambda request: refused(410) if "continue" in request.query else listed("70", "more", "pi-1"),
        30.0,
    ),
    "500 as an answer": (lambda _: refused(500), lambda _: listed(), 3.0),
    "500 as an event": (broken_as_event, lambda _: listed(), 3.0),
    "500 to every list": (ended, lambda _: refused(500), 3.0),
    "watches that end at once": (ended, lambda _: listed(), 3.0),
    "a page instead of a list": (ended, lambda _: web.Response(text="<html>"), 3.0),
    "a version that is none": (ended, lambda _: listed("new"), 3.0),
}
"""What an API server answers for ever to watches and to lists, and the longest pause in seconds that is right then."""


def test_the_first_list_after_an_outage_waits_for_nothing(pauses: list[float]) -> None:
    """A server that was away and is back has forgotten our version: what changed meanwhile is known at once."""
    outage = 8

    def away_then_anew(request: web.Request) -> web.Response:
        return refused(503) if len(pauses) < outage else expired_as_event(request)

    async def run() -> None:
        async with api(away_then_anew) as (url, _), following(url):
            await eventually(lambda: len(pauses) >= outage + 3, "it was away, and is back")

    asyncio.run(run())
    assert all(one > 0 for one in pauses[1:outage]), pauses
    assert pauses[outage] == 0, pauses
    assert 0 < pauses[outage + 1] < 0.2, pauses


def test_a_server_that_is_started_anew_again_and_again_is_listed_soon(pauses: list[float]) -> None:
    """Each start forgets our version, and in between a watch tells of a change."""
    starts = 40

    def follows_once(request: web.Request) -> web.Response:
        if request.query["resourceVersion"] == "70":
            return told("MODIFIED", {"metadata": {"name": "pi-1", "resourceVersion": "71"}})
        return expired_as_event(request)

    async def run() -> None:
        async with api(follows_once) as (url, asked), following(url):
            await eventually(lambda: asked.count("list") > starts, "it was listed again and again")

    asyncio.run(run())
    before_lists = pauses[1 : 2 * starts : 2]
    assert all(0 < one <= 0.8 for one in before_lists), pauses


@pytest.mark.parametrize("trouble", TROUBLE)
def test_the_pauses_grow_and_differ_by_chance(trouble: str, pauses: list[float]) -> None:
    watched, lists, longest = TROUBLE[trouble]

    async def run() -> None:
        async with api(watched, lists) as (url, _), following(url):
            await eventually(lambda: len(pauses) >= ENOUGH, "many attempts", within=30)

    asyncio.run(run())
    assert pauses[0] < 0.2, "the first attempt may come at once"
    assert all(one > 0 for one in pauses[1:ENOUGH]), pauses
    assert longest / 2 <= pauses[ENOUGH - 1] <= longest, pauses
    assert all(after <= 4 * before + 0.2 for before, after in pairwise(pauses[:ENOUGH])), "each at most doubles"
    assert len(set(pauses[1:ENOUGH])) > ENOUGH // 2, "many processes do not come at the same time"


def busy(_: web.Request) -> web.Response:
    return refused(429, Retry_After="17")


def well(_: web.Request) -> web.Response:
    return listed()


@pytest.mark.parametrize(("watched", "lists"), [(busy, well), (ended, busy)], ids=["watches", "lists"])
def test_a_server_that_asks_to_be_left_alone_is(watched: Answer, lists: Answer, pauses: list[float]) -> None:
    async def run() -> None:
        async with api(watched, lists) as (url, _), following(url):
            await eventually(lambda: len(pauses) >= 3, "three attempts", within=30)

    asyncio.run(run())
    assert all(one >= 17 for one in pauses), pauses


def test_a_watch_that_lasted_makes_the_pauses_short_again(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LASTED", 0.0)

    async def run() -> None:
        async with api(expired_as_event) as (url, asked), following(url):
            await eventually(lambda: len(pauses) >= ENOUGH, "many attempts", within=30)
            assert asked[:4] == ["list", "70", "list", "70"]

    asyncio.run(run())
    assert set(pauses[:ENOUGH]) == {0.0}


def test_a_bookmark_moves_on_and_one_without_a_version_does_not(pauses: list[float]) -> None:
    versions = iter(("90", ""))

    def bookmark(_: web.Request) -> web.Response:
        return told("BOOKMARK", {"metadata": {"resourceVersion": next(versions, "91")}})

    async def run() -> None:
        async with api(bookmark) as (url, asked), following(url) as objects:
            await eventually(lambda: len(asked) >= 5, "watches", within=30)
            assert asked[:5] == ["list", "70", "90", "90", "91"]
            assert objects.told == []

    asyncio.run(run())


def test_an_object_without_end_is_refused(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.kube.reading._LONGEST_LINE", 1000)
    readiness = Readiness()

    async def run() -> None:
        async with api(lambda _: web.Response(body=b"x" * 100_000)) as (url, _), following(url, readiness):
            await eventually(lambda: "more than 1000 bytes" in readiness.reason(), "it is told", within=30)

    asyncio.run(run())


def test_a_path_before_the_api_stays(pauses: list[float]) -> None:
    paths: list[str] = []

    def watched(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response()

    async def run() -> None:
        async with api(watched) as (url, _), following(f"{url}/k8s/clusters/c-1"):
            await eventually(lambda: paths, "a watch", within=30)

    asyncio.run(run())
    assert paths[0].startswith("/k8s/clusters/c-1/apis/")


def test_a_page_instead_of_an_answer_is_named() -> None:
    async def run() -> None:
        async with api(ended, lambda _: web.Response(text="<html>")) as (url, _):
            reader = KubeReader(lambda: Access(url), "here", "test")
            with pytest.raises(Unreachable, match="not understood"):
                await reader.list("Device")
            await reader.close()

    asyncio.run(run())


def test_the_page_says_that_kubernetes_is_away_and_that_it_is_back(tmp_path: Path, pauses: list[float]) -> None:
    """Both kinds go the operator's way: the page knows when one of them cannot be followed."""
    mended: list[bool] = []

    def watched(request: web.Request) -> web.Response:
        return web.Response() if mended or "devices" in request.path else refused(500)

    async def run() -> None:
        store = Store()
        async with api(watched) as (url, _):
            start = Start(web_page(make_tls(tmp_path)), "here", "", "", url, "")
            cluster = Cluster(start, lambda: "token", store)
            tasks = [asyncio.create_task(cluster.follow(kind)) for kind in KINDS]
            source = lambda: store.sources.known[KUBERNETES].why  # noqa: E731
            await eventually(lambda: "refused with 500" in source(), "it is said", within=30)
            # The other kind is followed all the while, and does not say that all is well.
            before = len(pauses)
            await eventually(lambda: len(pauses) > before + 10, "attempts of both", within=30)
            assert "refused with 500" in source()
            mended.append(True)
            await eventually(lambda: not source(), "it is back", within=30)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await cluster.close()

    asyncio.run(run())


def test_a_pause_has_its_bounds_after_any_number_of_attempts() -> None:
    assert 1.5 <= pause(10**9, expired=False) <= 3.0
    assert 15.0 <= pause(10**9, expired=True) <= 30.0
    assert pause(1, expired=True) == 0.0
