"""A proxy before an API server, which answers some requests in its place, or not at all."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import msgspec

from harness.targets.control_plane import render_kubeconfig
from tests.support.kube import Kube

Fault = Callable[[str, str, int], int]
"""From method, path and the number of the request to the status to answer; 0 to let it through, -1 for silence."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up is no error of ours, and standard error is the command's."""


def none(method: str, path: str, number: int) -> int:
    """Let everything through."""
    del method, path, number
    return 0


class FaultyKube:
    """The address of the proxy, and what it does now."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self.fault: Fault = none
        self.requests = 0
        self._over = threading.Event()
        self._upstream = httpx.Client(base_url=kube.url, verify=ssl.create_default_context(cafile=kube.ca), timeout=30)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.kubeconfig = folder / "faulty.kubeconfig"
        self.kubeconfig.touch(0o600)
        admin = msgspec.json.decode(kube.kubeconfig.read_bytes())["users"][0]["user"]
        self.kubeconfig.write_bytes(render_kubeconfig(url, kube.ca, admin["token"]))

    @contextmanager
    def run(self) -> Generator[FaultyKube]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            self._server.shutdown()
            thread.join(10)
            self._server.server_close()
            self._upstream.close()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests += 1
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        status = self.fault(handler.command, handler.path, self.requests)
        if status < 0:
            self._over.wait(60)
            handler.close_connection = True
            return
        if status:
            content = b'{"kind": "Status", "message": "the proxy says no"}'
        else:
            kept = ("authorization", "content-type", "accept")
            headers = {name: value for name, value in handler.headers.items() if name.lower() in kept}
            answer = self._upstream.request(handler.command, handler.path, content=body, headers=headers)
            status, content = answer.status_code, answer.content
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


def _handler(proxy: FaultyKube) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            proxy.answer(self)

        do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    return Handler
