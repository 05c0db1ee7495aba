"""When certificates end, as the servers themselves show it: the real NATS, and a server of HTTPS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from fleet.install.tls import ends, new_authority, new_key
from fleet.web import certificates
from fleet.web.certificates import watch
from fleet.web.messages import Start
from fleet.web.source import KUBERNETES, NATS, PROVIDER
from fleet.web.store import Store
from fleet.web.views.due import AUTHORITY, PAGE
from tests.support.nats import Nats
from tests.support.tls import Tls, make_tls
from tests.support.waiting import eventually
from tests.support.web import web_page


async def seen(start: Start, wanted: set[str]) -> dict[str, float]:
    """What is known once as much is known as is wanted."""
    store = Store()
    task = asyncio.create_task(watch(start, store))
    try:
        await eventually(lambda: store.certificates.keys() >= wanted, f"{wanted} are known", within=30)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return store.certificates


@contextlib.asynccontextmanager
async def https(tls: Tls) -> AsyncGenerator[str]:
    """The URL of a server of HTTPS that shows its certificate, and says nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert_file, tls.key_file)
    held: set[asyncio.StreamWriter] = set()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.add(writer)

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
        for writer in held:
            writer.transport.abort()


def end_of(tls: Tls) -> float:
    return ends(tls.cert_file.read_bytes()).timestamp()


@pytest.mark.parametrize("tls_first", [False, True], ids=["after a greeting", "with TLS from the start"])
def test_each_servers_certificate_is_seen(tmp_path: Path, tls_first: bool) -> None:
    tls = make_tls(tmp_path)
    nats = Nats(tmp_path / "nats", tls, sealed=False, tls_first=tls_first)
    nats.start()
    try:
        asyncio.run(all_seen(tls, nats))
    finally:
        nats.stop()


async def all_seen(tls: Tls, nats: Nats) -> None:
    async with https(tls) as provider, https(tls) as kubernetes:
        url = nats.url.replace("tls://", "tls+first://") if nats.tls_first else nats.url
        start = Start(web_page(tls, issuer=provider), "here", url, tls.ca, kubernetes, tls.ca)
        found = await seen(start, {PAGE, AUTHORITY, NATS, PROVIDER, KUBERNETES})
    assert [found[name] for name in (PAGE, NATS, PROVIDER, KUBERNETES)] == [end_of(tls)] * 4
    assert found[AUTHORITY] == ends(tls.ca.encode()).timestamp()


def test_a_server_that_is_away_or_not_to_be_trusted_costs_none_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    tls, other = make_tls(tmp_path), make_tls(tmp_path / "other")

    async def run() -> dict[str, float]:
        async with https(other) as stranger, https(tls) as kubernetes:
            page = web_page(tls, issuer=stranger)
            return await seen(Start(page, "here", "tls://127.0.0.1:1", tls.ca, kubernetes, tls.ca), {KUBERNETES})

    found = asyncio.run(run())
    assert found.keys() == {PAGE, AUTHORITY, KUBERNETES}


def test_while_an_authority_is_rotated_the_newest_counts(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    newest = new_authority(new_key(), "fleet next").decode()

    async def run() -> dict[str, float]:
        page = web_page(tls, issuer="http://127.0.0.1:1")
        start = Start(page, "here", "tls://127.0.0.1:1", tls.ca + newest, "https://127.0.0.1:1", tls.ca)
        return await seen(start, {AUTHORITY})

    later = max(ends(one.encode()).timestamp() for one in (tls.ca, newest))
    assert asyncio.run(run())[AUTHORITY] == later


def test_what_was_not_seen_is_looked_at_again_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers late once is not unknown for an hour."""
    monkeypatch.setattr(certificates, "_AGAIN", 0.01)
    tls, asked = make_tls(tmp_path), list[str]()

    async def late(url: str, ca: str, *, greets: bool) -> float:
        asked.append(url)
        if len(asked) == 1:
            raise OSError("a greeting came first")
        return 7.0

    monkeypatch.setattr(certificates, "_peer_certificate_expiry", late)
    start = Start(web_page(tls), "here", "tls://127.0.0.1:1", tls.ca, "https://127.0.0.1:1", tls.ca)
    assert asyncio.run(seen(start, {NATS}))[NATS] == 7.0
