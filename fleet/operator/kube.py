"""Kubernetes' API as the operator uses it: paged lists, and patches of an object that has not changed meanwhile."""

from __future__ import annotations

import ssl
import uuid
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any

import aiohttp
import msgspec

from fleet.contract.errors import Conflict, FleetError, InvalidInput, NotFound, NotPermitted, Unreachable
from fleet.contract.objects import API_VERSION, DEPLOYMENTS, DEVICES, FINALIZER, GROUP, VERSION
from fleet.contract.wire import encode
from fleet.kubeconfig import Access
from fleet.operator.reconcile.actions import Kind, Note
from fleet.operator.status import timestamp

_PAGE = 500
_TIMEOUT = aiohttp.ClientTimeout(total=20, sock_connect=3)
_PLURAL: dict[Kind, str] = {"Device": DEVICES, "FleetDeployment": DEPLOYMENTS}
_REFUSALS: dict[int, tuple[type[FleetError], str]] = {
    HTTPStatus.UNAUTHORIZED: (NotPermitted, "give the operator a new token"),
    HTTPStatus.FORBIDDEN: (NotPermitted, "install again: it restores the operator's Role"),
    HTTPStatus.NOT_FOUND: (NotFound, "install again, if it is the kind that is missing"),
    HTTPStatus.CONFLICT: (Conflict, "read it again"),
    HTTPStatus.UNPROCESSABLE_ENTITY: (InvalidInput, "see the message"),
    HTTPStatus.BAD_REQUEST: (InvalidInput, "see the message"),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (InvalidInput, "see the message"),
}
_LONGEST_PAUSE = 60.0
"""Seconds of a `Retry-After` that are obeyed."""

Json = dict[str, Any]


class ServerError(FleetError):
    """The API server answered that it did not do it: 429 or 5xx.

    It may be this one object, which etcd refuses for its size, or all of them. `pause` is in seconds what the server
    asks to be left alone for; 0 when it asks for nothing.
    """

    def __init__(self, what: str, *, next_step: str, pause: float = 0) -> None:
        """Keep them."""
        super().__init__(what, next_step=next_step)
        self.pause = pause


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """What identifies one state of one object."""

    name: str
    uid: str
    resource_version: str
    finalizers: tuple[str, ...] = ()


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = "0"
    next_page: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw]


class _Status(msgspec.Struct):
    message: str = ""


class KubeApi:
    """The API server as one namespace's operator sees it. Raises only `FleetError`s."""

    def __init__(self, read: Callable[[], Access], namespace: str) -> None:
        """Nothing is contacted yet. `read` is asked again when the server refuses the token."""
        self._read = read
        self._namespace = namespace
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def list(self, kind: Kind) -> tuple[list[bytes], int]:
        """Every object of a kind as JSON, and the resource version at which that was all.

        Raises:
            NotPermitted: the ServiceAccount may not; the message is the server's, and names the permission.
            NotFound: the kind is not defined.
            ServerError: it could not.
            Unreachable: no answer.
        """
        items: list[bytes] = []
        # The first page fixes the version of the whole list (Kubernetes API concepts, "Retrieving large results").
        version = 0
        async for page in self._pages(_PLURAL[kind]):
            version = int(page.metadata.resource_version)
            items += [bytes(item) for item in page.items]
        return items, version

    async def _pages(self, plural: str) -> AsyncIterator[_Page]:
        query = {"limit": str(_PAGE)}
        while True:
            data = await self._request("GET", self._path(plural), query=query)
            page = msgspec.json.decode(data, type=_Page)
            yield page
            if not page.metadata.next_page:
                return
            query["continue"] = page.metadata.next_page

    async def patch_status(self, kind: Kind, meta: Meta, status: msgspec.Struct) -> bytes:
        """Replace the status of exactly this state of the object; returns the object as it is then.

        Raises:
            Conflict: the object has changed, so the status is out of date.
            NotFound: the object is gone.
        """
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": meta.resource_version},
            {"op": "add", "path": "/status", "value": msgspec.Raw(encode(status))},
        ]
        path = self._path(_PLURAL[kind], meta.name, "status")
        return await self._request("PATCH", path, patch, content="application/json-patch+json")

    async def set_finalizers(self, kind: Kind, meta: Meta, *, held: bool) -> bytes:
        """Put our finalizer on exactly this state of the object, or take it off; returns the object as it is then.

        Raises:
            Conflict: the object has changed.
            NotFound: the object is gone.
        """
        others = [name for name in meta.finalizers if name != FINALIZER]
        finalizers = [*others, FINALIZER] if held else others
        patch: Json = {"metadata": {"resourceVersion": meta.resource_version, "finalizers": finalizers}}
        path = self._path(_PLURAL[kind], meta.name)
        return await self._request("PATCH", path, patch, content="application/merge-patch+json")

    async def tell(self, kind: Kind, meta: Meta, note: Note, now: float) -> None:
        """Write a Kubernetes Event about an object."""
        moment = timestamp(now)
        reference = {"apiVersion": API_VERSION, "kind": kind, "name": meta.name, "namespace": self._namespace}
        event: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            # Events are named as client-go does: the object's name and something unique.
            "metadata": {"name": f"{meta.name}.{uuid.uuid4().hex[:16]}", "namespace": self._namespace},
            "involvedObject": {**reference, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "type": note.type,
            "reason": note.reason,
            # The API server's own limit for an event's message.
            "message": note.message[:1024],
            "source": {"component": "fleet-operator"},
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
        }
        await self._request("POST", f"/api/v1/namespaces/{self._namespace}/events", event)

    def _path(self, plural: str, *rest: str) -> str:
        return "/".join((f"/apis/{GROUP}/{VERSION}/namespaces/{self._namespace}/{plural}", *rest))

    async def _request(
        self, method: str, path: str, body: object = None, *, query: dict[str, str] | None = None, content: str = ""
    ) -> bytes:
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
        raise _refusal(f"{method} {path}", status, answer, pause)

    async def _once(
        self, method: str, path: str, data: bytes | None, query: dict[str, str] | None, headers: dict[str, str]
    ) -> tuple[int, bytes, float]:
        session = self._connected()
        try:
            async with session.request(method, path, data=data, params=query, headers=headers) as response:
                pause = response.headers.get("Retry-After", "")
                return response.status, await response.read(), float(pause) if pause.isdecimal() else 0.0
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(f"the API server does not answer: {why}", next_step="is it up?") from error

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            credentials = self._read()
            self._session = aiohttp.ClientSession(
                credentials.url,
                headers={"Authorization": f"Bearer {credentials.bearer()}", "User-Agent": "fleet-operator"},
                connector=aiohttp.TCPConnector(ssl=credentials.trust()),
                timeout=_TIMEOUT,
            )
        return self._session


def _refusal(what: str, status: int, answer: bytes, pause: float) -> FleetError:
    try:
        message = msgspec.json.decode(answer, type=_Status).message
    except msgspec.MsgspecError:
        message = ""
    message = message or f"{what}: HTTP {status}"
    if status in _REFUSALS:
        kind, next_step = _REFUSALS[status]
        return kind(message, next_step=next_step)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.TOO_MANY_REQUESTS:
        return ServerError(message, next_step="is the API server well?", pause=min(pause, _LONGEST_PAUSE))
    return InvalidInput(message, next_step="see the message")
