"""The container engine through its Docker-compatible HTTP API on a unix socket (docker, podman).

Paths carry no version, so that the engine answers with its own newest: engines refuse versions that are too old or too
new for them, and what is used here has been the same in all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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
    ImageDetails,
    Info,
    Listed,
    Past,
    Progress,
    PullFailed,
    Usage,
    Version,
    error_message,
    from_list,
    has_just_ended,
    is_gone,
    parse,
    refused,
)
from fleet.agent.creation import Where, creation, log_config, registry_auth
from fleet.agent.machines import Machines
from fleet.contract.grammar import validation_words
from fleet.contract.limits import MAX_DIGESTS
from fleet.contract.parsing import NOT_JSON
from fleet.contract.sealed import RegistryLogin
from fleet.contract.wire import Container
from fleet.process.failures import in_words

_log = structlog.stdlib.get_logger()

_ANSWER_WITHIN = 15.0
_ACT_WITHIN = 60.0
"""Seconds: for a look, and for a change, which takes a small board's disk that long when it is busy."""
_AT_ONCE = 8
"""Containers that are inspected at the same time; one that hangs delays only itself."""
_LOOKS = 3
"""How often the engine is asked for a look in which a process ended before it answers for it."""
_OK = 200
_GONE, _IN_USE = 404, 409
_DONE = (204, 304)
"""Statuses: it was done, or it was so already."""
_PULL_SILENCE = 120.0
"""Seconds without a word until a pull counts as hung."""


class Engine:
    """A client of one engine. Each call raises `EngineDown` or `EngineRefused`."""

    def __init__(self, socket: Path) -> None:
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
        found = parse(await self.call("GET", "/version", "ask the version"), Version)
        names = [component.name for component in found.components or []]
        return f"{names[0] if names else 'Engine'} {found.version}"

    async def folder(self) -> Path:
        """Where the engine keeps its data; `/` where it does not tell."""
        info = parse(await self.call("GET", "/info", "ask where its data is"), Info)
        return Path(info.docker_root_dir or "/")

    async def usage(self) -> Usage:
        """What uses its disk; it measures volumes for that, which takes a while."""
        return parse(await self.call("GET", "/system/df", "ask what uses the disk", limit=_ACT_WITHIN), Usage)

    async def containers(self, label: str) -> list[Details]:
        """Every container with the label (`key=value`), running or not."""
        query = {"all": "1", "filters": filters(label=[label])}
        answer = await self.call("GET", "/containers/json", "list containers", query)
        limit = asyncio.Semaphore(_AT_ONCE)

        async def look(raw: msgspec.Raw) -> Details | None:
            async with limit:
                return await self._inspected(raw)

        listed = await asyncio.gather(*(look(raw) for raw in parse(answer, list[msgspec.Raw])))
        return [details for details in listed if details is not None]

    async def _inspected(self, raw: msgspec.Raw) -> Details | None:
        """One container; None when it went meanwhile. One that cannot be shown does not hide the others."""
        try:
            listed = msgspec.json.decode(raw, type=Listed)
        except NOT_JSON as error:
            _log.error("the engine lists what is no container; it is passed over", why=validation_words(error))
            return None
        try:
            answer = await self.call("GET", f"/containers/{listed.id}/json", "inspect", good=(_OK, _GONE))
            return None if answer.is_error else parse(answer, Details)
        except (EngineRefused, EngineSilent) as error:
            return from_list(listed, error.what)

    async def has_image(self, image: str, platform: str = "") -> bool:
        """Whether the image is on the device, for the platform if one is named."""
        answer = await self.call("GET", f"/images/{quote(image)}/json", f"look for image {image}", good=(_OK, _GONE))
        if answer.is_error or not platform:
            return not answer.is_error
        details = parse(answer, ImageDetails)
        return platform.split("/")[:2] == [details.os, details.architecture]

    async def digests(self, image: str) -> tuple[str, ...]:
        """The digests by which registries know an image, by name or id; none where it did not come from one."""
        details = parse(await self.call("GET", f"/images/{quote(image)}/json", f"look at image {image}"), ImageDetails)
        # An image that came from no registry has this name with podman, and a digest all the same.
        known = [digest for digest in details.repo_digests or [] if not digest.startswith("localhost/")]
        return tuple(sorted({digest.rpartition("@")[2] for digest in known})[:MAX_DIGESTS])

    async def machines(self, image: str) -> Machines:
        """The machine that an image is made for, and this one."""
        details = parse(await self.call("GET", f"/images/{quote(image)}/json", f"look at image {image}"), ImageDetails)
        return Machines(
            details.architecture, parse(await self.call("GET", "/version", "ask the version"), Version).arch
        )

    async def pull(
        self,
        image: str,
        platform: str = "",
        login: RegistryLogin | None = None,
        tell: Callable[[Progress], None] = lambda _: None,
    ) -> None:
        """Pull an image from its registry, with a login if there is one; `tell` is called with the progress.

        Raises:
            PullFailed: the registry does not have it, does not give it, or does not answer the engine.
        """
        name, tag = _reference(image)
        limits = httpx.Timeout(_ANSWER_WITHIN, read=_PULL_SILENCE)
        query = {"fromImage": name, "tag": tag, **({"platform": platform} if platform else {})}
        headers = {"X-Registry-Auth": registry_auth(login)} if login else {}
        request = self._http.stream("POST", "/images/create", params=query, headers=headers, timeout=limits)
        try:
            async with request as answer:
                if answer.status_code != _OK:
                    await answer.aread()
                    raise PullFailed(image, error_message(answer))
                async for line in answer.aiter_lines():
                    progress = Progress.read(line)
                    if progress.error:
                        raise PullFailed(image, progress.error)
                    tell(progress)
        except httpx.ReadTimeout as error:
            raise PullFailed(image, f"the registry says nothing for {_PULL_SILENCE:g} s") from error
        except httpx.TransportError as error:
            raise self._down(f"pull {image}", error) from error
        if not await self.has_image(image):
            raise PullFailed(image, "the engine says that it has it, and does not have it")

    async def remove_image(self, image: str) -> bool:
        """Remove an image's name, and the image with its last name; False while a container was made from it."""
        answer = await self.call(
            "DELETE", f"/images/{quote(image)}", f"remove image {image}", good=(_OK, _GONE, _IN_USE)
        )
        return answer.status_code != _IN_USE

    async def create(
        self,
        name: str,
        workload: Container,
        labels: Mapping[str, str],
        where: Where = Where(),  # noqa: B008 - frozen
    ) -> str:
        """Make a container that does not run yet; returns its id."""
        info = parse(await self.call("GET", "/info", "ask how logs are kept"), Info)
        log = log_config(info.logging_driver, workload.log)
        body = msgspec.json.encode(creation(workload, labels, log, where))
        query = {"name": name, **({"platform": workload.platform} if workload.platform else {})}
        answer = await self.call("POST", "/containers/create", f"create {name}", query, body, good=(201,))
        return parse(answer, Created).id

    async def rename(self, container: str, name: str) -> None:
        """Give a container another name; whether it runs does not matter."""
        await self.call("POST", f"/containers/{container}/rename", "rename", {"name": name}, good=(204,))

    async def start(self, container: str) -> None:
        """Start a container; starting one that runs is fine."""
        await self.call("POST", f"/containers/{container}/start", "start", good=_DONE)

    async def stop(self, container: str) -> None:
        """Stop a container with the grace that it was made with; one that does not run, or is gone, is fine."""
        answer = await self.call("GET", f"/containers/{container}/json", "inspect", good=(_OK, _GONE))
        if not answer.is_error:
            limit = _ACT_WITHIN + parse(answer, Details).grace
            await self.call("POST", f"/containers/{container}/stop", "stop", good=(*_DONE, _GONE), limit=limit)

    async def remove(self, container: str) -> None:
        """Stop a container as `stop` does, and remove it with its anonymous volumes; none is fine."""
        await self.stop(container)
        query = {"force": "1", "v": "1"}
        try:
            await self.call("DELETE", f"/containers/{container}", "remove", query, good=(_OK, 204, _GONE))
        except EngineRefused as error:
            if error.status != 409:  # somebody else's removal is in progress
                raise

    async def events(self, label: str, names: Sequence[str]) -> AsyncIterator[None]:
        """One item when the stream stands, then one per event of the containers with the label; ends with the engine.

        Raises:
            EngineDown: the engine ended, or does not answer.
        """
        query = {"filters": filters(type=["container"], label=[label], event=names)}
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

    async def logs(self, container: str, wanted: Past, *, follow: bool) -> AsyncIterator[bytes]:
        """What a container has written, and with `follow` what it writes from now on, as the engine frames it.

        Raises:
            EngineDown: the engine ended, or does not answer.
            EngineRefused: it does not show this log.
        """
        # Microseconds: a line can be here within one millisecond, and a rounded time would read it again.
        query = {"stdout": "1", "stderr": "1", "tail": str(wanted.tail), "since": f"{wanted.since:.6f}"}
        limits = httpx.Timeout(_ANSWER_WITHIN, read=None if follow else _ANSWER_WITHIN)
        path = f"/containers/{container}/logs"
        if follow:
            query["follow"] = "1"
        try:
            async with self._http.stream("GET", path, params=query, timeout=limits) as answer:
                if answer.status_code != _OK:
                    await answer.aread()
                    raise refused("read the log", answer)
                async for data in answer.aiter_raw():
                    yield data
        except httpx.TransportError as error:
            raise self._down("read the log", error) from error

    async def call(
        self,
        method: str,
        path: str,
        doing: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        good: tuple[int, ...] = (_OK,),
        limit: float = 0,
    ) -> httpx.Response:
        """Ask the engine. A status that is not `good` is its refusal; `limit` in seconds, 0 for the usual one."""
        limit = limit or (_ANSWER_WITHIN if method == "GET" else _ACT_WITHIN)
        headers = {"content-type": "application/json"} if body else {}
        looks = _LOOKS if method == "GET" else 1
        while True:
            try:
                async with asyncio.timeout(2 * limit):  # httpx limits each step, of which an answer has any number
                    answer = await self._http.request(
                        method, path, params=query, content=body, headers=headers, timeout=httpx.Timeout(limit)
                    )
            except (httpx.TransportError, httpx.InvalidURL, TimeoutError) as error:
                raise self._down(doing, error) from error
            if answer.status_code in good:
                return answer
            error = refused(doing, answer)
            if _GONE in good and is_gone(answer.status_code, error.what):
                return answer
            looks -= 1
            if not looks or not has_just_ended(answer.status_code, error.what):
                raise error

    def _down(self, doing: str, error: Exception) -> EngineDown:
        kind = EngineSilent if isinstance(error, httpx.ReadTimeout | TimeoutError) else EngineDown
        return kind(
            f"{doing}: no container engine answers at {self._socket} ({in_words(error)})",
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


def filters(**names: Sequence[str]) -> str:
    """The parameter `filters` of a list, each name with its values (Docker Engine API)."""
    return msgspec.json.encode(names).decode()
