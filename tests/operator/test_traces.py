"""Whose message NATS traces, however it tells of it; and nothing that a device wrote itself is taken for it."""

from __future__ import annotations

import gzip
import json

import pytest

from fleet.contract.logs import log_subject
from fleet.contract.names import DeviceId
from fleet.contract.sent import SHARED_SERVICES, sent_subject
from fleet.nats.bus import Delivery
from fleet.operator.meter import TRACED, WILDCARD, Flood
from fleet.operator.sent_listener import SentListener
from fleet.operator.session_limit import Session
from fleet.operator.traces import traced

EVENT = json.dumps(
    {
        "server": {"name": "s", "id": "NABC"},
        "request": {},
        "events": [{"type": "in", "kind": 0, "cid": 47, "acc": "APP"}],
    },
    separators=(",", ":"),
).encode()
SESSION = Session("NABC", 47)
OWN = sent_subject(log_subject(DeviceId("pi-3"))).encode()
SHARED = SHARED_SERVICES[0].replace(">", "server").encode()
IDENTIFIER = b"\xff\x06\x00\x00sNaPpY"


def chunk(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + (len(content) + 4).to_bytes(3, "little") + b"sums" + content


def literal(text: bytes) -> bytes:
    """In Snappy's raw format, without its length."""
    size = len(text) - 1
    return (bytes([size << 2]) if size < 60 else b"\xf4" + size.to_bytes(2, "little")) + text


def snappy(content: bytes) -> bytes:
    return IDENTIFIER + chunk(0, b"\x80\x01" + content)


def told(data: bytes, subject: bytes = OWN, reply: bytes = b"", **headers: str) -> Delivery:
    lines = [f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items()]
    block = f"NATS/1.0\r\n{''.join(lines)}\r\n".encode() if lines else b""
    return Delivery(subject, reply, data, len(data), block)


HALF = EVENT.index(b"events")
COPIED = b'{"server":{"id":"NABCNABCNABC"},"events":[{"type":"in","kind":0,"cid":47}]}'
FIRST, REST = COPIED.split(b"NABCNABCNABC")


@pytest.mark.parametrize(
    ("data", "encoding", "session"),
    [
        (EVENT, "", SESSION),
        (EVENT, "identity", SESSION),
        (gzip.compress(EVENT, mtime=0), "gzip", SESSION),
        (snappy(literal(EVENT)), "snappy", SESSION),
        (IDENTIFIER + chunk(1, EVENT[:HALF]) + chunk(0xFE, b"") + chunk(1, EVENT[HALF:]), "snappy", SESSION),
        (snappy(literal(FIRST + b"NABC") + b"\x11\x04" + literal(REST)), "snappy", Session("NABC" * 3, 47)),
        (snappy(literal(FIRST + b"NABC") + b"\x1e\x04\x00" + literal(REST)), "snappy", Session("NABC" * 3, 47)),
        (snappy(literal(FIRST + b"NABC") + b"\x1f\x04\x00\x00\x00" + literal(REST)), "snappy", Session("NABC" * 3, 47)),
    ],
    ids=["plain", "identity", "gzip", "a literal", "two chunks", "a short copy", "a copy", "a long copy"],
)
def test_whose_message_it_was(data: bytes, encoding: str, session: Session) -> None:
    assert traced(told(data, Content_Encoding=encoding) if encoding else told(data)) == session


@pytest.mark.parametrize(
    "message",
    [
        told(b""),
        told(b'{"type":"log"}'),
        told(EVENT.replace(b'"in"', b'"eg"')),
        told(EVENT.replace(b'"kind":0', b'"kind":1')),
        told(b'{"server":{"id":"N"},"events":[]}'),
        told(EVENT, reply=b"_INBOX.x"),
        told(EVENT, Nats_Stream="KV_agent-lease"),
        told(EVENT[:-1]),
        told(EVENT, Content_Encoding="gzip"),
        told(gzip.compress(EVENT, mtime=0)[:-30], Content_Encoding="gzip"),
        told(EVENT, Content_Encoding="snappy"),
        told(snappy(b"\x01\x04"), Content_Encoding="snappy"),
        told(snappy(literal(b"ab") + b"\x01\x04"), Content_Encoding="snappy"),
        told(snappy(literal(b"ab") + b"\x02"), Content_Encoding="snappy"),
        told(IDENTIFIER + chunk(0, b"\xff" * 9), Content_Encoding="snappy"),
        told(IDENTIFIER[:-2], Content_Encoding="snappy"),
    ],
    ids=range(16),
)
def test_what_tells_of_no_message_that_is_traced(message: Delivery) -> None:
    assert traced(message) is None


class Ears:
    """In place of a reader: what is to be done later is kept."""

    def __init__(self) -> None:
        self.floods: list[Flood] = []
        self.waiting: list[object] = []
        self.owners = {SESSION: "pi-3"}
        self.listener = SentListener(self, lambda session: self.owners.get(session, ""), self.floods.append)  # pyright: ignore[reportArgumentType]

    def report(self, call: object) -> None:
        assert callable(call)
        call()

    def later(self, seconds: float, call: object) -> None:
        self.waiting.append(call)

    report_later = later

    def go_on(self) -> None:
        for call in [self.waiting.pop(0) for _ in range(len(self.waiting))]:
            self.report(call)

    def found(self) -> list[tuple[str, str]]:
        return [(flood.device, flood.did) for flood in self.floods]


def test_one_that_goes_on_is_not_reported_for_each_message() -> None:
    ears = Ears()
    for _ in range(50):
        ears.listener.sent(Delivery(OWN, b"a.*", b"", 0))
        ears.listener.sent(told(EVENT))
    assert ears.found() == [("pi-3", WILDCARD)]


def test_a_trace_is_the_doing_of_the_device_whose_subject_it_arrives_at() -> None:
    ears = Ears()
    ears.listener.sent(told(EVENT))
    assert ears.found() == [("pi-3", TRACED)]


@pytest.mark.parametrize("encoding", ["gzip", "snappy"])
def test_what_a_device_compressed_itself_is_not_unpacked(encoding: str) -> None:
    """It takes seconds to unpack, in the thread that hears all devices. No agent compresses: that is enough."""
    ears = Ears()
    ears.listener.sent(told(b"no such format", Content_Encoding=encoding))
    assert ears.found() == [("pi-3", TRACED)]


@pytest.mark.parametrize(
    "message",
    [
        told(b"x", reply=b"_INBOX.x", Content_Encoding="gzip"),
        told(b"", Content_Encoding="gzip"),
        told(b"x", Content_Encoding="gzip", Nats_Stream="KV_agent-lease"),
        told(b"x", Content_Encoding="identity"),
        told(b"x", sent_subject(SHARED.decode()).encode(), Content_Encoding="gzip"),
    ],
    ids=["a request", "nothing", "from a stream", "in clear", "where no device is named"],
)
def test_what_accuses_nobody_though_it_may_be_compressed(message: Delivery) -> None:
    ears = Ears()
    ears.listener.sent(message)
    assert ears.found() == []


def test_where_no_device_is_named_it_is_the_one_whose_session_it_was() -> None:
    ears = Ears()
    ears.listener.asked(told(EVENT, SHARED, Nats_Request_Info='{"kind":"Account"}'))
    assert ears.found() == [("pi-3", TRACED)]


def test_a_session_that_just_began_is_looked_for_again_and_not_for_ever() -> None:
    ears = Ears()
    ears.owners.clear()
    ears.listener.asked(told(EVENT, SHARED, Nats_Request_Info='{"kind":"Account"}'))
    ears.go_on()
    ears.owners[SESSION] = "pi-3"
    ears.go_on()
    assert ears.found() == [("pi-3", TRACED)]
    ears.owners.clear()
    ears.listener.asked(told(EVENT.replace(b"47", b"48"), SHARED, Nats_Request_Info='{"kind":"Account"}'))
    for _ in range(20):
        ears.go_on()
    assert not ears.waiting


@pytest.mark.parametrize("info", ["", '{"user":"pi-7","kind":"Client"}', '{"kind":"JetStream"}', '{"acc":"APP"}'])
def test_what_a_device_wrote_itself_accuses_nobody(info: str) -> None:
    """It says the number of another one's session; or a stream sends it where that device may write."""
    ears = Ears()
    ears.listener.asked(told(EVENT, SHARED, Nats_Request_Info=info))
    ears.listener.sent(told(EVENT, sent_subject(SHARED.decode()).encode()))
    ears.listener.sent(told(EVENT, Nats_Stream="KV_agent-lease"))
    assert ears.found() == []
