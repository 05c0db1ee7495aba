"""The HTTP side: routes of the Docker Engine API, with or without a version in the path."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from harness.doubles.engine.containers import Containers
from harness.doubles.engine.errors import Refused
from harness.doubles.engine.events import Events, Filter
from harness.doubles.engine.faults import Fault, Faults
from harness.doubles.engine.images import Images, progress
from harness.doubles.engine.records import Creation, Record

API = "1.41"
T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class Double:
    """One engine: its images, containers, listeners and faults."""

    def __init__(self, state: Path, registry: Path) -> None:
        """Use what an earlier run left in `state`."""
        self.events = Events()
        self.faults = Faults()
        self.images = Images(state / "images", registry)
        self.containers = Containers(state / "containers", self.images, self.events)

    def app(self) -> ASGIApp:
        """The server."""
        return _Front(self._routes(), self.faults)

    def _routes(self) -> Starlette:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/_ping", self._ping),
            ("GET", "/version", self._version),
            ("GET", "/info", self._info),
            ("GET", "/events", self._events),
            ("GET", "/containers/json", self._list),
            ("POST", "/containers/create", self._create),
            ("GET", "/containers/{name}/json", self._inspect),
            ("GET", "/containers/{name}/logs", self._logs),
            ("POST", "/containers/{name}/start", self._start),
            ("POST", "/containers/{name}/stop", self._stop),
            ("POST", "/containers/{name}/kill", self._kill),
            ("POST", "/containers/{name}/rename", self._rename),
            ("DELETE", "/containers/{name}", self._remove),
            ("POST", "/images/load", self._load),
            ("POST", "/images/create", self._pull),
            ("GET", "/images/{name:path}/json", self._image),
            ("DELETE", "/images/{name:path}", self._remove_image),
            ("POST", "/_double/faults", self._plant),
            ("DELETE", "/_double/faults", self._heal),
        ]
        return Starlette(
            routes=[Route(path, handler, methods=[method]) for method, path, handler in table],
            exception_handlers={Refused: _refusal},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        await self.containers.revive()
        yield

    async def _ping(self, _: Request) -> Response:
        return Response("OK", headers={"API-Version": API})

    async def _version(self, _: Request) -> Response:
        name = {"Name": "Engine double", "Version": API}
        return _json(
            {"Version": API, "ApiVersion": API, "Os": "linux", "Arch": os.uname().machine, "Components": [name]}
        )

    async def _info(self, _: Request) -> Response:
        return _json({"LoggingDriver": "json-file"})

    async def _events(self, request: Request) -> Response:
        lines = self.events.listen(Filter(_filters(request)))
        return StreamingResponse(lines, media_type="application/json")

    async def _list(self, request: Request) -> Response:
        everything = request.query_params.get("all", "") in {"1", "true", "True"}
        found = self.containers.list(everything=everything, filters=_filters(request))
        return _json([_summary(record) for record in found])

    async def _create(self, request: Request) -> Response:
        record = self.containers.create(request.query_params.get("name", ""), _parse(await request.body(), Creation))
        return _json({"Id": record.id, "Warnings": []}, 201)

    async def _inspect(self, request: Request) -> Response:
        record = self.containers.find(request.path_params["name"]).record
        details: dict[str, Any] = msgspec.to_builtins(record)
        return _json({**details, "Name": f"/{record.name}"})

    async def _logs(self, request: Request) -> Response:
        text = self.containers.log(self.containers.find(request.path_params["name"]))
        # One frame of the multiplexed stream: 1 is standard output, which holds standard error too.
        return Response(b"\x01\0\0\0" + len(text).to_bytes(4, "big") + text if text else b"")

    async def _start(self, request: Request) -> Response:
        started = await self.containers.find(request.path_params["name"]).start()
        return Response(status_code=204 if started else 304)

    async def _stop(self, request: Request) -> Response:
        grace = float(request.query_params.get("t", "10"))
        stopped = await self.containers.find(request.path_params["name"]).stop(grace)
        return Response(status_code=204 if stopped else 304)

    async def _kill(self, request: Request) -> Response:
        name = request.query_params.get("signal", "SIGKILL")
        number = signal.Signals(int(name)) if name.isdigit() else signal.Signals["SIG" + name.removeprefix("SIG")]
        await self.containers.find(request.path_params["name"]).kill(number)
        return Response(status_code=204)

    async def _rename(self, request: Request) -> Response:
        self.containers.rename(request.path_params["name"], request.query_params.get("name", ""))
        return Response(status_code=204)

    async def _remove(self, request: Request) -> Response:
        container = self.containers.find(request.path_params["name"])
        await self.containers.remove(container, force=request.query_params.get("force", "") in {"1", "true"})
        return Response(status_code=204)

    async def _load(self, request: Request) -> Response:
        names = self.images.load(await request.body())
        return Response(progress(*({"stream": f"Loaded image: {name}\n"} for name in names)))

    async def _pull(self, request: Request) -> Response:
        name = self.images.pull(request.query_params.get("fromImage", ""), request.query_params.get("tag", "latest"))
        return Response(progress({"status": f"Pulled {name}"}))

    async def _image(self, request: Request) -> Response:
        image = self.images.find(request.path_params["name"])
        return _json(msgspec.to_builtins(image))

    async def _remove_image(self, request: Request) -> Response:
        image = self.images.find(request.path_params["name"])
        self.containers.refuse_if_used(image.id)
        self.images.remove(request.path_params["name"])
        return _json([])

    async def _plant(self, request: Request) -> Response:
        self.faults.add(_parse(await request.body(), Fault))
        return Response(status_code=204)

    async def _heal(self, _: Request) -> Response:
        self.faults.clear()
        return Response(status_code=204)


class _Front:
    """Drops the version from the path, and meets the faults."""

    def __init__(self, inner: ASGIApp, faults: Faults) -> None:
        self._inner = inner
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = re.sub(r"^/v\d+\.\d+", "", scope["path"])
            scope = {**scope, "path": path, "raw_path": path.encode()}
            fault = None if path.startswith("/_double/") else await self._faults.meet(scope["method"], path)
            if fault is not None:
                await _json({"message": fault.message}, fault.status)(scope, receive, send)
                return
        await self._inner(scope, receive, send)


def _summary(record: Record) -> dict[str, object]:
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.config.image,
        "ImageID": record.image,
        "Labels": record.labels,
        "State": record.state.status,
        "Status": record.state.status,
    }


def _filters(request: Request) -> dict[str, list[str]]:
    """The `filters` parameter: JSON, values in a list or, in the older form, the keys of a mapping."""
    given = _parse(request.query_params.get("filters", "{}").encode(), dict[str, list[str] | dict[str, bool]])
    return {name: list(values) for name, values in given.items()}


def _parse(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise Refused(400, f"invalid request: {error}") from error


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


async def _refusal(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _json({"message": error.message}, error.status)
