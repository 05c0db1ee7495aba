"""Tokens on a real nats-server: every bad one, with its reason; and the issuer's keys as they change."""

from __future__ import annotations

import asyncio
import ssl
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest

from fleet.contract.errors import NotPermitted
from tests.support.callout import answering, callout_config, identities, revoked
from tests.support.issuer import OTHER_PROJECT, PROJECT, Issuer, roles_claim, rsa
from tests.support.logins import SUBJECT, decisions, device, enroll, refusal, run
from tests.support.nats import Nats
from tests.support.waiting import eventually


def bad_tokens(issuer: Issuer) -> dict[str, tuple[str, str]]:
    """Every bad token of the list, by name, with the reason that the decision must give."""
    good = issuer.token(SUBJECT)
    head, payload, signature = good.split(".")
    past = int(time.time()) - 10
    ours, theirs = roles_claim(PROJECT), roles_claim(OTHER_PROJECT)
    granted = {"device": {"351": "fleet.localhost"}}

    def with_claims(changes: dict[str, Any]) -> str:
        return issuer.token(SUBJECT, **changes)

    return {
        "alg none": (issuer.unsigned(SUBJECT), "algorithm_refused"),
        "HS256 with the public key": (issuer.signed_with_the_public_key(SUBJECT), "algorithm_refused"),
        "unknown kid": (issuer.token(SUBJECT, signer=rsa(9)), "unknown_key"),
        "another payload under the signature": (f"{head}.{payload[:-4]}AAAA.{signature}", "bad_signature"),
        "no signature": (f"{head}.{payload}.", "bad_signature"),
        "another issuer": (issuer.token(SUBJECT, iss="https://127.0.0.1:1"), "wrong_issuer"),
        "issuer with a slash more": (issuer.token(SUBJECT, iss=f"{issuer.url}/"), "wrong_issuer"),
        "wrong audience": (issuer.token(SUBJECT, aud=[OTHER_PROJECT]), "wrong_audience"),
        "another project's roles": (with_claims({ours: None, theirs: granted}), "role_missing"),
        "no role": (with_claims({ours: None}), "role_missing"),
        "another role": (with_claims({ours: {"viewer": granted["device"]}}), "role_missing"),
        "roles as a text": (with_claims({ours: "device"}), "role_missing"),
        "expired": (issuer.token(SUBJECT, exp=past), "expired"),
        "not yet valid": (issuer.token(SUBJECT, nbf=past + 600), "not_yet_valid"),
        "issued in the future": (issuer.token(SUBJECT, iat=past + 600), "not_yet_valid"),
        "no expiry": (issuer.token(SUBJECT, exp=None), "token_malformed"),
        "garbage": ("garbage", "token_malformed"),
        "three parts of garbage": ("a.b.c", "token_malformed"),
        "a header that is a text": (_headed(b'"alg kid"'), "token_malformed"),
        "a header that is a list": (_headed(b'["alg", "kid"]'), "token_malformed"),
        "a header without end": (_headed(b"[" * 8000), "token_malformed"),
        "a deep header": (_headed(b'{"alg":"RS256","kid":' + b"[" * 3000 + b"]" * 3000 + b"}"), "token_malformed"),
        "not ASCII": ("eyJhbGciOiJSUzI1NiJ9.\u00e9\u00e9.x", "token_malformed"),
        "13 KB": (good + "A" * 13 * 1024, "token_too_long"),
        "unknown subject": (issuer.token("999"), "not_enrolled"),
        "subject of another grammar": (issuer.token("../274001"), "not_enrolled"),
        "revoked": (issuer.token("274002"), "revoked"),
        "no token": ("", "no_token"),
    }


def _headed(header: bytes) -> str:
    return f"{urlsafe_b64encode(header).decode().rstrip('=')}.e30.e30"


def test_every_bad_token_is_refused_with_its_reason(nats: Nats, issuer: Issuer) -> None:
    tokens = bad_tokens(issuer)

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with identities(nats) as registry:
            await registry.put("274002", revoked("pi-2"))
        async with answering(callout_config(nats, issuer)):
            for token, _ in tokens.values():
                assert isinstance(await refusal(nats, token), NotPermitted)
            async with device(nats, issuer.token(SUBJECT)):
                pass

    logs = run(body)
    assert not [line for line in logs if "exception" in line], "a token is no reason for a traceback"
    expected = [reason for _, reason in tokens.values()]
    assert dict(zip(tokens, decisions(logs), strict=False)) == dict(zip(tokens, expected, strict=True))
    assert decisions(logs)[-1] == "allowed", "a good one still gets in after them"
    text = str(logs)
    assert not [name for name, (token, _) in tokens.items() if len(token) > 20 and token in text], "no token is logged"


def test_a_token_with_many_roles_gets_in(nats: Nats, issuer: Issuer) -> None:
    """The server's own limit, 4 KB for the whole line, would refuse it."""

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        token = issuer.token(SUBJECT, groups=["x" * 100] * 65)
        assert 9_000 < len(token) < 12_000
        async with answering(callout_config(nats, issuer)), device(nats, token):
            pass

    assert decisions(run(body)) == ["allowed"]


@pytest.mark.parametrize("raw", [b"\xff\xfe.\xff.\xff", b"A" * 1024 * 1024], ids=["not UTF-8", "1 MB"])
def test_a_connect_line_that_is_no_text_or_endless_is_refused(nats: Nats, issuer: Issuer, raw: bytes) -> None:
    """Sent by hand, for no client library would; the service goes on for the others."""

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer)):
            answer = await by_hand(nats, b'CONNECT {"verbose":true,"auth_token":"' + raw + b'"}\r\nPING\r\n')
            assert b"-ERR" in answer or answer == b"", answer
            assert b"PONG" not in answer
            async with device(nats, issuer.token(SUBJECT)):
                pass

    assert decisions(run(body))[-1] == "allowed"


async def by_hand(nats: Nats, data: bytes) -> bytes:
    """What the server says to these bytes until it hangs up."""
    context = ssl.create_default_context(cadata=nats.tls.ca)
    reader, writer = await asyncio.open_connection("127.0.0.1", nats.port)
    await reader.readline()
    await writer.start_tls(context, server_hostname="localhost")
    try:
        writer.write(data)
        async with asyncio.timeout(30):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def test_a_storm_of_unknown_keys_is_one_fetch(nats: Nats, issuer: Issuer) -> None:
    """And a key that is rotated in is found without a restart."""

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer)):
            at_start = issuer.key_fetches
            issuer.keys = [rsa(1), rsa(2)]
            storm = [refusal(nats, issuer.token(SUBJECT, signer=rsa(9), jti=str(number))) for number in range(30)]
            refused = await asyncio.gather(*storm)
            for number in range(5):
                refused.append(await refusal(nats, issuer.token(SUBJECT, signer=rsa(9), jti=f"later {number}")))
            async with device(nats, issuer.token(SUBJECT, signer=rsa(2))):
                pass
            assert all(isinstance(error, NotPermitted) for error in refused)
            assert issuer.key_fetches == at_start + 1

    assert decisions(run(body)).count("unknown_key") == 35


def test_a_withdrawn_key_stops_working(nats: Nats, issuer: Issuer) -> None:
    """Also for a token that was verified before, and is remembered."""

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer)):
            old = issuer.token(SUBJECT)
            async with device(nats, old):
                pass
            issuer.keys = [rsa(2)]
            # The next fetch, here because of the new key; else by the timer.
            async with device(nats, issuer.token(SUBJECT)):
                pass
            assert isinstance(await refusal(nats, old), NotPermitted)

    assert decisions(run(body)) == ["allowed", "allowed", "unknown_key"]


def test_a_hanging_issuer_delays_only_who_needs_it(nats: Nats, issuer: Issuer) -> None:
    """Known keys decide at once; an unknown one gets its answer before the server gives up."""

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer)):  # it gives up after 1.5 s, the server after 3
            issuer.go_on.clear()
            waiting = asyncio.create_task(refusal(nats, issuer.token(SUBJECT, signer=rsa(9))))
            await eventually(lambda: len(issuer.asked) and issuer.asked.total() > 2, "the issuer was asked")
            async with device(nats, issuer.token(SUBJECT)):
                assert not waiting.done()
            assert isinstance(await waiting, NotPermitted)
            issuer.go_on.set()

    assert decisions(run(body)) == ["allowed", "keys_unavailable"]
