"""The configuration that an install writes, as the real nats-server reads it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import pytest

from fleet.contract.buckets import (
    APP_USER,
    CALLOUT_USER,
    CONTROL_USER,
    IDENTITIES,
    PUBLISHER_USER,
    SYSTEM_USER,
    WEB_USER,
)
from fleet.contract.logs import LOG_READER_USER
from fleet.install.nats import NatsPasswords, NatsServer, nats_config
from fleet.nats.bus import connect
from fleet.nats.keys import Role, new_seed, public_key
from harness.devices.hostile.raw_connection import RawConnection
from tests.support import nats as support
from tests.support.nats import Nats
from tests.support.tls import make_tls

AWKWARD = '"quoted" $HOME \\back {brace} #hash \u00e9 include x: [1]'


def test_a_password_needs_no_quoting_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    awkward = NatsPasswords(
        app=AWKWARD,
        control=AWKWARD[::-1],
        callout="$2a$" + AWKWARD,
        system="0123",
        publisher=AWKWARD + "p",
        log_reader="log " + AWKWARD,
    )
    monkeypatch.setattr(support, "PASSWORDS", awkward)
    server = Nats(tmp_path / "nats", make_tls(tmp_path))
    server.start()

    async def run() -> None:
        for user in (APP_USER, CONTROL_USER, SYSTEM_USER, PUBLISHER_USER, LOG_READER_USER):
            bus = await connect(server.login(user), notice=lambda _: None, attempts=1)
            await bus.close()

    try:
        asyncio.run(run())
    finally:
        server.stop()


def test_both_accounts_keep_streams_and_devices_get_none(nats: Nats) -> None:
    async def run() -> None:
        bus = await connect(nats.login(CONTROL_USER), notice=lambda _: None, attempts=1)
        await bus.ensure(IDENTITIES)
        await bus.close()

    asyncio.run(run())
    accounts = json.loads(nats_config(described()))["accounts"]
    assert {name for name, account in accounts.items() if account.get("jetstream")} == {"STORE", "CONTROL"}


def test_every_user_of_the_configuration_is_exempt_from_the_callout() -> None:
    """Who is not listed is delegated, even with the right password."""
    config = json.loads(nats_config(described()))
    users = {user["user"] for account in config["accounts"].values() for user in account.get("users", [])}
    assert users == set(config["authorization"]["auth_callout"]["auth_users"])
    assert users == {APP_USER, CONTROL_USER, CALLOUT_USER, SYSTEM_USER, PUBLISHER_USER, LOG_READER_USER, WEB_USER}


def test_what_waits_in_memory_for_a_device_or_from_one_is_bounded() -> None:
    """A device holds eight sessions, and writes to four streams; a pod of NATS has 1 GiB."""
    config = json.loads(nats_config(described()))
    assert 8 * config["max_pending"] + 4 * config["jetstream"]["max_buffered_size"] < 256 * 1024 * 1024
    assert config["write_deadline"] == "5s"


def test_the_monitor_answers_on_its_own_machine_alone() -> None:
    """It tells who is connected, and on which secret subjects; not every network enforces a NetworkPolicy."""
    everywhere = msgspec.structs.replace(described(), host="0.0.0.0")
    assert json.loads(nats_config(everywhere))["http"] == "127.0.0.1:8222"


def test_a_log_file_stays_short_whatever_a_client_is_refused(tmp_path: Path) -> None:
    """A client has the server write a line for each refusal, at tens of megabytes a second."""
    logs = tmp_path / "logs"
    logs.mkdir()
    server = Nats(tmp_path / "nats", make_tls(tmp_path), log_file=str(logs / "nats.log"))
    server.start()
    refused = b"SUB %s 1\r\n" % (b"x" * 1000)

    async def run() -> None:
        line = await RawConnection.open(server.url, server.tls.ca)
        try:
            login = server.login(PUBLISHER_USER)
            assert await line.log_in("", user=login.user, **{"pass": login.password})
            for _ in range(60):
                await line.say(refused * 1000)
                # The server drops a client that is behind with reading what it was refused.
                assert await line.settle()
        finally:
            line.close()

    try:
        asyncio.run(run())
    finally:
        server.stop()
    sizes = [path.stat().st_size for path in logs.iterdir()]
    assert len(sizes) == 3, "the oldest went"
    assert sum(sizes) <= 25 * 1024 * 1024


def test_without_an_xkey_there_is_none() -> None:
    callout = json.loads(nats_config(described()))["authorization"]["auth_callout"]
    assert "xkey" not in callout


def test_passwords_show_no_secret() -> None:
    assert "app-secret" not in repr(described())


def described() -> NatsServer:
    return NatsServer(
        name="nats-0",
        host="127.0.0.1",
        port=4222,
        monitor_port=8222,
        tls_cert_file="{files}/tls.crt",
        tls_key_file="{files}/tls.key",
        store_dir="{data}",
        passwords=support.PASSWORDS,
        issuer=public_key(new_seed(Role.ACCOUNT)),
        xkey="",
    )
