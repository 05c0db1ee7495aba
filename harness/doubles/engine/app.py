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
from harness.doubles.engine.log import Wanted
from harness.doubles.engine.manners import Manners, own_log
from harness.doubles.engine.networks import Network, Networks
from harness.doubles.engine.records import Creation
from harness.doubles.engine.remote import Remote
from harness.doubles.engine.volumes import Volume, Volumes
from harness.images import ARCHITECTURES

API = "1.41"
T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


class Double:
    """One engine: its images, containers, listeners and faults."""

    def __init__(self, state: Path, registry: Path, manners: Manners) -> None:
        """Use what an earlier run left in `state`."""
        self._manners = manners
        self._state = state
        self.events = Events(manners)
        self.faults = Faults()
        self.images = Images(state / "images", registry)
        self.volumes = Volumes(state / "volumes")
        self.networks = Networks(state / "networks", manners)
        self.containers = Containers(
            state / "containers", self.images, self.events, manners, self.volumes, self.networks
        )

    def app(self) -> ASGIApp:
        """The server."""
        return _Front(self._routes(), self.faults)

    def _routes(self) -> Starlette:
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/_ping", self._ping),
            ("GET", "/version", self._version),
            ("GET", "/info", self._info),
            ("GET", "/system/df", self._usage),
            ("GET", "/events", self._events),
            ("GET", "/containers/json", self._list),
            ("POST", "/containers/create", self._create),
            ("GET", "/containers/{name}/json", self._inspect),
            ("GET", "/libpod/containers/{name}/json", self._own_log),
            ("GET", "/containers/{name}/logs", self._logs),
            ("POST", "/containers/{name}/start", self._start),
            ("POST", "/containers/{name}/stop", self._stop),
            ("POST", "/containers/{name}/kill", self._kill),
            ("POST", "/containers/{name}/rename", self._rename),
            ("DELETE", "/containers/{name}", self._remove),
            ("GET", "/volumes", self._list_volumes),
            ("POST", "/volumes/create", self._volume),
            ("DELETE", "/volumes/{name}", self._remove_volume),
            ("POST", "/networks/create", self._make_network),
            ("GET", "/networks", self._networks),
            ("GET", "/networks/{name}", self._network),
            ("DELETE", "/networks/{name}", self._remove_network),
            ("POST", "/images/load", self._load),
            ("POST", "/images/create", self._pull),
            ("GET", "/images/{name:path}/json", self._image),
            ("DELETE", "/images/{name:path}", self._remove_image),
            ("POST", "/_double/faults", self._plant),
            ("DELETE", "/_double/faults", self._heal),
        ]
        return Starlette(
            routes=[Route(path, handler, methods=[method]) for method, path, handler in table],
            exception_handlers={Refused: self._refusal},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncGenerator[None]:
        await self.containers.revive()
        yield

    async def _ping(self, _: Request) -> Response:
        return Response("OK", headers={"API-Version": API})

    async def _version(self, _: Request) -> Response:
        name = {"Name": self._manners.engine, "Version": API}
        architecture = ARCHITECTURES.get(os.uname().machine, os.uname().machine)
        return _json({"Version": API, "ApiVersion": API, "Os": "linux", "Arch": architecture, "Components": [name]})

    async def _info(self, _: Request) -> Response:
        return _json({"LoggingDriver": self._manners.logging_driver, "DockerRootDir": str(self._state)})

    async def _usage(self, _: Request) -> Response:
        volumes = [{"Name": name, "UsageData": {"Size": size}} for name, size in self.volumes.sizes().items()]
        return _json({"LayersSize": self.images.size(), "Containers": [], "Volumes": volumes})

    async def _events(self, request: Request) -> Response:
        lines = self.events.listen(Filter(_filters(request)))
        return StreamingResponse(lines, media_type="application/json")

    async def _list(self, request: Request) -> Response:
        everything = request.query_params.get("all", "") in {"1", "true", "True"}
        containers = self.containers.list(everything=everything, filters=_filters(request))
        return _json([self._manners.listed(record) for record in containers])

    async def _create(self, request: Request) -> Response:
        record = self.containers.create(request.query_params.get("name", ""), _parse(await request.body(), Creation))
        return _json({"Id": record.id, "Warnings": []}, 201)

    async def _inspect(self, request: Request) -> Response:
        record = self.containers.inspect(request.path_params["name"])
        return _json({**self._manners.details(record), "Mounts": self.containers.find(record.id).mounts()})

    async def _own_log(self, request: Request) -> Response:
        if not self._manners.is_podman:
            return Response(status_code=404)
        return _json(own_log(self.containers.find(request.path_params["name"]).record))

    async def _logs(self, request: Request) -> Response:
        given = request.query_params
        log_query = Wanted(
            tail=int(given["tail"]) if given.get("tail", "all") != "all" else None,
            since=float(given.get("since", "0")),
            follow=given.get("follow", "") in {"1", "true"},
        )
        return StreamingResponse(self.containers.find(request.path_params["name"]).log.frames(log_query))

    async def _start(self, request: Request) -> Response:
        started = await self.containers.find(request.path_params["name"]).start()
        return Response(status_code=204 if started else 304)

    async def _stop(self, request: Request) -> Response:
        grace = float(request.query_params["t"]) if "t" in request.query_params else None
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

    async def _list_volumes(self, request: Request) -> Response:
        return _json({"Volumes": self.volumes.list(_filters(request).get("label", ())), "Warnings": []})

    async def _volume(self, request: Request) -> Response:
        return _json(self.volumes.ensure(_parse(await request.body(), Volume)), 201)

    async def _remove_volume(self, request: Request) -> Response:
        self.volumes.remove(request.path_params["name"], self.containers.records())
        return Response(status_code=204)

    async def _make_network(self, request: Request) -> Response:
        network = self.networks.make(_parse(await request.body(), Network))
        return _json({"Id": network.name, "Warning": ""}, 201)

    async def _networks(self, request: Request) -> Response:
        return _json(self.networks.labelled(_filters(request).get("label", ())))

    async def _network(self, request: Request) -> Response:
        return _json(self.networks.find(request.path_params["name"]))

    async def _remove_network(self, request: Request) -> Response:
        self.networks.remove(request.path_params["name"], self.containers.records())
        return Response(status_code=204)

    async def _load(self, request: Request) -> Response:
        names = self.images.load(await request.body())
        return Response(progress(*({"stream": f"Loaded image: {name}\n"} for name in names)))

    async def _pull(self, request: Request) -> Response:
        name, tag = request.query_params.get("fromImage", ""), request.query_params.get("tag", "latest")
        remote = Remote.of(name, tag, request.headers.get("x-registry-auth", ""))
        if remote is None:
            return Response(progress({"status": f"Pulled {self.images.pull(name, tag)}"}))
        try:
            await remote.begin()
        except BaseException:
            await remote.close()
            raise
        return StreamingResponse(self._fetched(remote, name, tag), media_type="application/json")

    async def _fetched(self, remote: Remote, name: str, tag: str) -> AsyncGenerator[bytes]:
        try:
            async for line in remote.lines():
                yield progress(line)
                if "error" in line:
                    return
        finally:
            await remote.close()
        self.images.add(name, tag, remote.fetched)
        yield progress({"status": f"Downloaded newer image for {name}:{tag}"})

    async def _image(self, request: Request) -> Response:
        image = self.images.find(self._manners.own_name(request.path_params["name"]))
        shown: dict[str, Any] = msgspec.to_builtins(image)
        return _json({**shown, "RepoTags": [self._manners.image(tag) for tag in image.repo_tags]})

    async def _remove_image(self, request: Request) -> Response:
        name = self._manners.own_name(request.path_params["name"])
        self.containers.refuse_if_used(self.images.find(name).id)
        self.images.remove(name)
        return _json([])

    async def _plant(self, request: Request) -> Response:
        self.faults.add(_parse(await request.body(), Fault))
        return Response(status_code=204)

    async def _refusal(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, Refused)
        status, body = self._manners.refusal(error)
        return _json(body, status)

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
            path = re.sub(r"^/v\d+(\.\d+)+", "", scope["path"])
            scope = {**scope, "path": path, "raw_path": path.encode()}
            fault = None if path.startswith("/_double/") else await self._faults.meet(scope["method"], path)
            if fault is not None:
                await _json({"message": fault.message}, fault.status)(scope, receive, send)
                return
        await self._inner(scope, receive, send)


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
