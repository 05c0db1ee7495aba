"""A watch goes on where the one before ended, and lists again when that is too old."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial

import msgspec
import pytest
from aiohttp import web

from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES, Kind
from fleet.kube import reading
from fleet.kube.kubeconfig import Access
from fleet.kube.watching import Watch
from fleet.operator.credentials import read_credentials
from fleet.operator.kube import KubeApi
from fleet.operator.readiness import Readiness
from tests.support.kube import Kube
from tests.support.waiting import eventually
from tests.support.web_server import web_server

Watching = Callable[[web.StreamResponse, str], Awaitable[None]]
"""Answers a watch from a version on."""


class Known:
    """What a watch tells."""

    def __init__(self, version: str = "10") -> None:
        self.version = version
        self.lists = 0
        self.told: list[tuple[str, str, bool]] = []

    async def list(self, kind: Kind) -> bool:
        self.lists += 1
        self.version = "70"
        return True

    def listed(self, kind: Kind) -> str:
        return self.version

    def take(self, kind: Kind, data: bytes, deleted: bool) -> bool:
        meta = msgspec.json.decode(data)["metadata"]
        self.told.append((meta["name"], meta["resourceVersion"], deleted))
        return True


def event(kind: str, version: str, name: str = "pi-1", **more: object) -> bytes:
    item = {"metadata": {"name": name, "resourceVersion": version}, **more}
    return msgspec.json.encode({"type": kind, "object": item}) + b"\n"


def error(code: int) -> bytes:
    status: dict[str, object] = {
        "kind": "Status",
        "metadata": {},
        "code": code,
        "message": "too old resource version: 10 (60)",
    }
    return msgspec.json.encode({"type": "ERROR", "object": status}) + b"\n"


@contextlib.asynccontextmanager
async def server(answer: Callable[[str, int], bytes | int | None]) -> AsyncGenerator[tuple[str, list[str]]]:
    """An API server of which `answer` says what the n-th watch gets: lines, a refusal, or None for no answer at all.

    Yields its URL and the versions that were asked for.
    """
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.query["resourceVersion"])
        lines = answer(request.path, len(asked))
        if isinstance(lines, int):
            return web.json_response({"code": lines, "message": f"refused with {lines}"}, status=lines)
        if lines is None:
            await asyncio.Event().wait()
        response = web.StreamResponse()
        await response.prepare(request)
        assert lines is not None
        for start in range(0, len(lines), 1000):
            await response.write(lines[start : start + 1000])
        if lines:
            return response
        await asyncio.Event().wait()
        return response

    async with web_server(handle) as url:
        yield url, asked


@contextlib.asynccontextmanager
async def followed(url: str, known: Known, readiness: Readiness) -> AsyncGenerator[list[int]]:
    """A watch of devices; yields what is appended to at news."""
    woken: list[int] = []
    api = KubeApi(lambda: Access(url), "here")
    task = asyncio.create_task(Watch(api, "Device", known, readiness, lambda: woken.append(1)).run())
    try:
        yield woken
    finally:
        task.cancel()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 2)
        await api.close()


def test_events_are_told_and_the_next_watch_goes_on_after_the_last() -> None:
    first = event("ADDED", "11") + event("MODIFIED", "12") + event("DELETED", "13") + event("BOOKMARK", "20")
    known = Known()

    async def run() -> None:
        async with (
            server(lambda _, n: first if n == 1 else b"") as (url, asked),
            followed(url, known, Readiness()) as w,
        ):
            await eventually(lambda: len(asked) == 2, "a second watch")
            assert asked == ["10", "20"]
            assert len(w) == 3

    asyncio.run(run())
    assert known.told == [("pi-1", "11", False), ("pi-1", "12", False), ("pi-1", "13", True)]
    assert known.lists == 0, "nothing was missed"


@pytest.mark.parametrize("gone", [error(410), 410], ids=["as an event", "as an answer"])
def test_a_version_that_is_too_old_calls_for_a_list(gone: bytes | int) -> None:
    known = Known()

    async def run() -> None:
        async with server(lambda _, n: gone if n == 1 else b"") as (url, asked), followed(url, known, Readiness()) as w:
            await eventually(lambda: len(asked) == 2, "a second watch")
            assert asked == ["10", "70"]
            assert known.lists == len(w) == 1

    asyncio.run(run())


@pytest.mark.parametrize("trouble", [403, 404, 429, 500, error(500), b"<html>\n", b'{"type":"ADDED"'])
def test_trouble_is_told_and_tried_again_from_where_it_was(trouble: bytes | int) -> None:
    readiness, known, reasons = Readiness(), Known(), list[str]()

    def answer(_path: str, n: int) -> bytes | int:
        if n < 3:
            return trouble
        reasons.append(readiness.reason())
        return b""

    async def run() -> None:
        async with server(answer) as (url, asked), followed(url, known, readiness):
            await eventually(lambda: len(asked) == 3 and not readiness.reason(), "the watch is in order again")
            assert asked == ["10", "10", "10"]

    asyncio.run(run())
    assert reasons[0].startswith(f"watch {DEVICES}: ")


def test_an_object_of_any_size_is_one_event() -> None:
    known = Known()

    async def run() -> None:
        lines = event("ADDED", "11", pad="x" * 700_000) + event("ADDED", "12", name="pi-2")
        async with server(lambda _, n: lines if n == 1 else b"") as (url, _), followed(url, known, Readiness()):
            await eventually(lambda: len(known.told) == 2, "both are told")

    asyncio.run(run())


def test_a_connection_that_died_silently_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_WATCH_CLIENT", reading.aiohttp.ClientTimeout(total=0.2))
    known = Known()

    async def run() -> None:
        silent = server(lambda _, n: None if n == 1 else b"")
        async with silent as (url, asked), followed(url, known, Readiness()):
            await eventually(lambda: len(asked) >= 2, "a second watch")

    asyncio.run(run())


def test_a_kind_that_is_not_there_yet_is_watched_once_it_is(kinds: Kube) -> None:
    """The real server: an object that is made while the watch runs is told, and its deletion."""
    namespace = kinds.namespace()
    known, readiness = Known(""), Readiness()

    async def run() -> None:
        api = KubeApi(partial(read_credentials, str(kinds.kubeconfig)), namespace)
        known.version = str((await api.list("FleetDeployment"))[1])
        watch = asyncio.create_task(Watch(api, "FleetDeployment", known, readiness, lambda: None).run())
        await asyncio.to_thread(create_and_delete, kinds, namespace)
        await eventually(lambda: [one[2] for one in known.told][-1:] == [True], "the deletion is told")
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await api.close()

    asyncio.run(run())
    assert [(name, deleted) for name, _, deleted in known.told] == [("web", False), ("web", True)]


def create_and_delete(kinds: Kube, namespace: str) -> None:
    probe = kinds.probe(namespace)
    spec = {"workload": {"type": "container", "image": "app:1"}, "selector": {"matchLabels": {"a": "b"}}}
    body = {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": {"name": "web"}, "spec": spec}
    probe.create(probe.path(DEPLOYMENTS), body)
    probe.delete(probe.path(DEPLOYMENTS, "web"))
    probe.close()
