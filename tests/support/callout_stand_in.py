"""A stand-in for the callout: a token is a subject, the registry decides, and it may hear of changes late.

The operator's tests need devices with sessions, and a callout that has not yet heard of a revocation; the real one,
with real tokens, has tests of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from nats.aio.msg import Msg

from fleet.callout.claims import Signer, parse_request
from fleet.callout.decide import Allow, Reason
from fleet.contract.buckets import AUTH_SUBJECT, CALLOUT_USER, CONTROL_USER, IDENTITIES
from fleet.contract.names import DeviceId
from fleet.contract.permissions import inbox_prefix
from fleet.contract.wire import Identity, IdentityState
from fleet.nats.bus import BadEntry, Bus, Deleted, Entry, Login, connect
from fleet.nats.keys import key_pair
from tests.support.nats import Nats


class CalloutStandIn:
    """Lets in whom the registry said to let in `late` seconds ago."""

    def __init__(self, nats: Nats) -> None:
        self._signer = Signer(key_pair(nats.issuer_seed))
        self._nats = nats
        self._known: dict[str, Identity] = {}
        self.late = 0.0
        self.let_in: list[str] = []
        self.refused: list[str] = []
        """Names of devices, each as often as it was answered so."""

    async def answer(self, message: Msg) -> None:
        request = parse_request(message.data)
        identity = self._known.get(request.token)
        if identity and identity.state is IdentityState.ACTIVE:
            self.let_in.append(identity.device)
            answer = self._signer.allow(request, Allow(identity.device, time.time() + 3600))
        else:
            self.refused.append(request.client_name)
            answer = self._signer.deny(request, Reason.NOT_ENROLLED)
        await message.respond(answer)

    async def heard(self, change: Entry[Identity] | BadEntry | Deleted) -> None:
        def take() -> None:
            if isinstance(change, Entry):
                self._known[change.key] = change.value
            else:
                self._known.pop(change.key, None)

        asyncio.get_running_loop().call_later(self.late, take)

    @asynccontextmanager
    async def device(self, name: str, subject: str) -> AsyncGenerator[Bus]:
        """A device's session, which comes back whenever it is ended, as long as it is let in."""
        login = Login(
            self._nats.url, name, self._nats.tls.ca, token=lambda: subject, inbox=inbox_prefix(DeviceId(name))
        )
        bus = await connect(login, notice=lambda _: None)
        try:
            yield bus
        finally:
            await bus.close()


@asynccontextmanager
async def callout_stand_in(nats: Nats) -> AsyncGenerator[CalloutStandIn]:
    """A callout that answers until the end of the block. The registry's bucket must be there."""
    stand_in = CalloutStandIn(nats)
    callout = await connect(nats.login(CALLOUT_USER), notice=lambda _: None, attempts=1)
    control = await connect(nats.login(CONTROL_USER), notice=lambda _: None, attempts=1)
    try:
        await control.kv(IDENTITIES).follow(">", stand_in.heard)
        for entry in await control.kv(IDENTITIES).read_all():
            await stand_in.heard(entry)
        await callout.client.subscribe(AUTH_SUBJECT, cb=stand_in.answer)
        await callout.client.flush()
        yield stand_in
    finally:
        await control.close()
        await callout.close()
