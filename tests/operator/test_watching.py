"""What becomes of a watcher that kopf could not begin in full."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from fleet.contract.objects import API_VERSION, DEPLOYMENTS
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


def test_a_callback_of_kopfs_that_fails_ends_the_watcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it was to cancel would be waited for, and nothing be told any more."""

    async def hang(**_: object) -> None:
        asyncio.get_running_loop().call_soon(fail)
        await asyncio.Event().wait()

    def fail() -> None:
        raise AssertionError("no task is current in a callback")

    async def run() -> str:
        ends: asyncio.Queue[str] = asyncio.Queue()
        watcher = handlers.Watcher(lambda: pytest.fail("nobody logs in"), "here", tell_nobody, ends.put_nowait)
        watcher.start()
        try:
            return await asyncio.wait_for(ends.get(), 10)
        finally:
            await watcher.stop()

    monkeypatch.setattr(handlers.kopf, "operator", hang)
    assert "Exception in callback" in asyncio.run(run())


def tell_nobody(_kind: Kind, _data: bytes, _deleted: bool) -> None:
    """No object is watched."""


def create(kinds: Kube, namespace: str) -> None:
    probe = kinds.probe(namespace)
    spec = {"workload": {"type": "container", "image": "app:1"}, "selector": {"matchLabels": {"a": "b"}}}
    body = {"apiVersion": API_VERSION, "kind": "FleetDeployment", "metadata": {"name": "web"}, "spec": spec}
    probe.create(probe.path(DEPLOYMENTS), body)
    probe.close()
