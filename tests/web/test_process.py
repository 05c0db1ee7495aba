"""The page's process comes to its end: at once, and nothing of it stays open."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fleet.contract.wire import encode
from fleet.web.messages import ApiToken, Start
from harness.processes.spawn import http_answers
from harness.wait import wait_until
from tests.support.tls import Tls
from tests.support.web import web_page

_AWAY = "127.0.0.1:1"
"""Nobody listens there."""


@pytest.mark.parametrize("how", ["the operator is gone", "a signal"])
def test_it_ends_whatever_browsers_hold_open_and_closes_every_socket(
    tls: Tls, tmp_path: Path, unused_port: int, how: str
) -> None:
    config = web_page(tls, port=unused_port, issuer=f"https://{_AWAY}")
    start = Start(config, "here", f"tls://{_AWAY}", tls.ca, f"https://{_AWAY}", tls.ca)
    log = tmp_path / "log"
    with started(start, log) as process, ExitStack() as browsers:
        wait_until(lambda: http_answers(f"https://localhost:{unused_port}/sign-in"), "the page answers", timeout=60)
        hold_open(unused_port, browsers)
        if how == "a signal":
            process.send_signal(signal.SIGTERM)
        elif process.stdin is not None:
            process.stdin.close()
        assert process.wait(60) == 0, log.read_text()
    assert "unclosed" not in log.read_text(), log.read_text()


def test_a_handshake_with_a_provider_that_hangs_is_closed(tls: Tls, tmp_path: Path, unused_port: int) -> None:
    """The keys, the look whether it answers, and its certificate: each has a connection that is answered by nobody."""
    with socket.create_server(("127.0.0.1", 0)) as hangs, ExitStack() as accepted:
        config = web_page(tls, port=unused_port, issuer=f"https://localhost:{hangs.getsockname()[1]}")
        start = Start(config, "here", f"tls://{_AWAY}", tls.ca, f"https://{_AWAY}", tls.ca)
        log = tmp_path / "log"
        hangs.settimeout(60)
        with started(start, log) as process:
            for _ in range(3):
                asked = accepted.enter_context(hangs.accept()[0])
                asked.settimeout(60)
                assert asked.recv(1) == b"\x16", "a TLS handshake has begun"
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, log.read_text()
    assert "unclosed" not in log.read_text(), log.read_text()


def test_a_message_that_is_too_long_is_passed_over(tls: Tls, tmp_path: Path, unused_port: int) -> None:
    """What comes after it is heard: here a message that is none."""
    start = Start(web_page(tls, port=unused_port), "here", f"tls://{_AWAY}", tls.ca, f"https://{_AWAY}", tls.ca)
    log = tmp_path / "log"
    with started(start, log) as process:
        assert process.stdin is not None
        process.stdin.write(b"x" * 3 * 1024 * 1024 + b"\n" + b"{}\n")
        process.stdin.flush()
        for words in ("is too long", "the operator said something else", "is missing"):
            wait_until(
                log.read_text, f"the page says: {words}", timeout=60, until=lambda text, words=words: words in text
            )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()


_BAD_CHUNK = b"POST /sign-in/check HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
_UPGRADE = b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"


def test_strangers_write_few_lines_into_its_log_and_all_are_json(tls: Tls, tmp_path: Path, unused_port: int) -> None:
    start = Start(web_page(tls, port=unused_port), "here", f"tls://{_AWAY}", tls.ca, f"https://{_AWAY}", tls.ca)
    log = tmp_path / "log"
    with started(start, log) as process:
        wait_until(lambda: http_answers(f"https://localhost:{unused_port}/sign-in"), "the page answers", timeout=60)
        for _ in range(12):
            for words, then in (
                (_BAD_CHUNK, b"zz\r\n"),
                (_BAD_CHUNK + b"zz\r\n", b""),
                (b"\x00 no request\r\n\r\n", b""),
            ):
                with stranger(unused_port) as stream:
                    stream.sendall(words)
                    assert stream.recv(15) in {b"HTTP/1.1 403 Fo", b"HTTP/1.1 400 Ba"}
                    with contextlib.suppress(OSError):
                        stream.sendall(then)
                        while stream.recv(65536):
                            pass
        with stranger(unused_port) as stream:
            stream.sendall(_UPGRADE * 25)
            answers = b""
            while answers.count(b"HTTP/1.1 200 OK") < 25:
                answers += stream.recv(65536)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert {one["part"] for one in said} == {"web"}
    events = Counter(one["event"] for one in said)
    assert events["Unsupported upgrade request."] == 20
    assert events["Invalid HTTP request received."] == 20
    assert "exception" not in {key for one in said for key in one}
    assert said[-1]["event"] == "the page ends"
    assert sum(one.get("left_out", 0) for one in said) >= (24 - 20) + 2 * (25 - 20)


@contextlib.contextmanager
def stranger(port: int) -> Generator[ssl.SSLSocket]:
    """Somebody's connection to the page."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain) as stream,
    ):
        yield stream


@contextlib.contextmanager
def started(start: Start, log: Path) -> Generator[subprocess.Popen[bytes]]:
    """The page's process, which says when something is left open."""
    argv = [sys.executable, "-X", "dev", "-m", "fleet.web"]
    with (
        log.open("wb") as output,
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT) as process,
    ):
        assert process.stdin is not None
        try:
            process.stdin.write(encode(start) + b"\n" + encode(ApiToken("token")) + b"\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def hold_open(port: int, browsers: ExitStack) -> None:
    """Connections as browsers leave them: between two requests, in the midst of one, and before TLS stands."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for words, answered in ((b"GET /sign-in HTTP/1.1\r\nHost: localhost\r\n\r\n", True), (b"GET /sign", False)):
        plain = browsers.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
        stream = browsers.enter_context(context.wrap_socket(plain))
        stream.sendall(words)
        if answered:
            assert stream.recv(100)
    browsers.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
