"""The header block of a NATS message, parsed so that no byte of it can end or mislead a reader.

A device writes header blocks, and a stream keeps them as they are. nats-py 2.16 takes the first line of such a block
for a word of the server: a stored `NATS/1.0 503` ends a read, and a stored `NATS/1.0 100 Idle` with a
`Nats-Consumer-Stalled` makes the client publish to a subject that the device chose. Bytes that are no UTF-8 end its
read loop. The form of the block is that of NATS ADR-4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec
from nats.js.kv import KV_DEL, KV_OP, KV_PURGE

from fleet.contract.parsing import NOT_JSON

STATUS = "Status"
DESCRIPTION = "Description"
_VERSION = b"NATS/1.0"
FROM_STREAM = "Nats-Stream"
"""The server adds it behind the headers of a message that it took out of a stream (NATS ADR-31)."""
_REQUESTER = b"Nats-Request-Info: "
"""The server puts it into what one account asks of another, and takes out what a client calls so."""
_DELIVERED = b"$JS.ACK."
"""How the reply subject of a message begins that a consumer delivers."""
_READ = 8 * 1024
"""Bytes of the end of a block that are read: a device may send 64 KiB of short lines, which take 10 ms."""


class Delivery(NamedTuple):
    """A received message. `size` is its bytes with subject and headers; `data` is None for one that deletes a key."""

    subject: bytes
    reply: bytes
    data: bytes | None
    size: int
    headers: bytes = b""


SERVER_ITSELF = "Account"
"""The kind of a requester that is no client, but the server on behalf of an account."""


class Requester(msgspec.Struct, frozen=True):
    """Who asks from another account, as far as that account shares it: a user, and a kind of nats-server's."""

    user: str = ""
    kind: str = ""


def text(raw: bytes) -> str:
    """The bytes as text; those that are no UTF-8 become escapes, which no valid name contains."""
    return raw.decode("utf-8", "backslashreplace")


def parse_headers(block: bytes, reply: bytes) -> dict[str, str]:
    """The headers by name, and the server's status as `Status` and `Description`.

    The last header of a name counts: what the server adds stands behind what a sender wrote. So in a block that is very
    long only the last lines are read. A status counts only when the server wrote it, so never in a message that came
    out of a stream.

    Args:
        block: The header block, from `NATS/1.0` to the empty line.
        reply: The message's reply subject.
    """
    first, _, rest = block.partition(b"\r\n")
    if len(rest) > _READ:
        rest = rest[-_READ:].partition(b"\r\n")[2]
    headers: dict[str, str] = {}
    for line in rest.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and name and not any(byte in b" \t" for byte in name):
            headers[text(name)] = text(value).strip()
    headers.pop(STATUS, None)
    headers.pop(DESCRIPTION, None)
    if FROM_STREAM in headers or reply.startswith(_DELIVERED):
        return headers
    status, _, description = first.removeprefix(_VERSION).strip().partition(b" ")
    if status.isdigit():
        headers[STATUS] = text(status)
        if description:
            headers[DESCRIPTION] = text(description).strip()
    return headers


def deletes(headers: Mapping[str, str] | None) -> bool:
    """Whether a message takes a key out of its bucket (NATS ADR-8)."""
    return headers is not None and headers.get(KV_OP) in {KV_DEL, KV_PURGE}


def requester(block: bytes) -> Requester:
    """Who asks, by the header that the server adds behind what the sender wrote; nobody where it added none.

    It may stand in the middle of a line, for the server takes the end of a sender's block for the end of a line. No
    text that a sender puts in front of it makes one JSON value with it.
    """
    if _REQUESTER not in block:
        return Requester()
    last = block.rstrip(b"\r\n").rpartition(b"\r\n")[2]
    for told in _behind_each(last, _REQUESTER):
        try:
            return msgspec.json.decode(told, type=Requester)
        except NOT_JSON:
            continue
    return Requester()


def _behind_each(line: bytes, word: bytes) -> Iterator[bytes]:
    at = line.find(word)
    while at >= 0:
        yield line[at + len(word) :]
        at = line.find(word, at + 1)
