"""What becomes of a watcher that kopf could not begin in full, or that ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator
from functools import partial

import pytest
from aiohttp import web

from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES, GROUP, VERSION
from fleet.kubeconfig import Access
from fleet.operator import handlers
from fleet.operator.credentials import read_credentials
from fleet.operator.readiness import Readiness
from fleet.operator.reconcile.actions import Kind
from fleet.operator.watching import keep_watching
from harness.wait import wait_until
from tests.support.kube import Kube


def test_a_kind_that_kubernetes_does_not_tell_of_yet_is_watched_once_it_does(
    kinds: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kopf looks once, and goes on without what it did not find."""
    namespace = kinds.namespace()
    told: list[str] = []
    readiness = Readiness()

    def take(kind: Kind, _data: bytes, _deleted: bool) -> None:
        told.append(kind)

    async def run() -> None:
        monkeypatch.setattr(handlers, "DEPLOYMENTS", "gadgets")
        read = partial(read_credentials, str(kinds.kubeconfig))
        watch = asyncio.create_task(keep_watching(read, namespace, take, readiness, lambda: None))
        await asyncio.to_thread(
            wait_until, readiness.reason, "gadgets are missed", timeout=10, until=lambda why: "gadgets" in why
        )
        monkeypatch.setattr(handlers, "DEPLOYMENTS", DEPLOYMENTS)
        await asyncio.to_thread(create, kinds, namespace)
        await asyncio.to_thread(wait_until, lambda: told, "a deployment is told", timeout=10)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    asyncio.run(run())
    assert told[0] == "FleetDeployment"


@pytest.mark.parametrize("told_to", [True, False], ids=["told to", "refused"])
def test_a_watcher_ends_at_once_and_whole_while_a_request_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, told_to: bool
) -> None:
    """Kopf would wait for the request for five seconds, and take its cancellation for a pause."""
    monkeypatch.setattr(handlers, "_BACKOFFS", ())

    async def end() -> None:
        ends: asyncio.Queue[str] = asyncio.Queue()
        async with refusing() as (url, asked):
            watcher = handlers.Watcher(lambda: Access(url), "here", tell_nobody, ends.put_nowait)
            watcher.start()
            await asyncio.wait_for(asked.wait(), 10)
            if not told_to:
                assert "may not watch" in await asyncio.wait_for(ends.get(), 4)
            await watcher.stop()

    async def run() -> None:
        await asyncio.gather(*(end() for _ in range(8)))
        await asyncio.to_thread(wait_until, threads, "no watcher runs", timeout=20, until=lambda n: n == 0)

    asyncio.run(run())


def threads() -> int:
    """How many watchers run."""
    return sum(thread.name == "kopf" for thread in threading.enumerate())


def resource(kind: str, plural: str) -> dict[str, object]:
    """A kind, as discovery tells of it."""
    return {"kind": kind, "name": plural, "singularName": kind.lower(), "namespaced": True, "verbs": ["list", "watch"]}


answers = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [resource("Namespace", "namespaces")]},
    "/api/v1/namespaces": {"metadata": {"resourceVersion": "1"}, "items": [{"metadata": {"name": "here"}}]},
    "/apis": {
        "groups": [{"name": GROUP, "versions": [{"version": VERSION}], "preferredVersion": {"version": VERSION}}]
    },
    f"/apis/{GROUP}/{VERSION}": {"resources": [resource("Device", DEVICES), resource("FleetDeployment", DEPLOYMENTS)]},
}


@contextlib.asynccontextmanager
async def refusing() -> AsyncGenerator[tuple[str, asyncio.Event]]:
    """A Kubernetes that never answers who watches deployments, and refuses who watches devices once that was asked."""
    asked = asyncio.Event()

    async def answer(request: web.Request) -> web.Response:
        if "watch" not in request.query:
            return web.json_response(answers.get(request.path, {"metadata": {"resourceVersion": "1"}, "items": []}))
        if request.path.endswith(DEPLOYMENTS):
            asked.set()
            await asyncio.Event().wait()
        await asked.wait()
        return web.json_response({"kind": "Status", "code": 403, "message": "you may not watch devices"}, status=403)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0, handler_cancellation=True, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


def tell_nobody(_kind: Kind, _data: bytes, _deleted: bool) -> None:
    """No object is watched."""


def create(kinds: Kube, namespace: str) -> None:
    probe = kinds.probe(namespace)
    spec = {"workload": {"type": "container", "image": "app:1"}, "selector": {"matchLabels": {"a": "b"}}}
    body = {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": {"name": "web"}, "spec": spec}
    probe.create(probe.path(DEPLOYMENTS), body)
    probe.close()
