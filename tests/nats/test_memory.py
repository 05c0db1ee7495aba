"""What waits in nats-server for a device that reads nothing is far below the memory of its pod."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path

from fleet.contract.buckets import (
    APP_USER,
    ARTIFACTS_STREAM,
    CONTROL_USER,
    IDENTITIES,
    PUBLISHER_USER,
    chunk_subject,
)
from fleet.contract.names import DeviceId
from fleet.contract.upgrade import CHUNK
from fleet.contract.wire import Identity, IdentityState
from fleet.install.nats import MEMORY
from fleet.nats.bus import connect
from fleet.operator.session_limit import MAX_SESSIONS
from harness.devices.hostile.raw_connection import ConnectionEnded, RawConnection, message
from harness.wait import WaitTimeout
from tests.support.callout_stand_in import callout_stand_in
from tests.support.nats import Nats
from tests.support.tls import make_tls
from tests.support.waiting import eventually

_PIECE = chunk_subject("0" * 64, 0)
_SECONDS = 2.0
"""How long it asks. The operator looks at every session once a second, and shuts it out."""
_POD = 1024
"""What the pod of NATS may have, in MiB."""


def resident(nats: Nats) -> float:
    """Memory in MiB."""
    assert nats.process
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{nats.process.pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


async def prepare(nats: Nats) -> None:
    """A registry with one device, and one piece of an agent."""
    app, control, publisher = [
        await connect(nats.login(user), notice=lambda _: None, attempts=1)
        for user in (APP_USER, CONTROL_USER, PUBLISHER_USER)
    ]
    await app.ensure_blobs()
    await control.ensure(IDENTITIES)
    await control.kv(IDENTITIES).put("sub-1", Identity(DeviceId("pi-1"), IdentityState.ACTIVE))
    await publisher.client.jetstream().publish(_PIECE, b"x" * CHUNK)
    for bus in (app, control, publisher):
        await bus.close()


async def ask(nats: Nats) -> float:
    """On as many sessions as a device may hold, ask for the piece again and again; the most memory that was used."""
    lines = [await RawConnection.open(nats.url, nats.tls.ca) for _ in range(MAX_SESSIONS)]
    get = message(f"$JS.API.DIRECT.GET.{ARTIFACTS_STREAM}.{_PIECE}".encode(), reply=b"_INBOX_pi-1.x")

    async def flood(line: RawConnection) -> None:
        with suppress(ConnectionEnded):
            while True:
                await line.say(get * 500)

    for line in lines:
        assert await line.log_in("sub-1")
        await line.say(b"SUB _INBOX_pi-1.* 1\r\n")
        assert await line.settle()
        line.hear_nothing()
    floods = asyncio.gather(*(flood(line) for line in lines))
    used: list[float] = []

    def look() -> bool:
        used.append(resident(nats))
        return floods.done()

    with suppress(WaitTimeout):
        await eventually(look, "every session was ended", within=_SECONDS, interval=0.05)
    floods.cancel()
    for line in lines:
        line.close()
    return max(used)


def test_what_a_device_asks_for_and_does_not_read_is_soon_garbage(tmp_path: Path) -> None:
    """In the time that the operator needs, it stays below what its pod may have."""
    nats = Nats(tmp_path / "nats", make_tls(tmp_path), sealed=False, memory=MEMORY)
    nats.start()

    async def run() -> float:
        await prepare(nats)
        async with callout_stand_in(nats):
            return await ask(nats)

    try:
        most = asyncio.run(run())
    finally:
        nats.kill()
    assert most < _POD
