"""Who sends no request, or one that is refused, reads what is wrong and what to do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager

import httpx
import pytest

from fleet.web.connections import Stage
from fleet.web.guard import HEADERS
from harness.wait import wait_until
from tests.support.web import RunningPage

HEAD = b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n"


@contextmanager
def connected(page: RunningPage, *, tls: bool) -> Generator[socket.socket]:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", int(page.url.rpartition(":")[2])), timeout=60) as plain:
        if not tls:
            yield plain
            return
        with context.wrap_socket(plain) as found:
            yield found


def answer(stream: socket.socket, words: bytes) -> tuple[int, str, dict[str, str]]:
    """The status, the text and the headers of the one answer before the end."""
    stream.sendall(words)
    got = b""
    while part := stream.recv(65536):
        got += part
    head, _, text = got.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    version, status, *_ = first.split(" ")
    assert version == "HTTP/1.1"
    found = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert int(found["content-length"]) == len(text.encode())
    return int(status), text, found


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (b"hello\r\n\r\n", 400, "this is no HTTP request: open the page's address in a browser\n"),
        (b"GET /sign-in HTTP/1.1\r\n\r\n", 400, "this is no HTTP request: "),
        (HEAD + b"X: " + b"x" * 40_000, 431, "delete this site's cookies\n"),
        (b"GET /" + b"x" * 40_000, 431, "shorten the address"),
        (HEAD + b"Transfer-Encoding: odd\r\n\r\n", 501, "comes in a way that this page does not read: "),
    ],
    ids=["a word", "no host", "long headers", "a long address", "an odd body"],
)
def test_what_is_no_request_is_told_so(page: RunningPage, words: bytes, status: int, said: str) -> None:
    with connected(page, tls=True) as stream:
        found, text, headers = answer(stream, words)
    assert found == status
    assert said in text
    assert {name.lower() for name in HEADERS} <= set(headers)
    assert (headers["cache-control"], headers["content-type"]) == ("no-store", "text/plain; charset=utf-8")


@pytest.mark.parametrize("words", [HEAD + b"\r\n", b"hello\n", b"GET /" + b"x" * 200_000], ids=["HTTP", "text", "much"])
def test_who_begins_without_tls_reads_what_this_port_speaks(page: RunningPage, words: bytes) -> None:
    with connected(page, tls=False) as stream:
        status, text, _ = answer(stream, words)
    assert (status, text) == (400, "this page speaks HTTPS only: begin its address with https://\n")
    wait_until(lambda: page.connections(*Stage), "it is closed", timeout=60, until=lambda number: number == 0)


def test_every_refusal_of_a_request_is_a_sentence_and_a_next_step(
    page: RunningPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with httpx.Client(base_url=page.url, verify=False, cookies=page.cookie(), timeout=60) as script:
        found = {
            404: script.get("/nowhere"),
            405: script.delete("/", headers={"origin": page.url}),
            403: script.post("/sign-out", headers={"origin": "https://evil.example"}),
        }
        assert script.get("/static/none.js").status_code == 404
        monkeypatch.setattr(page.parts.store, "summaries", None)
        found[500] = script.get("/devices.json")
    with httpx.Client(base_url=page.url, verify=False, timeout=60) as nobody:
        found[401] = nobody.get("/devices.json")
    for status, one in found.items():
        assert one.status_code == status
        what, _, next_step = one.text.partition(": ")
        assert len(what.split()) > 3, one.text
        assert len(next_step.split()) > 3, one.text
        assert one.text.endswith("\n")
    assert "GET" in found[405].headers["allow"]
