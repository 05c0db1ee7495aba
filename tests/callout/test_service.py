"""The service on a real nats-server: what it learns, what it tells, and what it survives."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from fleet.callout.claims import Signer
from fleet.callout.main import Callout
from fleet.callout.service import Responder
from fleet.contract.buckets import APP_BUCKETS, APP_USER, AUTH_SUBJECT, CALLOUT_USER, CONTROL_USER, DEVICE_INFO
from fleet.contract.errors import NotPermitted, Unreachable
from fleet.contract.names import AgentVersion
from fleet.contract.versions import CALLOUT_KEYS_SUBJECT, CalloutKeys
from fleet.contract.wire import DeviceInfo, decode
from fleet.nats.bus import RECONNECTED, Entry, connect
from fleet.nats.keys import Role, key_pair, new_seed, public_key
from fleet.operator.callouts import Callouts
from fleet.web.messages import PartState, Standing
from tests.support.callout import active, answering, callout_config, identities, revoked
from tests.support.issuer import Issuer, rsa
from tests.support.logins import SUBJECT, decided, decisions, device, device_login, enroll, get, refusal, run
from tests.support.nats import Nats
from tests.support.tls import Tls
from tests.support.waiting import eventually

INFO = DeviceInfo(AgentVersion("v0.1.0"), "x86_64", "Debian 12", "6.1", 1, 2, "boot")


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
        control = await connect(nats.login(CONTROL_USER), notice=lambda _: None, attempts=1)
        keyless = PartState(Standing.UNREADY, "the issuer's keys are not loaded; no device can log in anew")
        callouts = Callouts(1)
        callouts.control = control
        assert await callouts.state() == keyless
        issuer.status = 200
        async with answering(callout_config(nats, issuer)):
            for _ in range(10):
                async with device(nats, issuer.token(SUBJECT)):
                    pass
        await eventually(lambda: not blind.unready(), "it has the keys")
        assert await callouts.state() == PartState()
        stop.set()
        await running
        await control.close()

    assert decisions(run(body)) == ["allowed"] * 10


def test_a_request_in_clear_is_refused_when_a_key_is_set(tls: Tls, issuer: Issuer, tmp_path: Path) -> None:
    """A server that lost its xkey gets a bare refusal, at once, and nothing that is worth reading."""
    clear = Nats(tmp_path / "clear", tls, sealed=False)
    clear.start()

    async def body() -> None:
        await enroll(clear, s274001="pi-1")
        config = callout_config(clear, issuer, xkey_seed=clear.xkey_seed)
        async with answering(config):
            started = time.monotonic()
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


def test_ending_does_not_wait_for_a_server_that_ends_too(tls: Tls, issuer: Issuer, tmp_path: Path) -> None:
    """NATS falls silent, and then dies, while the last questions are waited for."""
    own = Nats(tmp_path / "own", tls)
    own.start()

    async def body() -> None:
        await enroll(own, s274001="pi-1")
        async with asyncio.timeout(20), answering(callout_config(own, issuer)):
            assert own.process
            own.process.send_signal(signal.SIGSTOP)
            asyncio.get_running_loop().call_later(0.3, own.kill)

    try:
        run(body)
    finally:
        own.stop()


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
            await eventually(lambda: RECONNECTED in notices, "the device came back by itself", within=30)
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
            await eventually(lambda: RECONNECTED in notices, "the device came back", within=30)
            await agent.close()

    assert decisions(run(body)) == ["allowed", "allowed"]
    assert any("expired" in notice for notice in notices)
    assert any("the issuer does not answer" in notice for notice in notices)


def test_while_seeds_are_rotated_both_are_honoured(nats: Nats, issuer: Issuer) -> None:
    """Whichever of the two the server expects; and every callout tells which it has."""
    others = {"other_issuer_seeds": (nats.issuer_seed,), "other_xkey_seeds": (nats.xkey_seed,)}
    config = callout_config(nats, issuer, issuer_seed=new_seed(Role.ACCOUNT), xkey_seed=new_seed(Role.CURVE), **others)

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(config):
            async with device(nats, issuer.token(SUBJECT)):
                pass
            control = await connect(nats.login(CONTROL_USER), notice=lambda _: None, attempts=1)
            (said,) = await control.ask_all(CALLOUT_KEYS_SUBJECT, b"", expected=1, linger=0.1)
            await control.close()
            keys = decode(said, CalloutKeys)
            assert set(keys.issuers) == {public_key(config.issuer_seed), public_key(nats.issuer_seed)}
            assert set(keys.xkeys) == {public_key(config.xkey_seed), public_key(nats.xkey_seed)}

    assert decisions(run(body)) == ["allowed"]


def test_an_old_issuer_lets_nobody_in(nats: Nats, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A callout with another seed only is refused by its own rule, and a rogue one, without that, by the server."""
    old = Signer(key_pair(new_seed(Role.ACCOUNT)))
    config = callout_config(nats, issuer, issuer_seed=new_seed(Role.ACCOUNT))

    def by_the_old(*_: object) -> Signer:
        return old

    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(config):
            assert isinstance(await refusal(nats, issuer.token(SUBJECT)), NotPermitted)
        monkeypatch.setattr(Responder, "signer_of", by_the_old)
        async with answering(config):
            assert isinstance(await refusal(nats, issuer.token(SUBJECT)), NotPermitted)

    assert decisions(run(body)) == ["unknown_signer", "allowed"]


def test_an_old_xkey_opens_nothing(nats: Nats, issuer: Issuer) -> None:
    async def body() -> None:
        await enroll(nats, s274001="pi-1")
        async with answering(callout_config(nats, issuer, xkey_seed=new_seed(Role.CURVE))):
            assert isinstance(await refusal(nats, issuer.token(SUBJECT)), NotPermitted)

    assert decisions(run(body)) == ["undecodable_request"]
