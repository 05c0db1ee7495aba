"""`/healthz`, `/readyz` and `/metrics` of a service."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Generator

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fleet.contract.errors import Conflict

log = structlog.get_logger()

Unready = Callable[[], str]
"""Says why the service is not ready; empty when it is."""

Remarks = Callable[[], list[str]]
"""Says what is wrong without making the service unready."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave signals to the service, which has more to end than its web page."""
        yield


def _no_remarks() -> list[str]:
    return []


def application(unready: Unready, metrics: CollectorRegistry, remarks: Remarks = _no_remarks) -> Starlette:
    """The three pages."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        why = unready()
        content = {"ready": not why, "reason": why or "ready", "remarks": remarks()}
        return JSONResponse(content, status_code=503 if why else 200)

    async def page(_: Request) -> Response:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", page)])


def listen(host: str, port: int) -> socket.socket:
    """The socket to serve on; port 0 takes any.

    Raises:
        Conflict: somebody else listens there, or the address is not ours.
    """
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        raise Conflict(
            f"cannot listen on {host}:{port}: {error.strerror}", next_step="free the port, or configure another"
        ) from error


def server(
    listener: socket.socket, unready: Unready, metrics: CollectorRegistry, remarks: Remarks = _no_remarks
) -> uvicorn.Server:
    """The server to run with `serve([listener])` and to end with `should_exit`."""
    host, port = listener.getsockname()[:2]
    log.info("listening", host=host, port=port)
    config = uvicorn.Config(application(unready, metrics, remarks), log_config=None, access_log=False, lifespan="off")
    return _Server(config)
