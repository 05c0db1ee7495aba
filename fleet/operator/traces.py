"""What NATS says of a message that a client has it trace: whose message it was.

A client may say in a header that its message is to be traced and not to be delivered (NATS ADR-41). Nobody hears it
then, while NATS keeps its reply-to as if it had been sent. What NATS tells of it is compressed if that client wants it.
"""

from __future__ import annotations

import zlib

import msgspec

from fleet.contract.parsing import NOT_JSON
from fleet.nats.headers import FROM_STREAM, Delivery, parse_headers
from fleet.operator.session_limit import Session

_ENCODING = "Content-Encoding"
_COMPRESSED = {"gzip", "snappy"}
_BEGINS = b'{"server":'
_LARGEST = 1024 * 1024
"""Bytes; a message of a device has 64 KiB, and its headers are told as JSON."""
_GZIP = 31
"""The format of zlib's windows that has a header of gzip."""
_CLIENT = 0
"""The kind of a connection in nats-server that is no route."""
_CHUNK, _PLAIN, _CHECKED = 0, 1, 4
"""Types of a chunk of Snappy's framing format, and the bytes of the checksum in front of its content."""


class _Server(msgspec.Struct):
    id: str


class _Event(msgspec.Struct):
    type: str = ""
    kind: int = -1
    cid: int = 0


class _Trace(msgspec.Struct):
    server: _Server
    events: tuple[_Event, ...]


def tells_of_trace(message: Delivery) -> bool:
    """Whether a message at a device's own subject is what NATS tells of one that it traced.

    What is compressed is not unpacked: no agent compresses, and a device may write what takes seconds to unpack.
    """
    return _compressed(message) or traced(message) is not None


def traced(message: Delivery) -> Session | None:
    """The session that had NATS trace a message; None where this message says nothing of the kind.

    Only for what NATS itself wrote, where it is compressed. A device can have a stream send what it wrote itself to a
    subject of another device. The stream's name is in the headers of that.
    """
    if message.reply or not message.data:
        return None
    headers = parse_headers(message.headers, message.reply) if message.headers else {}
    encoding = headers.get(_ENCODING, "")
    if FROM_STREAM in headers or (not encoding and not message.data.startswith(_BEGINS)):
        return None
    try:
        trace = msgspec.json.decode(_unpacked(message.data, encoding), type=_Trace)
    except (*NOT_JSON, zlib.error, IndexError):
        return None
    first = trace.events[0] if trace.events else _Event()
    return Session(trace.server.id, first.cid) if first.type == "in" and first.kind == _CLIENT else None


def _compressed(message: Delivery) -> bool:
    if message.reply or not message.data or not message.headers:
        return False
    headers = parse_headers(message.headers, message.reply)
    return FROM_STREAM not in headers and headers.get(_ENCODING) in _COMPRESSED


def _unpacked(data: bytes, encoding: str) -> bytes:
    if encoding == "gzip":
        return zlib.decompressobj(_GZIP).decompress(data, _LARGEST)
    return _unframed(data) if encoding == "snappy" else data


def _unframed(data: bytes) -> bytes:
    """The content of Snappy's framing format."""
    found, at = bytearray(), 0
    while at < len(data) and len(found) < _LARGEST:
        kind, begins = data[at], at + 4
        at = begins + int.from_bytes(data[at + 1 : begins], "little")
        if kind == _CHUNK:
            found += _block(data[begins + _CHECKED : at])
        elif kind == _PLAIN:
            found += data[begins + _CHECKED : at]
    return bytes(found)


def _block(data: bytes) -> bytes:
    """The content of Snappy's raw format: literals, and copies of what came before."""
    at = next((place for place, byte in enumerate(data) if byte < 0x80), len(data)) + 1  # behind the length
    found = bytearray()
    while at < len(data) and len(found) < _LARGEST:
        tag, at = data[at], at + 1
        length, form = 1 + (tag >> 2), tag & 3
        if form == 0:
            extra = max(0, length - 60)
            if extra:
                length = 1 + int.from_bytes(data[at : at + extra], "little")
            found += data[at + extra : at + extra + length]
            at += extra + length
            continue
        if form == 1:
            length, offset = 4 + ((tag >> 2) & 7), (tag >> 5) << 8 | data[at]
            at += 1
        else:
            size = 2 if form == 2 else 4
            offset = int.from_bytes(data[at : at + size], "little")
            at += size
        if not 0 < offset <= len(found):
            raise ValueError("it copies what is not there")
        begins = len(found) - offset
        # No more than is wanted of what may be a megabyte.
        found += (found[begins : begins + length] * (length // offset + 1))[:length]
    return bytes(found)
