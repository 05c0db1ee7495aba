"""What a rotation waits for before its next step: a login that nobody answers keeps a server of NATS from ending."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from fleet.contract.objects import ServerInfo
from fleet.install.secrets import CONTROL_PASSWORD, SYSTEM_PASSWORD
from fleet.rotation import settle as settling
from fleet.rotation.look import InUse, look
from fleet.rotation.settle import settle
from fleet.secrets.file import FileSecretStore
from tests.support.nats import PASSWORDS, Nats


def in_use(devices: int, *undecided: str, silent: tuple[str, ...] = ()) -> InUse:
    return InUse({}, {}, {}, silent, devices, frozenset(undecided))


@pytest.mark.parametrize(
    "seen",
    [
        [in_use(2)],
        [in_use(0), in_use(1), in_use(2)],
        [in_use(2, "n/7"), in_use(2, "n/7", "n/8"), in_use(2, "n/8")],
        # A callout that does not answer yet leaves logins waiting that come now: only then they are counted.
        [in_use(2, silent=("callouts: 0 of 1 answer",)), in_use(2, "n/7"), in_use(2)],
    ],
    ids=["at-once", "devices", "logins", "silent"],
)
def test_it_is_waited_for_devices_and_for_logins_that_nobody_answered(
    seen: Sequence[InUse], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "_INTERVAL", 0)
    left = list(seen)
    settle(lambda: left.pop(0), 2)
    assert left == []


def test_what_never_comes_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_WITHIN", 0)
    settle(lambda: in_use(0, "n/7"), 2)
    settle(lambda: in_use(2, silent=("NATS: away",)), 2)


def test_who_has_not_been_let_in_yet_is_seen(nats: Nats, tmp_path: Path) -> None:
    server = ServerInfo("https://id.example.org", "1", "2", nats.url, nats.tls.ca, "v0.1.0")
    store = FileSecretStore(tmp_path / "secrets")
    store.get_or_create(CONTROL_PASSWORD, PASSWORDS.control.encode)
    store.get_or_create(SYSTEM_PASSWORD, PASSWORDS.system.encode)

    async def run() -> None:
        async def undecided() -> frozenset[str]:
            return (await look(server, store, nats=1, callouts=0)).undecided

        assert not await undecided()
        found: frozenset[str] = frozenset()
        for _ in range(20):  # NATS drops whoever says nothing for 3 s, and a busy machine may need longer to look
            reader, writer = await asyncio.open_connection("127.0.0.1", nats.port)
            await reader.readline()
            found = await undecided()
            writer.close()
            if found:
                break
        (name,) = found
        assert name.partition("/")[2].isdecimal()
        while found & await undecided():  # it drops whoever has gone
            pass

    asyncio.run(run())
