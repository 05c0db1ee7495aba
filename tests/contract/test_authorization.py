"""Authorization, enumerated on the real nats-server: a device can do exactly what it should.

Every forbidden operation must be refused, and must change nothing: neither what is stored for others, nor how the
streams are made, nor which consumers there are.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import nats.errors
import pytest
from nats.aio.msg import Msg

from fleet.contract.buckets import (
    AGENT_LEASE,
    APP_BUCKETS,
    ARTIFACTS,
    ARTIFACTS_STREAM,
    DESIRED_INDEX,
    DESIRED_STATE,
    DEVICE_HEARTBEAT,
    DEVICE_STATE,
    IDENTITIES,
    Bucket,
    chunk_subject,
    manifest_subject,
)
from fleet.contract.logs import ALL_ASKS, ALL_LOGS, LOG_READER_USER, ask_subject, heard_subject, log_subject
from fleet.contract.names import DeviceId
from fleet.contract.permissions import (
    DEVICE_READS,
    DEVICE_WRITES,
    LATER_READS,
    MAX_PAYLOAD,
    MAX_SUBSCRIPTIONS,
    inbox_prefix,
)
from fleet.nats.bus import Delivery, connect
from tests.contract.stage import AGENT, DIGEST, ME, OTHER, SECRET, Stage, key
from tests.support.waiting import eventually

AnyBucket = Bucket[Any]


def named(bucket: AnyBucket) -> str:
    return bucket.name


@contextmanager
def unchanged(stage: Stage) -> Generator[None]:
    """Afterwards, what belongs to others is as it was."""
    stage.errors.clear()
    before = stage.play(stage.others())
    yield
    stage.play(stage.settled())
    assert stage.play(stage.others()) == before


@pytest.mark.parametrize("bucket", APP_BUCKETS, ids=named)
@pytest.mark.parametrize("device", [ME, OTHER])
def test_writing(stage: Stage, bucket: AnyBucket, device: str) -> None:
    subject = bucket.subject(key(bucket, device))

    async def scene() -> None:
        if device == ME and bucket in DEVICE_WRITES:
            answer = await stage.device.request(subject, b"{}", timeout=5)
            assert json.loads(answer.data)["stream"] == bucket.stream
        else:
            await stage.device.publish(subject, b"{}")
            await stage.refused(subject, "publish")

    with unchanged(stage):
        stage.play(scene())


@pytest.mark.parametrize("bucket", APP_BUCKETS, ids=named)
@pytest.mark.parametrize("device", [ME, OTHER])
def test_reading(stage: Stage, bucket: AnyBucket, device: str) -> None:
    subject = f"$JS.API.DIRECT.GET.{bucket.stream}.{bucket.subject(key(bucket, device))}"

    async def scene() -> None:
        if device == ME and bucket in (*DEVICE_READS, *LATER_READS):
            answer = await stage.device.request(subject, b"", timeout=5)
            assert (answer.headers or {})["Nats-Subject"] == bucket.subject(key(bucket, ME))
        else:
            await asked_in_vain(stage, subject, b"")

    with unchanged(stage):
        stage.play(scene())


@pytest.mark.parametrize("bucket", APP_BUCKETS, ids=named)
@pytest.mark.parametrize("device", [ME, OTHER])
def test_hearing_of_changes(stage: Stage, bucket: AnyBucket, device: str) -> None:
    subject = bucket.notify_subject(key(bucket, device))
    stage.errors.clear()

    async def scene() -> None:
        heard: list[Msg] = []

        async def hear(message: Msg) -> None:
            heard.append(message)

        subscription = await stage.device.subscribe(subject, cb=hear)
        await stage.settled()
        if device == ME and bucket in (*DEVICE_READS, *LATER_READS):
            writer = stage.device if bucket in DEVICE_WRITES else stage.operator.client
            await writer.request(bucket.subject(key(bucket, ME)), b'{"heard":true}', timeout=5)
            await eventually(lambda: heard, f"the write of {bucket.name} was heard")
            assert [message.data for message in heard] == [b""], "that it was written, not what"
        else:
            await stage.refused(subject, "subscription")
        await subscription.unsubscribe()

    stage.play(scene())


@pytest.mark.parametrize("bucket", APP_BUCKETS, ids=named)
@pytest.mark.parametrize("device", [ME, OTHER])
def test_watching(stage: Stage, bucket: AnyBucket, device: str) -> None:
    subject = bucket.subject(key(bucket, device))
    stage.errors.clear()

    async def scene() -> None:
        heard: list[bytes] = []

        async def hear(message: Msg) -> None:
            heard.append(message.data)

        subscription = await stage.device.subscribe(subject, cb=hear)
        await stage.settled()
        if device == ME and bucket in DEVICE_READS:
            writer = stage.device if bucket in DEVICE_WRITES else stage.operator.client
            await writer.publish(subject, b'{"heard":true}')
            await eventually(lambda: b'{"heard":true}' in heard, f"the write of {subject} was heard")
        else:
            await stage.refused(subject, "subscription")
        await subscription.unsubscribe()

    stage.play(scene())


async def asked_in_vain(stage: Stage, subject: str, body: bytes, verb: str = "publish") -> None:
    """The request is refused, and what comes back, if anything, is nothing of another device."""
    answers: list[bytes] = []

    async def hear(message: Msg) -> None:
        answers.append(message.data)

    inbox = stage.device.new_inbox()
    subscription = await stage.device.subscribe(inbox, cb=hear)
    await stage.device.publish(subject, body, reply=inbox)
    await stage.refused(subject, verb)
    await stage.settled()
    await subscription.unsubscribe()
    assert answers == []


STREAM = DESIRED_STATE.stream
THEIRS = DESIRED_STATE.subject(key(DESIRED_STATE, OTHER))
PUSH = {"stream_name": STREAM, "config": {"deliver_subject": "_INBOX_pi-1.x", "ack_policy": "none"}}
NAMED = {**PUSH, "config": {**PUSH["config"], "name": "w", "filter_subject": THEIRS}}  # pyright: ignore
MINE = DESIRED_STATE.subject(f"{ME}.>")

API: list[tuple[str, object]] = [
    (f"DIRECT.GET.{STREAM}", {"last_by_subj": THEIRS}),
    (f"DIRECT.GET.{STREAM}", {"multi_last": ["$KV.desired-state.>"], "batch": 10}),
    (f"DIRECT.GET.{STREAM}", {"seq": 1}),
    (f"DIRECT.GET.{STREAM}", {"next_by_subj": ">", "seq": 1}),
    (f"DIRECT.GET.{STREAM}.>", None),
    (f"DIRECT.GET.{STREAM}.*", None),
    (f"DIRECT.GET.{STREAM}.$KV.desired-state.>", None),
    (f"DIRECT.GET.{STREAM}.$KV.desired-state.*", None),
    (f"STREAM.MSG.GET.{STREAM}", {"last_by_subj": THEIRS}),
    (f"STREAM.MSG.DELETE.{STREAM}", {"seq": 1}),
    (f"STREAM.INFO.{STREAM}", {"subjects_filter": ">"}),
    (f"STREAM.PURGE.{STREAM}", {"filter": THEIRS}),
    (f"STREAM.DELETE.{STREAM}", None),
    (f"STREAM.UPDATE.{STREAM}", {"name": STREAM, "subjects": ["x"]}),
    ("STREAM.CREATE.EVIL", {"name": "EVIL", "subjects": ["$KV.>"]}),
    (f"STREAM.SNAPSHOT.{STREAM}", {"deliver_subject": "_INBOX_pi-1.x"}),
    (f"STREAM.RESTORE.{STREAM}", {"config": {"name": STREAM}}),
    ("STREAM.NAMES", None),
    ("STREAM.LIST", None),
    (f"CONSUMER.CREATE.{STREAM}", PUSH),
    (f"CONSUMER.CREATE.{STREAM}.w", NAMED),
    (f"CONSUMER.CREATE.{STREAM}.w.{THEIRS}", NAMED),
    (f"CONSUMER.CREATE.{STREAM}.w.{MINE}", {"stream_name": STREAM, "config": {"name": "w", "deliver_subject": THEIRS}}),
    (f"CONSUMER.DURABLE.CREATE.{STREAM}.w", NAMED),
    (f"CONSUMER.INFO.{STREAM}.w", None),
    (f"CONSUMER.NAMES.{STREAM}", None),
    *((f"{call}.{ARTIFACTS_STREAM}", None) for call in ("STREAM.INFO", "STREAM.PURGE", "STREAM.DELETE", "DIRECT.GET")),
    (f"CONSUMER.CREATE.{ARTIFACTS_STREAM}", {**PUSH, "stream_name": ARTIFACTS_STREAM}),
    (f"CONSUMER.LIST.{STREAM}", None),
    (f"CONSUMER.DELETE.{STREAM}.w", None),
    (f"CONSUMER.MSG.NEXT.{STREAM}.w", {"batch": 10}),
    ("INFO", None),
    ("META.LEADER.STEPDOWN", None),
    ("ACCOUNT.PURGE.STORE", None),
    (f"STREAM.INFO.{IDENTITIES.stream}", None),
    (f"DIRECT.GET.{IDENTITIES.stream}.{IDENTITIES.subject('2')}", None),
]


@pytest.mark.parametrize(("call", "body"), API, ids=[f"{call} {body or ''}"[:60] for call, body in API])
def test_no_call_of_the_jetstream_api(stage: Stage, call: str, body: object) -> None:
    data = json.dumps(body).encode() if body else b""
    with unchanged(stage):
        stage.play(asked_in_vain(stage, f"$JS.API.{call}", data))


@pytest.mark.parametrize("device", [ME, OTHER])
def test_sending_a_log(stage: Stage, device: str) -> None:
    """A reader hears the log of the device that it asked, and no other device can speak for that one."""
    subject = log_subject(DeviceId(device))

    async def scene() -> None:
        heard: list[Delivery] = []
        reader = await connect(stage.nats.login(LOG_READER_USER), notice=lambda _: None, attempts=1)
        await reader.listen(ALL_LOGS, heard.append)
        for reply in ("", key(DESIRED_STATE, OTHER), "_INBOX.operator"):
            await stage.device.publish(subject, b"a line", reply=reply)
        if device == ME:
            await eventually(lambda: len(heard) == 3, "the reader hears it")
            assert {bytes(one.subject) for one in heard} == {subject.encode()}
        else:
            await stage.refused(subject, "publish")
            assert not heard
        await reader.close()

    with unchanged(stage):
        stage.play(scene())


@pytest.mark.parametrize("device", [ME, OTHER])
def test_hearing_who_wants_to_read_a_log(stage: Stage, device: str) -> None:
    subject = heard_subject(DeviceId(device))
    stage.errors.clear()

    async def scene() -> None:
        heard: list[Msg] = []

        async def hear(message: Msg) -> None:
            heard.append(message)

        subscription = await stage.device.subscribe(subject, cb=hear)
        await stage.settled()
        if device == ME:
            reader = await connect(stage.nats.login(LOG_READER_USER), notice=lambda _: None, attempts=1)
            for one in (OTHER, ME):
                await reader.answer(ask_subject(DeviceId(one)), b"a question")
            await eventually(lambda: heard, "it is heard")
            assert [message.subject for message in heard] == [subject]
            await reader.close()
        else:
            await stage.refused(subject, "subscription")
        await subscription.unsubscribe()

    stage.play(scene())


@pytest.mark.parametrize(
    "subject",
    [
        ask_subject(DeviceId(ME)),
        ask_subject(DeviceId(OTHER)),
        heard_subject(DeviceId(OTHER)),
        heard_subject(DeviceId(ME)),
        f"{log_subject(DeviceId(ME))}.more",
        IDENTITIES.subject("1"),
        f"$O.{ARTIFACTS}.M.x",
        f"$O.{ARTIFACTS}.C.x",
        f"_INBOX_{OTHER}.x",
        "_INBOX.x",
        f"$JS.ACK.{STREAM}.w.1.1.1.1.0",
        f"$JS.FC.{STREAM}.w.x",
        DESIRED_INDEX.notify_subject(OTHER),
        DESIRED_INDEX.notify_subject(ME),
        DESIRED_INDEX.changed(OTHER),
        "$SYS.REQ.USER.AUTH",
        "$SYS.REQ.USER.INFO",
        "$SYS.REQ.SERVER.PING",
        "$SYS.REQ.SERVER.PING.CONNZ",
        "$SYS.REQ.SERVER.NAAA.KICK",
        "$SYS.REQ.ACCOUNT.APP.CONNZ",
        f"$KV.{DESIRED_STATE.name}",
        f"$KV.{DESIRED_STATE.name}.{ME}.web.more",
        f"$KV.{DEVICE_STATE.name}.{ME}.web.more",
        f"$KV.{DEVICE_STATE.name}.*.web",
        f"$KV.{DEVICE_HEARTBEAT.name}.{ME}.more",
        "anything",
    ],
)
def test_no_other_subject_is_published_to(stage: Stage, subject: str) -> None:
    with unchanged(stage):
        stage.play(asked_in_vain(stage, subject, b"{}"))


@pytest.mark.parametrize(
    "subject",
    [
        *(">", "*", "*.>", "$KV.>", "$KV.*.>", "$JS.>", "$JS.API.>", "$SYS.>", "$O.>", "_INBOX.>"),
        *(
            "$JS.ACK.>",
            DESIRED_STATE.notify_subject(">"),
            DESIRED_STATE.notify_subject(f"{OTHER}.*"),
            AGENT_LEASE.notify_subject("*"),
        ),
        *(ALL_LOGS, "fleet.>", log_subject(DeviceId(ME)), ask_subject(DeviceId(ME)), f"$JS.ACK.{ALL_ASKS}"),
        *(f"_INBOX_{ME}.a.b.>", f"_INBOX_{ME}.a.b.c"),
        *(f"_INBOX_{OTHER}.>", "_R_.>", f"$KV.*.{ME}", f"$KV.{DESIRED_STATE.name}.>", f"$KV.{DESIRED_STATE.name}.*"),
        *(f"$KV.{DESIRED_STATE.name}.*.web", f"$KV.{DESIRED_STATE.name}.{OTHER}.>", "$SYS.REQ.USER.AUTH"),
    ],
)
def test_no_wider_subscription(stage: Stage, subject: str) -> None:
    async def scene() -> None:
        stage.errors.clear()
        subscription = await stage.device.subscribe(subject)
        await stage.refused(subject, "subscription")
        await subscription.unsubscribe()

    stage.play(scene())


KEPT = [manifest_subject("v0.1.0"), chunk_subject(DIGEST, 0)]


@pytest.mark.parametrize("subject", KEPT)
def test_an_agent_is_read_by_every_device_and_written_by_none(stage: Stage, subject: str) -> None:
    async def scene() -> None:
        answer = await stage.device.request(f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.{subject}", b"", timeout=5)
        assert answer.data == AGENT
        for body in (b"another agent", b""):
            await asked_in_vain(stage, subject, body)

    with unchanged(stage):
        stage.play(scene())


@pytest.mark.parametrize("asked", [manifest_subject(">"), chunk_subject("*", "*"), manifest_subject("v0.1.0")])
@pytest.mark.parametrize(
    "body",
    [{"last_by_subj": THEIRS}, {"multi_last": [">"], "batch": 9}, {"seq": 1, "next_by_subj": ">"}],
    ids=json.dumps,
)
def test_a_direct_get_of_agents_reads_nothing_else(stage: Stage, asked: str, body: dict[str, object]) -> None:
    async def scene() -> None:
        answer = await stage.device.request(
            f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.{asked}", json.dumps(body).encode(), timeout=5
        )
        assert answer.data in {AGENT, b""}

    with unchanged(stage):
        stage.play(scene())


@pytest.mark.parametrize("bucket", DEVICE_WRITES, ids=named)
def test_a_rollup_does_not_wipe_the_bucket(stage: Stage, bucket: AnyBucket) -> None:
    """A write of one's own key, with the header that erases everybody's."""

    async def scene() -> None:
        for what in ("all", "sub"):
            subject = bucket.subject(key(bucket, ME))
            answer = await stage.device.request(subject, b"{}", timeout=5, headers={"Nats-Rollup": what})
            assert "rollup" in json.loads(answer.data)["error"]["description"]

    with unchanged(stage):
        stage.play(scene())


TRICKS: list[dict[str, object]] = [
    {"last_by_subj": THEIRS},
    {"multi_last": ["$KV.desired-state.>"], "batch": 10},
    {"multi_last": ["$KV.desired-state.>"]},
    {"seq": 2},
    {"seq": 1, "next_by_subj": THEIRS},
    {"seq": 1, "batch": 10, "next_by_subj": ">"},
    {"start_time": "2000-01-01T00:00:00Z", "next_by_subj": ">"},
]


@pytest.mark.parametrize("body", TRICKS, ids=json.dumps)
@pytest.mark.parametrize("own", [key(DESIRED_STATE, ME), ME, f"{ME}.*", f"{ME}.>"])
def test_a_direct_get_of_ones_own_key_reads_no_other(stage: Stage, own: str, body: dict[str, object]) -> None:
    """The subject is granted; what is asked for in the body is another device's."""
    subject = f"$JS.API.DIRECT.GET.{STREAM}.{DESIRED_STATE.subject(own)}"

    async def scene() -> list[Msg]:
        answers: list[Msg] = []

        async def hear(message: Msg) -> None:
            answers.append(message)

        inbox = stage.device.new_inbox()
        subscription = await stage.device.subscribe(inbox, cb=hear)
        await stage.device.publish(subject, json.dumps(body).encode(), reply=inbox)
        await eventually(lambda: answers or stage.errors, "the server has answered or refused")
        await stage.settled()
        await subscription.unsubscribe()
        return answers

    with unchanged(stage):
        answers = stage.play(scene())
    for answer in answers:
        assert SECRET not in answer.data
        assert OTHER not in (answer.headers or {}).get("Nats-Subject", "")


TARGETS = [
    *(bucket.subject(key(bucket, OTHER)) for bucket in APP_BUCKETS),
    DESIRED_INDEX.subject(OTHER),
    manifest_subject("v9.9.9"),
    chunk_subject(DIGEST, 1),
]


@pytest.mark.parametrize("target", TARGETS)
def test_a_reply_to_writes_nothing(stage: Stage, target: str) -> None:
    """Permissions do not look at the reply-to, and streams store what arrives: the accounts keep the two apart."""
    lease = AGENT_LEASE.subject(ME)

    async def scene() -> None:
        # The acknowledgement of one's own write, a value of one's own choice, and a refusal.
        await stage.device.publish(lease, b'{"type":"index"}', reply=target)
        await stage.device.publish(f"$JS.API.DIRECT.GET.{AGENT_LEASE.stream}.{lease}", b"", reply=target)
        await stage.device.publish(f"$JS.API.DIRECT.GET.{AGENT_LEASE.stream}.{lease}", b"{", reply=target)
        await stage.device.publish(lease, b"{}", reply=target, headers={"Nats-Rollup": "all"})

    with unchanged(stage):
        stage.play(scene())


def test_a_reply_to_does_not_reach_the_operator_or_the_registry(stage: Stage) -> None:
    async def scene() -> list[bytes]:
        heard: list[bytes] = []

        async def hear(message: Msg) -> None:
            heard.append(message.data)

        subscription = await stage.operator.client.subscribe("_INBOX.operator", cb=hear)
        await stage.operator.client.flush()
        for target in ("_INBOX.operator", IDENTITIES.subject("1"), "$SYS.REQ.USER.AUTH"):
            await stage.device.publish(AGENT_LEASE.subject(ME), b"{}", reply=target)
        await stage.settled()
        await subscription.unsubscribe()
        return heard

    with unchanged(stage):
        assert stage.play(scene()) == []


def reply_tos(inbox: bytes) -> list[bytes]:
    """Where an honest device listens, spelt in every way that could be taken for it. `inbox` is a part of its own."""
    spoken = [bucket.notify_subject(key(bucket, OTHER)).encode() for bucket in DEVICE_READS]
    spoken += [
        heard_subject(DeviceId(OTHER)).encode(),
        DESIRED_INDEX.notify_subject(OTHER).encode(),
        DESIRED_STATE.notify_subject(f"{OTHER}.*").encode(),
    ]
    guessed = [inbox_prefix(DeviceId(OTHER)).encode() + end for end in (b".x", b".*.*", b".>", b".*", b"", b".x.y")]
    bent = [end.join((one, b"")) for one in spoken for end in (b".x", b".\xff\xfe", b".*", b".>", b".")]
    return [*spoken, *bent, *guessed, inbox, inbox.rpartition(b".")[0] + b".\xff", b"$JS.ACK.>", b">", b"*.*.*.*"]


def lines(subject: str, body: bytes, target: bytes) -> list[bytes]:
    """The same message with a reply-to, with a header as well, and as one whose way is to be traced there."""
    name, plain = subject.encode(), b"NATS/1.0\r\nA: \xff\r\n\r\n"
    traced = b"NATS/1.0\r\nNats-Trace-Dest: " + target + b"\r\n\r\n"
    return [
        b"PUB %b %b %d\r\n%b\r\n" % (name, target, len(body), body),
        *(
            b"HPUB %b %b %d %d\r\n%b%b\r\n" % (name, reply, len(head), len(head) + len(body), head, body)
            for head, reply in ((plain, target), (traced, b"_INBOX_pi-1.x"), (traced, target))
        ),
    ]


def test_no_reply_to_reaches_another_device(stage: Stage) -> None:
    """Where agents listen, nothing arrives that another device had the server say."""
    asked = [
        *((bucket.subject(key(bucket, ME)), b"{}") for bucket in DEVICE_WRITES),
        *(
            (f"$JS.API.DIRECT.GET.{bucket.stream}.{bucket.subject(key(bucket, ME))}", body)
            for bucket in DEVICE_READS
            for body in (b"", b"{")
        ),
        (f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.{KEPT[0]}", b""),
        (log_subject(DeviceId(ME)), b"a line"),
    ]

    async def scene() -> list[Msg]:
        heard: list[Msg] = []

        async def hear(message: Msg) -> None:
            heard.append(message)

        other = await stage.log_in(OTHER, "2")
        inbox = other.new_inbox()
        patterns = [bucket.notify_subject(key(bucket, OTHER)) for bucket in DEVICE_READS]
        for subject in (
            *patterns,
            DESIRED_INDEX.notify_subject(OTHER),
            DESIRED_STATE.notify_subject(f"{OTHER}.*"),
            heard_subject(DeviceId(OTHER)),
            f"{inbox}.*",
        ):
            await other.subscribe(subject, cb=hear)
        await other.flush()
        for target in reply_tos(inbox.rpartition(".")[0].encode() + b".guess"):
            sent = b"".join(line for subject, body in asked for line in lines(subject, body, target))
            await raw(stage, sent)
        await other.flush()
        await stage.operator.client.jetstream().publish(DESIRED_INDEX.subject(OTHER), SECRET)
        await eventually(lambda: heard, "the operator is heard")
        await other.close()
        return heard

    assert [message.subject for message in stage.play(scene())] == [DESIRED_INDEX.notify_subject(OTHER)]


def test_a_device_has_a_fixed_set_of_keys(stage: Stage) -> None:
    """Whatever it writes, and wherever: what is stored of it is one key in each bucket that it writes."""

    async def stored() -> set[str]:
        js = stage.operator.client.jetstream()
        found: set[str] = set()
        for bucket in DEVICE_WRITES:
            subjects = (await js.stream_info(bucket.stream, subjects_filter=">")).state.subjects or {}
            found |= {subject for subject in subjects if ME in subject.split(".")}
        return found

    async def scene() -> set[str]:
        for bucket in DEVICE_WRITES:
            for invented in ("", ".web", ".another", ".web.more", ".\xff"):
                await stage.device.publish(f"{bucket.subject(ME)}{invented}", b"{}")
        await stage.settled()
        return await stored()

    assert stage.play(scene()) <= {bucket.subject(ME) for bucket in DEVICE_WRITES}


async def raw(stage: Stage, sent: bytes) -> None:
    """Send bytes as the hostile device does, and wait until the server has worked on them, or has hung up."""
    client = await stage.log_in(ME, "1")
    client._transport.write(sent)  # pyright: ignore
    with contextlib.suppress(nats.errors.Error, TimeoutError):
        await client.flush(timeout=2)
    await client.close()


@pytest.mark.parametrize("data", [b"x" * 15_000, b"\xff\xfe", b""], ids=["15 KB", "bytes", "empty"])
def test_a_bad_value_of_ones_own_changes_nobody_elses(stage: Stage, data: bytes) -> None:
    async def scene() -> None:
        answer = await stage.device.request(DEVICE_STATE.subject(key(DEVICE_STATE, ME)), data, timeout=5)
        assert json.loads(answer.data)["stream"] == DEVICE_STATE.stream

    with unchanged(stage):
        stage.play(scene())


@pytest.mark.parametrize("bucket", DEVICE_WRITES, ids=named)
def test_a_large_value_of_ones_own_is_not_stored(stage: Stage, bucket: AnyBucket) -> None:
    """Or a reply to somebody else's subject would carry it there, and everybody who reads all keys would carry it."""
    asked = bucket.subject(key(bucket, ME))

    async def scene() -> None:
        answer = await stage.device.request(asked, b"x" * bucket.largest, timeout=5)
        assert json.loads(answer.data)["stream"] == bucket.stream
        answer = await stage.device.request(asked, b"x" * (bucket.largest + 1), timeout=5)
        assert "message size exceeds" in json.loads(answer.data)["error"]["description"]

    with unchanged(stage):
        stage.play(scene())


def test_a_message_beyond_a_devices_bound_ends_its_connection(stage: Stage) -> None:
    async def scene() -> None:
        device = await stage.log_in(ME, "1")
        name, size = AGENT_LEASE.subject(ME).encode(), MAX_PAYLOAD + 1
        device._transport.write(b"PUB %b %d\r\n%b\r\n" % (name, size, b"x" * size))  # pyright: ignore
        await eventually(lambda: device.is_closed, "the server has ended the connection")

    with unchanged(stage):
        stage.play(scene())


def test_a_device_has_few_subscriptions(stage: Stage) -> None:
    """Each costs the server memory; 300,000 of them cost 220 MB."""

    async def scene() -> None:
        device = await stage.log_in(ME, "1")
        for number in range(MAX_SUBSCRIPTIONS + 1):
            await device.subscribe(f"{inbox_prefix(DeviceId(ME))}.{number}")
        await eventually(lambda: device.is_closed, "the server has ended the connection")

    with unchanged(stage):
        stage.play(scene())
