"""The service on a real nats-server: who gets in, who does not and why, and what it survives."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog.testing

from fleet.bus import RECONNECTED, Bus, Entry, Login, connect
from fleet.callout.main import Callout
from fleet.contract.buckets import APP_BUCKETS, APP_USER, AUTH_SUBJECT, CALLOUT_USER, CONTROL_USER, DEVICE_INFO
from fleet.contract.errors import FleetError, NotPermitted, Unreachable
from fleet.contract.names import AgentVersion, DeviceId
from fleet.contract.permissions import inbox_prefix
from fleet.contract.wire import DeviceInfo
from tests.support.callout import active, answering, callout_config, identities, revoked
from tests.support.issuer import OTHER_PROJECT, PROJECT, Issuer, roles_claim, rsa
from tests.support.nats import Nats
from tests.support.tls import Tls
from tests.support.waiting import eventually

INFO = DeviceInfo(AgentVersion("v0.1.0"), "x86_64", "Debian 12", "6.1", 1, 2, "boot")
SUBJECT = "274001"


def device_login(nats: Nats, token: Callable[[], str] | str, device: str = "pi-1") -> Login:
    made = token if callable(token) else lambda: token
    return Login(nats.url, device, nats.tls.ca, token=made, inbox=inbox_prefix(DeviceId(device)))


@asynccontextmanager
async def device(nats: Nats, token: Callable[[], str] | str, name: str = "pi-1") -> AsyncGenerator[Bus]:
    bus = await connect(device_login(nats, token, name), notice=lambda _: None, attempts=1)
    try:
        yield bus
    finally:
        await bus.close()


async def refusal(nats: Nats, token: str) -> FleetError:
    with pytest.raises((NotPermitted, Unreachable)) as error:
        async with device(nats, token):
            pass
    return error.value


def decisions(logs: list[Any]) -> list[str]:
    return [line["reason"] for line in logs if line["event"] == "decision"]


def run(body: Callable[[], Coroutine[Any, Any, None]]) -> list[Any]:
    """Run it, and return what was logged."""
    with structlog.testing.capture_logs() as logs:
        asyncio.run(body())
    return logs


async def enroll(nats: Nats, **devices: str) -> None:
    async with identities(nats) as registry:
        for subject, name in devices.items():
            await registry.put(subject.removeprefix("s"), active(name))


def test_an_enrolled_device_gets_in_and_does_its_work(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        operator = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        await operator.ensure(*APP_BUCKETS)
        async with answering(callout_config(nats, issuer)), device(nats, issuer.token(SUBJECT)) as bus:
            await bus.kv(DEVICE_INFO).put("pi-1", INFO)
        assert isinstance(await operator.kv(DEVICE_INFO).get("pi-1"), Entry)
        await operator.close()

    (decision,) = [line for line in run(body) if line["event"] == "decision"]
    assert (decision["reason"], decision["device"], decision["client"]) == ("allowed", "pi-1", "pi-1")


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
        "not ASCII": ("eyJhbGciOiJSUzI1NiJ9.\u00e9\u00e9.x", "token_malformed"),
        "13 KB": (good + "A" * 13 * 1024, "token_too_long"),
        "unknown subject": (issuer.token("999"), "not_enrolled"),
        "subject of another grammar": (issuer.token("../274001"), "not_enrolled"),
        "revoked": (issuer.token("274002"), "revoked"),
        "no token": ("", "no_token"),
    }


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
    expected = [reason for _, reason in tokens.values()]
    assert dict(zip(tokens, decisions(logs), strict=False)) == dict(zip(tokens, expected, strict=True))
    assert decisions(logs)[-1] == "allowed", "a good one still gets in after them"
    text = str(logs)
    assert not [name for name, (token, _) in tokens.items() if len(token) > 20 and token in text], "no token is logged"


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
        async with asyncio.timeout(10):
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
        async with answering(callout_config(nats, issuer, answer_within=0.3)):
            issuer.go_on.clear()
            waiting = asyncio.create_task(refusal(nats, issuer.token(SUBJECT, signer=rsa(9))))
            await eventually(lambda: len(issuer.asked) and issuer.asked.total() > 2, "the issuer was asked")
            async with device(nats, issuer.token(SUBJECT)):
                assert not waiting.done()
            assert isinstance(await waiting, NotPermitted)
            issuer.go_on.set()

    assert decisions(run(body)) == ["allowed", "keys_unavailable"]


def test_revocation_and_new_devices_are_learnt_at_once(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        token = issuer.token("274003")
        async with identities(nats) as registry, answering(callout_config(nats, issuer)) as callout:
            assert isinstance(await refusal(nats, token), NotPermitted)
            known = callout.registry.identities
            await registry.put("274003", active("pi-3"))
            await eventually(lambda: "274003" in known, "the new device is known")
            async with device(nats, token, "pi-3"):
                pass
            await registry.put("274003", revoked("pi-3"))
            await eventually(lambda: known["274003"] == revoked("pi-3"), "the revocation is known")
            assert isinstance(await refusal(nats, token), NotPermitted)
            await registry.delete("274003")
            await eventually(lambda: "274003" not in known, "the deletion is known")

    assert decisions(run(body)) == ["not_enrolled", "allowed", "revoked"]


def test_bad_registry_entries_are_told_once_and_let_nobody_in(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        operator = await connect(nats.login("fleet-control"), notice=lambda _: None, attempts=1)
        js = operator.client.jetstream()
        bad = {
            "274010": b"{",
            "274011": b'{"type":"identity","device":"UPPER","state":"active"}',
            "274012": b'{"type":"identity","device":"pi-12","state":"promoted"}',
            "274013": b'{"type":"identity","device":13,"state":"active"}',
            "274014": b"x" * 1_000_000,
            "foreign.key": b'{"type":"identity","device":"pi-1","state":"active"}',
        }
        for key, value in bad.items():
            await js.publish(f"$KV.identities.{key}", value)
        async with answering(callout_config(nats, issuer)) as callout:
            await js.publish("$KV.identities.274010", b"{")
            callout.registry.regained()
            await eventually(callout.registry.fresh.is_set, "the registry was read again")
            for key in bad:
                assert isinstance(await refusal(nats, issuer.token(key)), NotPermitted)
            async with device(nats, issuer.token(SUBJECT)):
                pass
            page = await get(callout, "/metrics")
            assert "fleet_callout_bad_entries_total 6.0" in page.text
        for key in bad:
            await js.publish(f"$KV.identities.{key}", b"", headers={"KV-Operation": "DEL"})
        await operator.close()

    logs = run(body)
    skipped = [line["key"] for line in logs if line["event"] == "registry entry skipped"]
    assert sorted(skipped) == ["274010", "274011", "274012", "274013", "274014", "foreign.key"]
    assert all(len(line["why"]) <= 500 for line in logs if line["event"] == "registry entry skipped")


async def get(callout: Callout, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await http.get(f"http://127.0.0.1:{callout.health_port}{path}")


def test_health_pages_and_metrics(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer)) as callout:
            await refusal(nats, "garbage")
            async with device(nats, issuer.token(SUBJECT)):
                pass
            assert (await get(callout, "/healthz")).status_code == 200
            ready = await get(callout, "/readyz")
            assert (ready.status_code, ready.json()["ready"]) == (200, True)
            page = (await get(callout, "/metrics")).text
            assert 'fleet_callout_decisions_total{reason="allowed"} 1.0' in page
            assert 'fleet_callout_decisions_total{reason="token_malformed"} 1.0' in page
            assert "fleet_callout_decision_seconds_count 2.0" in page

    run(body)


def test_not_ready_without_keys_and_hears_no_question(nats: Nats, issuer: Issuer) -> None:
    """A replica that cannot decide stays out of the queue group, so that the others get every question."""

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        issuer.status = 500
        stop = asyncio.Event()
        blind = Callout(callout_config(nats, issuer))
        running = asyncio.create_task(blind.run(stop))
        await eventually(lambda: "keys" in blind.unready(), "it waits for keys")
        answer = await get(blind, "/readyz")
        assert (answer.status_code, answer.json()["reason"]) == (503, "the issuer's keys are not loaded")
        issuer.status = 200
        async with answering(callout_config(nats, issuer)):
            for _ in range(10):
                async with device(nats, issuer.token(SUBJECT)):
                    pass
        stop.set()
        await running

    assert decisions(run(body)) == ["allowed"] * 10


def test_a_request_in_clear_is_refused_when_a_key_is_set(tls: Tls, issuer: Issuer, tmp_path: Path) -> None:
    """A server that lost its xkey gets a bare refusal, at once, and nothing that is worth reading."""
    clear = Nats(tmp_path / "clear", tls, sealed=False)
    clear.start()

    async def body() -> None:
        await enroll(clear, s274001="pi-1")
        config = callout_config(clear, issuer, xkey_seed=clear.xkey_seed)
        started = time.monotonic()
        async with answering(config):
            assert isinstance(await refusal(clear, issuer.token(SUBJECT)), NotPermitted)
        assert time.monotonic() - started < 2, "it was answered, not left to the server's patience"
        async with answering(callout_config(clear, issuer)), device(clear, issuer.token(SUBJECT)):
            pass

    try:
        assert decisions(run(body)) == ["clear_request", "allowed"]
    finally:
        clear.stop()


def test_only_the_server_can_ask_and_only_the_callout_can_listen(nats: Nats) -> None:
    heard: list[str] = []

    async def body(user: str, *, listens: bool) -> None:
        bus = await connect(nats.login(user), notice=heard.append, attempts=1)
        await bus.client.publish(AUTH_SUBJECT, b"x", reply="_INBOX.x")
        await eventually(lambda: any("publish" in line for line in heard), f"the question of {user} was refused")
        if not listens:
            await bus.client.subscribe(AUTH_SUBJECT)
            await eventually(lambda: any("subscription" in line for line in heard), f"{user} may not listen")
        await bus.close()

    asyncio.run(body(CONTROL_USER, listens=False))
    heard.clear()
    asyncio.run(body(CALLOUT_USER, listens=True))


def test_two_replicas_share_the_questions_and_one_may_end(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        config = callout_config(nats, issuer)
        async with answering(config) as first:
            async with answering(config) as second:
                for _ in range(20):
                    async with device(nats, issuer.token(SUBJECT)):
                        pass
                shares = [await decided(replica) for replica in (first, second)]
                assert sum(shares) == 20
                assert min(shares) > 0, shares
            for _ in range(5):
                async with device(nats, issuer.token(SUBJECT)):
                    pass

    assert decisions(run(body)) == ["allowed"] * 25


async def decided(callout: Callout) -> int:
    page = (await get(callout, "/metrics")).text
    counts = [line.split()[-1] for line in page.splitlines() if line.startswith("fleet_callout_decisions_total{")]
    return int(sum(float(count) for count in counts))


def test_ending_answers_what_was_asked(nats: Nats, issuer: Issuer) -> None:
    """SIGTERM in the middle of a decision: the client gets its answer, not a time-out."""

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer, answer_within=0.5)):
            issuer.go_on.clear()
            before = issuer.asked.total()
            waiting = asyncio.create_task(refusal(nats, issuer.token(SUBJECT, signer=rsa(9))))
            await eventually(lambda: issuer.asked.total() > before, "the decision is under way")
        assert isinstance(await waiting, NotPermitted)
        issuer.go_on.set()

    assert decisions(run(body)) == ["keys_unavailable"]


def test_sixty_four_at_once_all_get_in(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, **{f"s3{number:05}": f"pi-{number}" for number in range(64)})
        async with answering(callout_config(nats, issuer)):
            logins = [device_login(nats, issuer.token(f"3{n:05}"), f"pi-{n}") for n in range(64)]
            buses = await asyncio.gather(*(connect(login, notice=print, attempts=1) for login in logins))
            await asyncio.gather(*(bus.close() for bus in buses))

    assert decisions(run(body)) == ["allowed"] * 64


def test_more_than_the_bound_is_refused_at_once(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer, max_concurrent=1, answer_within=1)):
            issuer.go_on.clear()
            before = issuer.asked.total()
            waiting = asyncio.create_task(refusal(nats, issuer.token(SUBJECT, signer=rsa(9))))
            await eventually(lambda: issuer.asked.total() > before, "one decision is under way")
            assert isinstance(await refusal(nats, issuer.token(SUBJECT)), NotPermitted)
            assert not waiting.done()
            issuer.go_on.set()
            await waiting
            async with device(nats, issuer.token(SUBJECT)):
                pass

    assert decisions(run(body)) == ["overloaded", "unknown_key", "allowed"]


def test_a_restart_of_nats_is_survived(tls: Tls, issuer: Issuer, tmp_path: Path) -> None:
    """What was revoked while the callout was away counts from the first question on."""
    own = Nats(tmp_path / "own", tls)
    own.start()

    async def body() -> None:
        await enroll(own, s274001="pi-1", s274002="pi-2")
        notices: list[str] = []
        async with answering(callout_config(own, issuer)) as callout:
            agent = await connect(device_login(own, issuer.token(SUBJECT)), notice=notices.append, attempts=1)
            own.kill()
            await eventually(lambda: callout.unready() == "not connected to NATS", "the loss is told")
            await asyncio.to_thread(own.start)
            await eventually(lambda: RECONNECTED in notices, "the device came back by itself", within=10)
            await eventually(lambda: not callout.unready(), "the callout is ready again")
            callout.registry.identities.clear()  # as if it had changed while nobody listened
            callout.registry.regained()
            async with device(own, issuer.token("274002"), "pi-2"):
                pass
            await agent.close()

    try:
        assert set(decisions(run(body))) <= {"allowed", "registry_unavailable"}
    finally:
        own.stop()


def test_a_session_ends_with_its_token_and_begins_anew_with_the_next(nats: Nats, issuer: Issuer) -> None:
    """nats-py alone would close for good; a token that cannot be had is asked for again."""
    notices: list[str] = []
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        if len(asked) == 2:
            raise Unreachable("the issuer does not answer", next_step="wait")
        return issuer.token(SUBJECT, exp=int(time.time()) + (3 if len(asked) == 1 else 600))

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer)):
            agent = await connect(device_login(nats, token), notice=notices.append, attempts=1)
            await eventually(lambda: RECONNECTED in notices, "the device came back", within=10)
            await agent.close()

    assert decisions(run(body)) == ["allowed", "allowed"]
    assert any("expired" in notice for notice in notices)
    assert any("the issuer does not answer" in notice for notice in notices)
