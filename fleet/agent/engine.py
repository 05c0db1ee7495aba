"""The container engine through its Docker-compatible HTTP API on a unix socket (docker, podman).

Paths carry no version, so that the engine answers with its own newest: engines refuse versions that are too old or too
new for them, and what is used here has been the same in all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx
import msgspec

from fleet.agent.wishes import Problem
from fleet.contract.errors import FleetError, Unreachable
from fleet.contract.wire import Health, Reason, Workload

_ANSWER_WITHIN = 15.0
_PULL_SILENCE = 120.0
"""Seconds without a word until a pull counts as hung."""
STOP_GRACE = 10
"""Seconds between SIGTERM and SIGKILL, the engines' own default."""
_NANOSECOND = 1e9

T = TypeVar("T")


class EngineDown(Unreachable):
    """The engine does not answer on its socket."""


class EngineRefused(FleetError):  # noqa: N818
    """The engine answered with an error; `problem` is what to report."""

    def __init__(self, doing: str, status: int, message: str) -> None:
        """Keep the HTTP status, and find the reason in the engine's words."""
        super().__init__(f"{doing}: {message}", next_step="see the engine's log on the device")
        self.status = status
        self.problem = Problem(_reason(status, message), self.what)


def _reason(status: int, message: str) -> Reason:
    words = message.lower()
    if "port is already allocated" in words or "address already in use" in words:
        return Reason.PORT_IN_USE
    if "no such image" in words:
        return Reason.IMAGE_NOT_FOUND
    return Reason.INVALID_DESIRED_STATE if status == 400 else Reason.ENGINE_ERROR


class _Probe(msgspec.Struct, frozen=True, rename="pascal"):
    output: str = ""


class HealthState(msgspec.Struct, frozen=True, rename="pascal"):
    """The outcome of a container's health checks."""

    status: str = ""
    log: list[_Probe] | None = None


class State(msgspec.Struct, frozen=True, rename="pascal"):
    """A container's state."""

    status: str
    exit_code: int = 0
    error: str = ""
    started_at: str = ""
    out_of_memory: bool = msgspec.field(default=False, name="OOMKilled")
    health: HealthState | None = None


class _Config(msgspec.Struct, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None


class Details(msgspec.Struct, frozen=True, rename="pascal"):
    """A container as `inspect` shows it."""

    id: str
    state: State
    restart_count: int = 0
    config: _Config = _Config()


class _Listed(msgspec.Struct, frozen=True, rename="pascal"):
    id: str


class _Created(msgspec.Struct, frozen=True, rename="pascal"):
    id: str


class _Component(msgspec.Struct, frozen=True, rename="pascal"):
    name: str


class _Version(msgspec.Struct, frozen=True, rename="pascal"):
    version: str
    components: list[_Component] | None = None


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    error: str = ""


class _Progress(msgspec.Struct, frozen=True):
    error: str = ""


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
        found = _parse(await self._call("GET", "/version", "ask the version"), _Version)
        names = [component.name for component in found.components or []]
        return f"{names[0] if names else 'Engine'} {found.version}"

    async def containers(self, label: str) -> list[Details]:
        """Every container with the label (`key=value`), running or not."""
        query = {"all": "1", "filters": _filters(label=[label])}
        listed = _parse(await self._call("GET", "/containers/json", "list containers", query), list[_Listed])
        found: list[Details] = []
        for one in listed:
            answer = await self._call("GET", f"/containers/{one.id}/json", "inspect", gone_ok=True)
            if answer.status_code != 404:
                found.append(_parse(answer, Details))
        return found

    async def has_image(self, image: str) -> bool:
        """Whether the image is on the device."""
        answer = await self._call("GET", f"/images/{quote(image)}/json", f"look for image {image}", gone_ok=True)
        return answer.status_code != 404

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
                if answer.is_error:
                    await answer.aread()
                    raise _refused(f"pull {image}", answer)
                async for line in answer.aiter_lines():
                    problem = msgspec.json.decode(line, type=_Progress).error if line.strip() else ""
                    if problem:
                        raise EngineRefused(f"pull {image}", 404, problem)
        except (httpx.TransportError, msgspec.DecodeError) as error:
            raise self._down(f"pull {image}", error) from error

    async def create(self, name: str, workload: Workload, labels: Mapping[str, str]) -> str:
        """Make a container that does not run yet; returns its id."""
        body = msgspec.json.encode(creation(workload, labels))
        answer = await self._call("POST", "/containers/create", f"create {name}", {"name": name}, body)
        return _parse(answer, _Created).id

    async def start(self, container: str) -> None:
        """Start a container; starting one that runs is fine."""
        await self._call("POST", f"/containers/{container}/start", "start")

    async def remove(self, container: str) -> None:
        """Stop a container with the usual grace, and remove it with its anonymous volumes; none is fine."""
        query = {"t": str(STOP_GRACE)}
        limit = _ANSWER_WITHIN + STOP_GRACE
        await self._call("POST", f"/containers/{container}/stop", "stop", query, gone_ok=True, limit=limit)
        query = {"force": "1", "v": "1"}
        try:
            await self._call("DELETE", f"/containers/{container}", "remove", query, gone_ok=True)
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
                if answer.is_error:
                    await answer.aread()
                    raise _refused("follow events", answer)
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
        gone_ok: bool = False,
        limit: float = _ANSWER_WITHIN,
    ) -> httpx.Response:
        headers = {"content-type": "application/json"} if body else {}
        try:
            answer = await self._http.request(
                method, path, params=query, content=body, headers=headers, timeout=httpx.Timeout(limit)
            )
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._down(doing, error) from error
        if answer.is_error and not (gone_ok and answer.status_code == 404):
            raise _refused(doing, answer)
        return answer

    def _down(self, doing: str, error: Exception) -> EngineDown:
        why = str(error) or type(error).__name__
        return EngineDown(
            f"{doing}: no container engine answers at {self._socket} ({why})",
            next_step="start docker or podman's API service there, or set engineSocket in the configuration",
        )


def creation(workload: Workload, labels: Mapping[str, str]) -> dict[str, object]:
    """The body that makes a container of a workload (Docker Engine API, `ContainerCreate`)."""
    body: dict[str, object] = {
        "Image": workload.image,
        "Env": [f"{name}={value}" for name, value in sorted(workload.env.items())],
        "Labels": dict(labels),
        "ExposedPorts": {f"{port.container}/{port.protocol.value}": {} for port in workload.ports},
    }
    if workload.command:
        body["Entrypoint"] = list(workload.command)
    if workload.args:
        body["Cmd"] = list(workload.args)
    if workload.health:
        body["Healthcheck"] = _health_check(workload.health)
    bindings: dict[str, list[dict[str, str]]] = {}
    for port in workload.ports:
        key = f"{port.container}/{port.protocol.value}"
        bindings.setdefault(key, []).append({"HostPort": str(port.host)})
    body["HostConfig"] = {"PortBindings": bindings, "RestartPolicy": {"Name": workload.restart.value}}
    return body


def _health_check(health: Health) -> dict[str, object]:
    return {
        "Test": ["CMD", *health.command],
        "Interval": int(health.interval * _NANOSECOND),
        "Timeout": int(health.timeout * _NANOSECOND),
        "Retries": health.retries,
        "StartPeriod": int(health.start_period * _NANOSECOND),
    }


def _reference(image: str) -> tuple[str, str]:
    """An image's name, and its tag or digest; without a tag the engine would fetch every one there is."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    head, slash, last = image.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", tag or "latest"


def _filters(**names: Sequence[str]) -> str:
    return msgspec.json.encode(names).decode()


def _parse(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.content, type=kind)
    except msgspec.DecodeError as error:
        raise EngineRefused("read the engine's answer", answer.status_code, str(error)) from error


def _refused(doing: str, answer: httpx.Response) -> EngineRefused:
    try:
        told = msgspec.json.decode(answer.content, type=_Error)
    except msgspec.DecodeError:
        told = _Error()
    return EngineRefused(doing, answer.status_code, told.message or told.error or f"HTTP {answer.status_code}")
