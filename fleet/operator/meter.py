"""How much each device writes: a bucket of messages and one of bytes, which empty at the rates of the contract."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fleet.contract.limits import BYTE_BURST, BYTE_RATE, MESSAGE_BURST, MESSAGE_RATE, SESSION_RATE, TAKEN_RATE

TOOK = "took"
"""What a device did that had NATS send it too much."""
BUSY = "kept NATS busy"
"""What a device did that asks for subscriptions without end."""
BEGAN = "began"
"""What a device did that begins sessions without end."""

WILDCARD = "sent a wildcard"
"""What a device did that had NATS compare all requests with its own."""

TRACED = "had NATS trace it"
"""What a device did whose message nobody hears, not even its reply-to."""


class Flood(msgspec.Struct, frozen=True):
    """More than a device may write: so many messages and bytes in so many seconds since a monotonic second.

    Where it `BEGAN` too much, the messages are sessions.
    """

    device: str
    messages: int
    size: int
    since: float
    seconds: float
    did: str = "wrote"

    @property
    def deliberate(self) -> bool:
        """Whether no agent does it, not even one with a bug."""
        return self.did in {WILDCARD, TRACED}

    @property
    def message(self) -> str:
        """As a sentence for a person, with the rates that are right."""
        if self.did == TOOK:
            return (
                f"it took {self.size / 1e6:.1f} MB in {self.seconds:.1f} s; right is {TAKEN_RATE / 1e6:.2f} MB a second"
            )
        if self.did == BUSY:
            return (
                f"it kept NATS busy for {self.seconds:.0f} s with what is no message: subscriptions that it may not "
                "have, or that it ends again"
            )
        if self.did == BEGAN:
            return (
                f"it began {self.messages} sessions in {self.seconds:.0f} s; right is one in {1 / SESSION_RATE:.0f} s"
            )
        if self.did == WILDCARD:
            return "it sent a reply-to with a wildcard, which no agent does, and which takes NATS' processor"
        if self.did == TRACED:
            return "it had NATS trace a message, which no agent does, and which hides a reply-to with a wildcard"
        return (
            f"it {self.did} {self.messages} messages with {self.size / 1e6:.1f} MB in {self.seconds:.1f} s; right are "
            f"{MESSAGE_RATE} messages and {BYTE_RATE / 1e6:.2f} MB a second"
        )


class _Bucket:
    """What one device wrote since it last was below its rates for long enough to have its whole burst again."""

    __slots__ = ("at", "bytes_level", "level", "messages", "since", "size")

    def __init__(self, now: float) -> None:
        self.at = now
        self.begin(now)

    def begin(self, now: float) -> None:
        self.since = now
        self.level = self.bytes_level = 0.0
        self.messages = self.size = 0

    def add(self, size: int, now: float) -> bool:
        """Whether that was too much."""
        passed = now - self.at
        self.at = now
        self.level -= passed * MESSAGE_RATE
        self.bytes_level -= passed * BYTE_RATE
        if self.level <= 0 and self.bytes_level <= 0:
            self.begin(now)
        self.level = max(0.0, self.level) + 1
        self.bytes_level = max(0.0, self.bytes_level) + size
        self.messages += 1
        self.size += size
        return self.level > MESSAGE_BURST or self.bytes_level > BYTE_BURST


class Meter:
    """Counts, and calls `flooded` each time that a device has used up a burst."""

    def __init__(self, flooded: Callable[[Flood], None]) -> None:
        self._flooded = flooded
        self._buckets: dict[bytes, _Bucket] = {}

    def count(self, device: bytes, size: int, now: float) -> None:
        """A device wrote a message of `size` bytes at `now`, in monotonic seconds."""
        bucket = self._buckets.get(device)
        if bucket is None:
            bucket = self._buckets[device] = _Bucket(now)
        if bucket.add(size, now):
            name = device.decode("ascii", "replace")  # only a device of a valid name gets in
            self._flooded(Flood(name, bucket.messages, bucket.size, bucket.since, now - bucket.since))
            bucket.begin(now)
