"""Authorization of the static users, on the real nats-server: each can do its work, and nothing else."""

from __future__ import annotations

import json

import nats.errors
import pytest
from nats.aio.msg import Msg

from fleet.contract.buckets import (
    ARTIFACTS_STREAM,
    CALLOUT_USER,
    CONTROL_USER,
    DESIRED_STATE,
    IDENTITIES,
    PUBLISHER_USER,
    SYSTEM_USER,
    chunk_subject,
)
from fleet.contract.logs import LOG_READER_USER, log_subject
from fleet.contract.names import DeviceId
from fleet.contract.wire import encode
from fleet.nats.bus import Entry, connect
from tests.contract.stage import ME, Stage
from tests.support.callout import active
from tests.support.waiting import eventually


def test_the_callout_reads_the_registry_and_writes_nothing(stage: Stage) -> None:
    async def scene() -> None:
        heard: list[str] = []
        bus = await connect(stage.nats.login(CALLOUT_USER), notice=heard.append, attempts=1)
        registry = bus.kv(IDENTITIES)
        assert {entry.key for entry in await registry.read_all()} == {"1", "2"}
        assert isinstance(await registry.get("1"), Entry), "what was written over while all were read, it reads alone"
        subject = IDENTITIES.subject("2")
        await bus.client.publish(subject, b"{}")
        await eventually(
            lambda: any(f'publish to "{subject.lower()}"' in line for line in heard), "the write was refused"
        )
        for call in ("STREAM.PURGE", "STREAM.DELETE", "STREAM.UPDATE", "CONSUMER.DURABLE.CREATE"):
            with pytest.raises(nats.errors.TimeoutError):
                await bus.client.request(f"$JS.API.{call}.{IDENTITIES.stream}", b"", timeout=0.1)
        await bus.close()

    stage.play(scene())


def test_the_operators_users_stay_in_their_accounts(stage: Stage) -> None:
    async def scene() -> None:
        control = await connect(stage.nats.login(CONTROL_USER), notice=lambda _: None, attempts=1)
        heard: list[bytes] = []

        async def hear(message: Msg) -> None:
            heard.append(message.data)

        await control.client.subscribe("$KV.>", cb=hear)
        await control.client.flush()
        await stage.operator.client.jetstream().publish(DESIRED_STATE.subject("pi-3.web"), b"{}")
        await control.kv(IDENTITIES).put("3", active("pi-3"))
        await eventually(lambda: heard, "it hears its own account")
        assert heard == [encode(active("pi-3"))], "and only that"
        await control.kv(IDENTITIES).delete("3")
        await control.close()

    stage.play(scene())


@pytest.mark.parametrize("subject", ["$SYS.>", "$SYS.SERVER.>", "$SYS.ACCOUNT.>", "$KV.>", ">"])
def test_the_system_user_hears_sessions_only(stage: Stage, subject: str) -> None:
    async def scene() -> None:
        heard: list[str] = []
        bus = await connect(stage.nats.login(SYSTEM_USER), notice=heard.append, attempts=1)
        await bus.client.subscribe(subject)
        await eventually(lambda: any("subscription" in line for line in heard), f"{subject} is refused")
        await bus.close()

    stage.play(scene())


@pytest.mark.parametrize("call", ["$SYS.REQ.SERVER.PING.ACCOUNTZ", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.APP.INFO"])
def test_the_system_user_lists_and_kicks_only(stage: Stage, call: str) -> None:
    async def scene() -> None:
        heard: list[str] = []
        bus = await connect(stage.nats.login(SYSTEM_USER), notice=heard.append, attempts=1)
        await bus.client.publish(call, b"")
        await eventually(lambda: any("publish" in line for line in heard), f"{call} is refused")
        question = json.dumps({"acc": "APP", "user": ME, "auth": True, "state": 0}).encode()
        answer = await bus.client.request("$SYS.REQ.SERVER.PING.CONNZ", question, timeout=5)
        (session,) = json.loads(answer.data)["data"]["connections"]
        assert session["authorized_user"] == ME
        await bus.close()

    stage.play(scene())


@pytest.mark.parametrize(
    "subject", [">", "$KV.>", "$JS.>", "_INBOX.>", "fleet.>", "fleet.log-ask.*", "fleet.changed.>", "$SYS.>"]
)
def test_who_reads_logs_hears_nothing_else(stage: Stage, subject: str) -> None:
    async def scene() -> None:
        heard: list[str] = []
        bus = await connect(stage.nats.login(LOG_READER_USER), notice=heard.append, attempts=1)
        await bus.client.subscribe(subject)
        await eventually(lambda: any("subscription" in line for line in heard), f"{subject} is refused")
        await bus.close()

    stage.play(scene())


@pytest.mark.parametrize(
    "subject",
    [
        DESIRED_STATE.subject(ME),
        log_subject(DeviceId(ME)),
        DESIRED_STATE.changed(ME),
        f"$JS.API.DIRECT.GET.{DESIRED_STATE.stream}.{DESIRED_STATE.subject(ME)}",
        f"$JS.API.STREAM.INFO.{DESIRED_STATE.stream}",
    ],
)
def test_who_reads_logs_asks_for_nothing_else(stage: Stage, subject: str) -> None:
    async def scene() -> None:
        heard: list[str] = []
        bus = await connect(stage.nats.login(LOG_READER_USER), notice=heard.append, attempts=1)
        await bus.client.publish(subject, b"{}")
        await eventually(lambda: any("publish" in line for line in heard), f"{subject} is refused")
        await bus.close()

    stage.play(scene())


def test_the_publisher_publishes_and_reads_no_device(stage: Stage) -> None:
    async def scene() -> None:
        heard: list[str] = []
        bus = await connect(stage.nats.login(PUBLISHER_USER), notice=heard.append, attempts=1)
        subject = chunk_subject("1" * 64, 0)
        assert await bus.blobs().put(subject, b"a piece")
        assert not await bus.blobs().put(subject, b"another"), "what was published never changes"
        assert await bus.blobs().get(subject) == b"a piece"
        assert subject in await bus.blobs().subjects("$O.>")
        await bus.blobs().remove(subject)
        assert await bus.blobs().get(subject) is None
        for call in (
            f"DIRECT.GET.{DESIRED_STATE.stream}.{DESIRED_STATE.subject(ME)}",
            f"STREAM.INFO.{DESIRED_STATE.stream}",
            f"STREAM.DELETE.{ARTIFACTS_STREAM}",
            f"STREAM.UPDATE.{ARTIFACTS_STREAM}",
            f"CONSUMER.CREATE.{ARTIFACTS_STREAM}",
        ):
            with pytest.raises(nats.errors.TimeoutError):
                await bus.client.request(f"$JS.API.{call}", b"", timeout=0.1)
        await bus.client.publish(DESIRED_STATE.subject(ME), b"{}")
        await eventually(lambda: any("desired-state" in line for line in heard), "the write was refused")
        await bus.client.subscribe("_INBOX.>")
        await eventually(lambda: any("_inbox.>" in line for line in heard), "others' answers are refused")
        await bus.close()

    stage.play(scene())
