"""One namespace of an API server, as a process reads it that lives for long: paged lists, and watches.

The rules are those of "Kubernetes API Concepts" (kubernetes.io): "Retrieving large results sets in chunks" and
"Efficient detection of changes".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from http import HTTPStatus
from typing import Literal, TypeVar

import aiohttp
import msgspec

from fleet.contract.errors import Unreachable
from fleet.contract.grammar import validation_words
from fleet.contract.parsing import NOT_JSON
from fleet.kube.errors import Status, refusal, unreachable
from fleet.kube.kubeconfig import Access
from fleet.kube.paths import api_path

_PAGE = 500
"""Objects in one answer to a list."""
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=3)
_WATCH_SERVER = 300
"""Seconds after which the API server ends a watch."""
_WATCH_CLIENT = aiohttp.ClientTimeout(total=_WATCH_SERVER + 30, sock_connect=3)
"""A connection that died silently would never be noticed without it."""
_LONGEST_LINE = 8 * 1024 * 1024
"""Bytes of one event: etcd takes 1.5 MiB by default, of which JSON may escape each byte as six."""

T = TypeVar("T")


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    next_page: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _Meta
    items: list[msgspec.Raw]


class _Line(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


class _Versioned(msgspec.Struct):
    metadata: _Meta


class WatchEvent(msgspec.Struct, frozen=True):
    """What happened to an object; a bookmark tells only how far the watch has come."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: bytes
    """As JSON."""
    version: str
    """The resource version to go on from; empty where the server named none."""


class KubeReader:
    """The objects of a namespace. Raises only `FleetError`s."""

    def __init__(self, read: Callable[[], Access], namespace: str, program: str) -> None:
        """Nothing is contacted yet. `read` is asked again when the server refuses the token.

        `program` is the name under which the API server sees us (its audit log, its fairness).
        """
        self._read = read
        self._namespace = namespace
        self._program = program
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def list(self, kind: str, labels: str = "") -> tuple[list[bytes], int]:
        """Every object of a kind as JSON, and the resource version at which that was all; `labels` as `list_each`.

        Raises:
            FleetError: as `list_each`.
        """
        items: list[bytes] = []
        version = await self.list_each(kind, items.append, labels)
        return items, version

    async def list_each(self, kind: str, take: Callable[[bytes], None], labels: str = "") -> int:
        """Call `take` with every object of a kind as JSON, page by page; the resource version at which that was all.

        `labels` is a selector of labels; without one, it is every object.

        Raises:
            VersionExpiredError: it took so long that the server forgot what it was listing.
            NotPermitted: the ServiceAccount may not; the message is the server's, and names the permission.
            NotFound: the kind is not defined.
            ServerError: it could not.
            Unreachable: no answer, or one that is no list.
        """
        # The first page fixes the version of the whole list (Kubernetes API concepts, "Retrieving large results").
        version = 0
        async for page in self._pages(kind, labels):
            version = _number(page.metadata.resource_version)
            for item in page.items:
                take(bytes(item))
        return version

    async def _pages(self, kind: str, labels: str) -> AsyncIterator[_Page]:
        query = {"limit": str(_PAGE), **({"labelSelector": labels} if labels else {})}
        while True:
            page = parsed(await self.request("GET", self.path(kind), query=query), _Page)
            yield page
            if not page.metadata.next_page:
                return
            query["continue"] = page.metadata.next_page

    @contextlib.asynccontextmanager
    async def watch(self, kind: str, version: str) -> AsyncGenerator[AsyncIterator[WatchEvent]]:
        """What happens to the objects of a kind after a resource version.

        The server has accepted the watch when this yields. It ends by itself after five minutes at the latest.

        Raises:
            VersionExpiredError: the version is too old.
            NotPermitted: the ServiceAccount may not; the message is the server's, and names the permission.
            NotFound: the kind is not defined.
            ServerError: the server could not.
            Unreachable: no answer, an event that is none or too long, or an end in the middle of an event.
        """
        path = self.path(kind)
        query = {"watch": "true", "resourceVersion": version, "allowWatchBookmarks": "true"}
        query["timeoutSeconds"] = str(_WATCH_SERVER)
        with unreachable():
            async with self._connected().get(path, params=query, timeout=_WATCH_CLIENT) as response:
                if response.status == HTTPStatus.UNAUTHORIZED:
                    # The token may have been renewed since we read it.
                    await self.close()
                if response.status != HTTPStatus.OK:
                    raise refusal(f"watch {path}", response.status, await response.read(), _pause(response))
                async with contextlib.aclosing(_events(response.content, f"watch {path}")) as events:
                    try:
                        yield events
                    finally:
                        # Nothing more is read, so there is no farewell to wait for.
                        if response.connection is not None and response.connection.transport is not None:
                            response.connection.transport.abort()

    def path(self, kind: str, *rest: str) -> str:
        """Where the server has a kind, or, with its name, an object of it."""
        return "/".join((api_path(kind, "", self._namespace), *rest))

    async def request(
        self, method: str, path: str, body: object = None, *, query: dict[str, str] | None = None, content: str = ""
    ) -> bytes:
        """One request; `path` is relative to the server's URL. A refused token is read anew.

        Raises:
            FleetError: it was refused (`fleet.kube.errors`), or not answered.
        """
        data = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": content or "application/json"} if data else {}
        for last in (False, True):
            status, answer, pause = await self._once(method, path, data, query, headers)
            if status != HTTPStatus.UNAUTHORIZED or last:
                break
            # The token may have been renewed since we read it.
            await self.close()
        if status < HTTPStatus.BAD_REQUEST:
            return answer
        raise refusal(f"{method} {path}", status, answer, pause)

    async def _once(
        self, method: str, path: str, data: bytes | None, query: dict[str, str] | None, headers: dict[str, str]
    ) -> tuple[int, bytes, float]:
        with unreachable():
            async with self._connected().request(method, path, data=data, params=query, headers=headers) as response:
                return response.status, await response.read(), _pause(response)

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            access = self._read()
            self._session = aiohttp.ClientSession(
                f"{access.url.rstrip('/')}/",
                headers={
                    "Authorization": f"Bearer {access.bearer()}",
                    "User-Agent": self._program,
                    # To compress a page costs the server more than to send it.
                    "Accept-Encoding": "identity",
                },
                connector=aiohttp.TCPConnector(ssl=access.trust()),
                timeout=_TIMEOUT,
            )
        return self._session


def parsed(data: bytes, kind: type[T]) -> T:
    """An answer of the API server.

    Raises:
        Unreachable: it is something else: another program answers, or a part is missing.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except NOT_JSON as error:
        raise _not_understood(error) from error


def _number(version: str) -> int:
    try:
        return int(version)
    except ValueError as error:
        raise _not_understood(error) from error


def _not_understood(error: Exception) -> Unreachable:
    why = validation_words(error)
    return Unreachable(f"the API server's answer is not understood: {why}", next_step="is there a proxy in between?")


def _pause(response: aiohttp.ClientResponse) -> float:
    """Seconds for which the server asks to be left alone."""
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() else 0.0


async def _events(content: aiohttp.StreamReader, what: str) -> AsyncGenerator[WatchEvent]:
    """Take a watch's answer apart. aiohttp's own lines end at 64 KiB, and an object may be larger."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield _event(line, what)
        if len(rest) > _LONGEST_LINE:
            raise Unreachable(
                f"the API server sent an object of more than {_LONGEST_LINE} bytes", next_step="is it one?"
            )
    if rest:
        raise Unreachable("the API server ended a watch in the middle of an event", next_step="is it up?")


def _event(line: bytes, what: str) -> WatchEvent:
    event = parsed(line, _Line)
    if event.type == "ERROR":
        raise refusal(what, parsed(event.object, Status).code, bytes(event.object), 0.0)
    return WatchEvent(event.type, bytes(event.object), parsed(event.object, _Versioned).metadata.resource_version)
