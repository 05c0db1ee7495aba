"""Loads pages while network interfaces come and go, in a network namespace of its own; prints what failed as JSON."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import trustme
from playwright.sync_api import Error

from harness.probes.browser import chromium

_PAGES = 40
_CHANGE = (
    "ip link add one type veth peer name other",
    "ip addr add 192.0.2.1/24 dev one",
    "ip link set other up",
    "ip link set one up",
    "ip link delete one",
)


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the browser ended is told by the browser."""


class _Pages(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that it overrides
        """Standard error is for what goes wrong."""


def _change(end: threading.Event, changed: threading.Event) -> None:
    while not end.is_set():
        for command in _CHANGE:
            subprocess.run(command.split(), check=True)
        changed.set()


def _load() -> list[str]:
    """What the browser says of each page that did not open. By name and with TLS, for these take it longest."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    failed: list[str] = []
    with _Server(("127.0.0.1", 0), _Pages) as server, chromium() as browser:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_context(ignore_https_errors=True).new_page()
        for number in range(_PAGES):
            try:
                page.goto(f"https://localhost:{server.server_port}/{number}")
            except Error as error:
                failed.append(error.message)
        server.shutdown()
    return failed


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    end, changed = threading.Event(), threading.Event()
    changing = threading.Thread(target=_change, args=(end, changed))
    changing.start()
    try:
        assert changed.wait(30), "no interface came and went"
        sys.stdout.write(json.dumps(_load()))
    finally:
        end.set()
        changing.join()


if __name__ == "__main__":
    main()
