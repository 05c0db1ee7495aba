"""The responder with requests that no real nats-server would send: each gets an answer, and none in clear."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest
import structlog.testing
from nats.aio.client import Client
from nats.aio.msg import Msg

from fleet.callout.keys import Keys
from fleet.callout.metrics import Metrics
from fleet.callout.registry import Registry
from fleet.callout.seal import XKEY_HEADER
from fleet.callout.service import Responder
from fleet.callout.tokens import Tokens
from fleet.contract.config import CalloutConfig
from fleet.nats.keys import Role, new_seed, public_key
from tests.callout.questions import question
from tests.support.waiting import eventually

CONFIG = CalloutConfig(
    nats_url="tls://127.0.0.1:4222",
    nats_user="fleet-callout",
    nats_auth_pass="secret",
    ca="",
    issuer="https://id.example",
    project_id="project",
    issuer_seed=new_seed(Role.ACCOUNT),
    xkey_seed=new_seed(Role.CURVE),
)
SERVER_XKEY = public_key(new_seed(Role.CURVE))

BAD_REQUESTS = {
    "empty": b"",
    "json": b"{}",
    "three parts": b"a.b.c",
    "sealed nonsense": b"xkv1" + b"\0" * 64,
    "short seal": b"xkv1",
    "bytes": b"\xff" * 100,
    "a megabyte": b"x" * 1024 * 1024,
    "a real question in clear": question(),
}


class Asked:
    """A message that notes how it was answered."""

    def __init__(self, data: bytes, headers: dict[str, str] | None) -> None:
        self.data = data
        self.headers = headers
        self.answers: list[bytes] = []

    async def respond(self, data: bytes) -> None:
        self.answers.append(data)


class Line:
    """A connection that hands over what is asked."""

    def __init__(self) -> None:
        self.ask: Callable[[Msg], Awaitable[None]] | None = None

    async def subscribe(self, _subject: str, cb: Callable[[Msg], Awaitable[None]], queue: str = "") -> None:
        if queue:
            self.ask = cb

    async def flush(self) -> None:
        pass


def answer(data: bytes, headers: dict[str, str] | None, config: CalloutConfig = CONFIG) -> tuple[bytes, str]:
    """What the responder says, and the reason it logs."""
    message, line = Asked(data, headers), Line()

    async def run() -> None:
        metrics = Metrics()
        tokens = Tokens(Keys(config.issuer, config.ca, metrics), config.project_id)
        await Responder(config, tokens, Registry(metrics), metrics).start(cast("Client", line))
        assert line.ask
        await line.ask(cast("Msg", message))
        await eventually(lambda: message.answers, "the request was answered")

    with structlog.testing.capture_logs() as logs:
        asyncio.run(run())
    (said,) = message.answers
    (decision,) = cast("list[dict[str, Any]]", logs)
    return said, decision["reason"]


@pytest.mark.parametrize("data", BAD_REQUESTS.values(), ids=BAD_REQUESTS)
def test_what_does_not_decode_gets_a_bare_refusal(data: bytes) -> None:
    assert answer(data, None) == (b"", "clear_request")
    said, reason = answer(data, {XKEY_HEADER: SERVER_XKEY})
    assert said == b""
    assert reason in {"clear_request", "undecodable_request"}


@pytest.mark.parametrize(
    "xkey",
    ["", "X", "XNOTAKEY", public_key(new_seed(Role.ACCOUNT)), "é" * 100],
    ids=["empty", "letter", "no base32", "an account's", "not ASCII"],
)
def test_a_header_that_is_no_key_gets_a_bare_refusal(xkey: str) -> None:
    said, reason = answer(b"xkv1" + b"\0" * 64, {XKEY_HEADER: xkey})
    assert said == b""
    assert reason in {"clear_request", "undecodable_request"}


def test_a_sealed_request_without_a_key_of_ours_gets_a_bare_refusal() -> None:
    clear = msgspec.structs.replace(CONFIG, xkey_seed="")
    assert answer(b"xkv1" + b"\0" * 64, {XKEY_HEADER: SERVER_XKEY}, clear) == (b"", "undecodable_request")


def test_a_question_in_clear_is_answered_in_clear_only_without_a_key() -> None:
    asked = question(token="", sub=public_key(CONFIG.issuer_seed))
    said, reason = answer(asked, None, msgspec.structs.replace(CONFIG, xkey_seed=""))
    assert said.count(b".") == 2
    assert reason == "no_token"


def test_the_answer_is_by_the_key_that_the_server_expects() -> None:
    other = new_seed(Role.ACCOUNT)
    config = msgspec.structs.replace(CONFIG, xkey_seed="", other_issuer_seeds=(other,))
    for seed in (CONFIG.issuer_seed, other):
        said, reason = answer(question(token="", sub=public_key(seed)), None, config)
        assert reason == "no_token"
        assert json.loads(base64.urlsafe_b64decode(said.split(b".")[1] + b"=="))["iss"] == public_key(seed)


def test_a_server_that_expects_another_key_gets_a_bare_refusal() -> None:
    asked = question(token="", sub=public_key(new_seed(Role.ACCOUNT)))
    assert answer(asked, None, msgspec.structs.replace(CONFIG, xkey_seed="")) == (b"", "unknown_signer")
