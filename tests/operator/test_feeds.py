"""What is heard and what is read of a bucket, in whatever order the two come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fleet.contract.buckets import AGENT_TARGET, Bucket
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.wire import AgentTarget, T
from fleet.nats.bus import BadEntry, Entry
from fleet.operator.feeds import Feed
from fleet.operator.metrics import Metrics
from fleet.operator.reader import Change
from fleet.operator.skipped_keys import SkippedKeys

TARGET = AgentTarget(AgentVersion("v0.1.0"), Digest("sha256:" + "1" * 64), 1)


class Busy:
    """A source that tells of a write, and has not stored it when it is read."""

    def __init__(self) -> None:
        self.tell: Callable[[Change[Any]], None] = lambda _: None

    async def follow(self, bucket: Bucket[T], pattern: str, heard: Callable[[Change[T]], None]) -> None:
        self.tell = heard

    async def read_all(self, bucket: Bucket[T], pattern: str) -> list[Entry[T] | BadEntry]:
        return []


def test_what_was_heard_just_before_a_read_did_not_vanish() -> None:
    known: dict[str, object] = {}

    def take(key: str, change: Change[AgentTarget]) -> bool:
        known[key] = change
        return True

    async def run() -> None:
        source, feed = Busy(), Feed(AGENT_TARGET, ">", take, SkippedKeys(Metrics()))
        await feed.follow(source, lambda: None)
        heard = Entry("pi-1", TARGET, 0, 0.0)
        source.tell(heard)
        await feed.read(source)
        assert known == {"pi-1": heard}

    asyncio.run(run())
