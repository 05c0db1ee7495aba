"""The container engine through its Docker-compatible HTTP API on a unix socket (docker, podman).

Paths carry no version, so that the engine answers with its own newest: engines refuse versions that are too old or too
new for them, and what is used here has been the same in all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import httpx
import msgspec
import structlog

from fleet.agent.answers import (
    Created,
    Details,
    EngineDown,
    EngineRefused,
    EngineSilent,
    Info,
    Listed,
    Progress,
    Version,
    from_list,
    is_gone,
    parse,
    refused,
)
from fleet.agent.creation import creation, log_config
from fleet.contract.wire import Workload

_log = structlog.stdlib.get_logger()

_ANSWER_WITHIN = 15.0
_AT_ONCE = 8
"""Containers that are inspected at the same time; one that hangs delays only itself."""
_OK = 200
_GONE, _IN_USE = 404, 409
_DONE = (204, 304)
"""Statuses: it was done, or it was so already."""
_PULL_SILENCE = 120.0
"""Seconds without a word until a pull counts as hung."""
STOP_GRACE = 10
"""Seconds between SIGTERM and SIGKILL, the engines' own default."""


class Engine:
    """A client of one engine. Each call raises `EngineDown` or `EngineRefused`."""

    def __init__(self, socket: Path) -> None:
        """Connect to nothing yet."""
        self._socket = socket
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(socket), verify=False),
            base_url="http://engine",
            timeout=_ANSWER_WITHIN,
            trust_env=False,
        )

    async def close(self) -> None:
        """Drop the connections; containers are not touched."""
        await self._http.aclose()

    async def version(self) -> str:
        """The engine's name and version, for people, such as `Engine 20.10.24`."""
        found = parse(await self._call("GET", "/version", "ask the version"), Version)
        names = [component.name for component in found.components or []]
        return f"{names[0] if names else 'Engine'} {found.version}"

    async def containers(self, label: str) -> list[Details]:
        """Every container with the label (`key=value`), running or not."""
        query = {"all": "1", "filters": _filters(label=[label])}
        answer = await self._call("GET", "/containers/json", "list containers", query)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def look(raw: msgspec.Raw) -> Details | None:
            async with limit:
                return await self._inspected(raw)

        found = await asyncio.gather(*(look(raw) for raw in parse(answer, list[msgspec.Raw])))
        return [one for one in found if one is not None]

    async def _inspected(self, raw: msgspec.Raw) -> Details | None:
        """One container; None when it went meanwhile. One that cannot be shown does not hide the others."""
        try:
            listed = msgspec.json.decode(raw, type=Listed)
        except msgspec.DecodeError as error:
            _log.error("the engine lists what is no container; it is passed over", why=str(error))
            return None
        try:
            answer = await self._call("GET", f"/containers/{listed.id}/json", "inspect", good=(_OK, _GONE))
            return None if answer.is_error else parse(answer, Details)
        except (EngineRefused, EngineSilent) as error:
            return from_list(listed, error.what)

    async def has_image(self, image: str) -> bool:
        """Whether the image is on the device."""
        answer = await self._call("GET", f"/images/{quote(image)}/json", f"look for image {image}", good=(_OK, _GONE))
        return not answer.is_error

    async def pull(self, image: str) -> None:
        """Fetch an image from its registry.

        Raises:
            EngineRefused: the registry does not have it, or does not answer the engine.
        """
        name, tag = _reference(image)
        limits = httpx.Timeout(_ANSWER_WITHIN, read=_PULL_SILENCE)
        query = {"fromImage": name, "tag": tag}
        try:
            async with self._http.stream("POST", "/images/create", params=query, timeout=limits) as answer:
                if answer.status_code != _OK:
                    await answer.aread()
                    raise refused(f"pull {image}", answer)
                async for line in answer.aiter_lines():
                    problem = _problem(line)
                    if problem:
                        raise EngineRefused(f"pull {image}", 404, problem)
        except httpx.TransportError as error:
            raise self._down(f"pull {image}", error) from error
        if not await self.has_image(image):
            raise EngineRefused(f"pull {image}", 404, "the engine says that it has it, and does not have it")

    async def remove_image(self, image: str) -> bool:
        """Remove an image's name, and the image with its last name; False while a container was made from it."""
        answer = await self._call(
            "DELETE", f"/images/{quote(image)}", f"remove image {image}", good=(_OK, _GONE, _IN_USE)
        )
        return answer.status_code != _IN_USE

    async def create(self, name: str, workload: Workload, labels: Mapping[str, str]) -> str:
        """Make a container that does not run yet; returns its id."""
        info = parse(await self._call("GET", "/info", "ask how logs are kept"), Info)
        body = msgspec.json.encode(creation(workload, labels, log_config(info.logging_driver)))
        answer = await self._call("POST", "/containers/create", f"create {name}", {"name": name}, body, good=(201,))
        return parse(answer, Created).id

    async def rename(self, container: str, name: str) -> None:
        """Give a container another name; whether it runs does not matter."""
        await self._call("POST", f"/containers/{container}/rename", "rename", {"name": name}, good=(204,))

    async def start(self, container: str) -> None:
        """Start a container; starting one that runs is fine."""
        await self._call("POST", f"/containers/{container}/start", "start", good=_DONE)

    async def stop(self, container: str) -> None:
        """Stop a container with the usual grace; one that does not run, or is gone, is fine."""
        query = {"t": str(STOP_GRACE)}
        limit = _ANSWER_WITHIN + STOP_GRACE
        await self._call("POST", f"/containers/{container}/stop", "stop", query, good=(*_DONE, _GONE), limit=limit)

    async def remove(self, container: str) -> None:
        """Stop a container with the usual grace, and remove it with its anonymous volumes; none is fine."""
        await self.stop(container)
        query = {"force": "1", "v": "1"}
        try:
            await self._call("DELETE", f"/containers/{container}", "remove", query, good=(_OK, 204, _GONE))
        except EngineRefused as error:
            if error.status != 409:  # somebody else's removal is in progress
                raise

    async def events(self, label: str, names: Sequence[str]) -> AsyncIterator[None]:
        """One item when the stream stands, then one per event of the containers with the label; ends with the engine.

        Raises:
            EngineDown: the engine ended, or does not answer.
        """
        query = {"filters": _filters(type=["container"], label=[label], event=names)}
        limits = httpx.Timeout(_ANSWER_WITHIN, read=None)
        try:
            async with self._http.stream("GET", "/events", params=query, timeout=limits) as answer:
                if answer.status_code != _OK:
                    await answer.aread()
                    raise refused("follow events", answer)
                yield None
                async for line in answer.aiter_lines():
                    if line.strip():
                        yield None
        except httpx.TransportError as error:
            raise self._down("follow events", error) from error

    async def _call(
        self,
        method: str,
        path: str,
        doing: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        good: tuple[int, ...] = (_OK,),
        limit: float = _ANSWER_WITHIN,
    ) -> httpx.Response:
        headers = {"content-type": "application/json"} if body else {}
        try:
            answer = await self._http.request(
                method, path, params=query, content=body, headers=headers, timeout=httpx.Timeout(limit)
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._down(doing, error) from error
        if answer.status_code in good:
            return answer
        error = refused(doing, answer)
        if _GONE in good and is_gone(answer.status_code, error.what):
            return answer
        raise error

    def _down(self, doing: str, error: Exception) -> EngineDown:
        why = str(error) or type(error).__name__
        kind = EngineSilent if isinstance(error, httpx.ReadTimeout) else EngineDown
        return kind(
            f"{doing}: no container engine answers at {self._socket} ({why})",
            next_step="start docker or podman's API service there, or set engineSocket in the configuration",
        )


def _reference(image: str) -> tuple[str, str]:
    """An image's name, and its tag or digest; without a tag the engine would fetch every one there is."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, slash, last = image.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", tag or "latest"


def _problem(line: str) -> str:
    """What a line of a pull complains of; a line that nobody understands complains of nothing."""
    try:
        return msgspec.json.decode(line, type=Progress).error
    except msgspec.DecodeError:
        return ""


def _filters(**names: Sequence[str]) -> str:
    return msgspec.json.encode(names).decode()
