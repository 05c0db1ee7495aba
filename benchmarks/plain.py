"""A plain parallel client of Kubernetes: the peer of everything that writes a fleet's objects."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from fleet.contract.labels import NONE_CARRIED
from fleet.contract.objects import API_VERSION, GROUP, VERSION
from fleet.kube.kubeconfig import read_files

AT_ONCE = 32
"""Requests on their way at the same time, as many as the operator has."""

_AGAIN = 0.2
"""Seconds between two looks."""

Json = dict[str, Any]
Seen = Callable[[Json], None]


class Refused(Exception):  # noqa: N818
    """The API server's answer was no success."""

    def __init__(self, what: str, status: int, answer: bytes) -> None:
        super().__init__(f"{what}: HTTP {status}: {answer[:300]!r}")


class Plain:
    """It asks, and does not think."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Ask by this session."""
        self._session = session

    async def create(self, namespace: str, plural: str, objects: Iterable[Json]) -> None:
        """Make objects, as many at once as may be."""

        async def one(item: Json) -> None:
            await self._ask("POST", path(namespace, plural), item, "application/json")

        await _all(one, objects)

    async def write_statuses(self, namespace: str, plural: str, statuses: dict[str, Json]) -> None:
        """Replace the statuses of objects that nobody else writes, each onto the version that was listed before."""
        known = await self.list(namespace, plural)
        versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in known}

        async def one(name: str) -> None:
            patch = [
                {"op": "replace", "path": "/metadata/resourceVersion", "value": versions[name]},
                {"op": "add", "path": "/status", "value": statuses[name]},
            ]
            await self._ask("PATCH", path(namespace, plural, name, "status"), patch, "application/json-patch+json")

        await _all(one, statuses)

    async def patch(self, namespace: str, plural: str, name: str, merge: Json) -> None:
        """Change one object."""
        await self._ask("PATCH", path(namespace, plural, name), merge, "application/merge-patch+json")

    async def list(self, namespace: str, plural: str) -> list[Json]:
        """All objects of a kind."""
        return (await self._ask("GET", path(namespace, plural)))["items"]

    async def watch(self, namespace: str, plural: str, seen: Seen) -> None:
        """Call `seen` with every object as it is, and as it changes; until cancelled."""
        while True:
            listed = await self._ask("GET", path(namespace, plural))
            for item in listed["items"]:
                seen(item)
            query = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
            async with self._session.get(path(namespace, plural), params=query) as response:
                async for line in response.content:
                    event = msgspec.json.decode(line)
                    if event["type"] == "ERROR":
                        break
                    seen(event["object"])
            # The server ends the watch of a client that is too slow for it.
            await asyncio.sleep(_AGAIN)

    async def _ask(self, method: str, where: str, body: object = None, content: str = "") -> Json:
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": content} if content else {}
        while True:
            async with self._session.request(method, where, data=data, headers=headers) as response:
                answer = await response.read()
            if response.ok:
                return msgspec.json.decode(answer)
            if response.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise Refused(f"{method} {where}", response.status, answer)
            await asyncio.sleep(_AGAIN)


@asynccontextmanager
async def plain(kubeconfig: Path) -> AsyncGenerator[Plain]:
    """A client by the token in a kubeconfig."""
    access = read_files([kubeconfig])
    async with aiohttp.ClientSession(
        access.url,
        headers={"Authorization": f"Bearer {access.bearer()}"},
        connector=aiohttp.TCPConnector(ssl=access.trust(), limit=AT_ONCE + 8),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=1 << 20,
    ) as session:
        yield Plain(session)


def path(namespace: str, plural: str, *rest: str) -> str:
    """Where a kind's objects are, or one of them."""
    return "/".join((f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{plural}", *rest))


def device(name: str, *, labels: dict[str, str], **spec: object) -> Json:
    """A `Device` as `fleet device enroll` creates it."""
    meta = {"name": name, "labels": labels, "annotations": NONE_CARRIED}
    return {"apiVersion": API_VERSION, "kind": "Device", "metadata": meta, "spec": spec}


async def _all(one: Callable[[Any], Awaitable[None]], what: Iterable[Any]) -> None:
    waiting = iter(what)

    async def work() -> None:
        for item in waiting:
            await one(item)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(work())
