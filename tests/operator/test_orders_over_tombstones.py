"""Orders over what was deleted or overtaken: nothing is swallowed, on a real nats-server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from fleet.contract.buckets import AGENT_TARGET, APP_USER, CONTROL_USER, IDENTITIES
from fleet.contract.names import AgentVersion, Digest
from fleet.contract.wire import AgentTarget
from fleet.nats.bus import KV, Bus, Entry, connect
from fleet.operator.act.keys import Keys
from fleet.operator.act.states import States
from fleet.operator.reconcile.actions import WriteTarget
from fleet.operator.store import Store
from tests.support.nats import Nats

DIGEST = Digest("sha256:" + "1" * 64)
OLD, NEW = AgentTarget(AgentVersion("v0.1.0"), DIGEST, 1), AgentTarget(AgentVersion("v0.2.0"), DIGEST, 2)


class Hands:
    """Keys on their own connections, and what they made known."""

    def __init__(self, app: Bus, control: Bus) -> None:
        self.store = Store(3)
        self.decide_again = 0
        self.targets: KV[AgentTarget] = app.kv(AGENT_TARGET)
        self.keys = Keys(app, control, States(app), self.store, self._overtaken)

    def _overtaken(self) -> None:
        self.decide_again += 1

    async def now(self, device: str) -> AgentTarget | None:
        found = await self.targets.get(device)
        return found.value if isinstance(found, Entry) else None


@asynccontextmanager
async def hands(nats: Nats) -> AsyncGenerator[Hands]:
    app = await connect(nats.login(APP_USER), notice=lambda _: None)
    control = await connect(nats.login(CONTROL_USER), notice=lambda _: None)
    try:
        await app.ensure(AGENT_TARGET)
        await control.ensure(IDENTITIES)
        yield Hands(app, control)
    finally:
        await app.close()
        await control.close()


def test_an_order_is_written_over_the_tombstone_of_an_earlier_device(nats: Nats) -> None:
    async def run() -> None:
        async with hands(nats) as ours:
            await ours.targets.put("again", OLD)
            await ours.targets.delete("again")
            await ours.keys.do(WriteTarget("again", NEW, None))
            assert await ours.now("again") == NEW
            assert ours.store.targets == {"again": NEW}

    asyncio.run(run())


@pytest.mark.parametrize("over", [None, NEW], ids=["none was known", "another was known"])
def test_an_order_that_was_overtaken_is_decided_again(nats: Nats, over: AgentTarget | None) -> None:
    async def run() -> None:
        async with hands(nats) as ours:
            await ours.targets.put("overtaken", OLD)
            await ours.keys.do(WriteTarget("overtaken", NEW, over))
            assert await ours.now("overtaken") == OLD
            assert ours.store.targets == {"overtaken": OLD}, "what is there is known"
            assert ours.decide_again == 1

    asyncio.run(run())


def test_an_order_over_what_was_heard_waits_until_it_is_stored(nats: Nats) -> None:
    """A subscription hears a write before the stream stores it, and on a busy server long before."""

    async def run() -> None:
        async with hands(nats) as ours:
            ours.store.put_target("early", OLD)
            ordered = asyncio.create_task(ours.keys.do(WriteTarget("early", NEW, OLD)))
            await asyncio.wait({ordered}, timeout=0.2)
            await ours.targets.put("early", OLD)
            await ordered
            assert await ours.now("early") == NEW
            assert ours.store.targets == {"early": NEW}, "it is not forgotten"

    asyncio.run(run())
