"""The connection itself: what is refused, what is survived, what is never said in clear."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fleet.contract.buckets import APP_USER, Bucket
from fleet.contract.errors import InvalidInput, NotPermitted, Unreachable
from fleet.contract.wire import DeviceState, Phase, Reason
from fleet.nats.bus import DISCONNECTED, RECONNECTED, BadEntry, Deleted, Entry, Login, connect
from harness.processes.ports import free_port
from tests.support.nats import Nats
from tests.support.tls import make_tls
from tests.support.waiting import eventually

STATES = Bucket("states", DeviceState)
STATE = DeviceState(generation=1, phase=Phase.RUNNING, reason=Reason.STARTED)


def refused(login: Login) -> NotPermitted | Unreachable:
    with pytest.raises((NotPermitted, Unreachable)) as error:
        asyncio.run(connect(login, notice=lambda _: None, attempts=1))
    return error.value


def test_a_wrong_password_is_not_permitted(nats: Nats) -> None:
    error = refused(msgspec.structs.replace(nats.login(APP_USER), password="wrong"))
    assert isinstance(error, NotPermitted)
    assert "wrong" not in str(error)


def test_a_login_says_no_secret(nats: Nats) -> None:
    login = nats.login(APP_USER)
    assert login.password not in repr(login)


def test_nobody_listening_is_unreachable(nats: Nats) -> None:
    error = refused(msgspec.structs.replace(nats.login(APP_USER), url=f"tls://127.0.0.1:{free_port()}"))
    assert isinstance(error, Unreachable)
    assert "127.0.0.1" in error.what


def test_a_server_of_another_ca_is_unreachable(nats: Nats, tmp_path: Path) -> None:
    error = refused(msgspec.structs.replace(nats.login(APP_USER), ca=make_tls(tmp_path).ca))
    assert isinstance(error, Unreachable)
    assert "certificate" in error.what.lower()
    assert "CA" in error.next_step


def test_a_ca_that_is_none_is_refused_before_anything_is_contacted() -> None:
    login = Login("tls://192.0.2.1:4222", "x", "no certificate")
    with pytest.raises(InvalidInput, match="PEM"):
        asyncio.run(connect(login, notice=lambda _: None))


def test_a_login_that_nobody_decides_is_unreachable(nats: Nats) -> None:
    """No callout answers: nats-py alone would call this connected."""
    error = refused(Login(nats.url, "pi-1", nats.tls.ca, token=lambda: "token"))
    assert isinstance(error, Unreachable)
    assert "did not decide" in error.what


def test_no_secret_is_sent_to_a_server_without_tls(nats: Nats) -> None:
    """Whoever sits in between may answer in clear, and must not learn the token by it."""
    received = bytearray()
    contacts: list[asyncio.StreamReader] = []

    async def impostor(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        contacts.append(reader)
        writer.write(b'INFO {"server_id":"x","version":"2.15.2","auth_required":true,"max_payload":1048576}\r\n')
        try:
            while data := await reader.read(4096):
                received.extend(data)
                writer.write(b"PONG\r\n")
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def run() -> None:
        server = await asyncio.start_server(impostor, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        login = Login(f"tls://127.0.0.1:{port}", "pi-1", nats.tls.ca, token=lambda: "the-secret-token")
        with pytest.raises(Unreachable, match="offers no TLS"):
            await connect(login, notice=lambda _: None, attempts=1)
        server.close()
        await server.wait_closed()

    asyncio.run(run())
    assert contacts, "the impostor was contacted"
    assert received == b"", "and was told nothing"


def abort_as_in_debian_12(self: Any) -> None:  # noqa: ANN401 - a private class of asyncio
    """Python 3.11.2's own, which fails for a TLS transport that is closed already."""
    self._closed = True
    self._ssl_protocol._abort()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("debian_12", [False, True])
def test_a_restart_of_the_server_is_survived(
    tmp_path: Path, how: signal.Signals, debian_12: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same connection, its subscriptions and what was stored are there again."""
    if debian_12:
        monkeypatch.setattr("asyncio.sslproto._SSLProtocolTransport.abort", abort_as_in_debian_12)
    nats = Nats(tmp_path / "nats", make_tls(tmp_path))
    nats.start()
    notices: list[str] = []
    heard: list[Entry[DeviceState] | BadEntry | Deleted] = []

    async def changed(change: Entry[DeviceState] | BadEntry | Deleted) -> None:
        heard.append(change)

    async def run() -> None:
        bus = await connect(nats.login(APP_USER), notice=notices.append, attempts=1)
        await bus.ensure(STATES)
        kv = bus.kv(STATES)
        await kv.follow(">", changed)
        await kv.put("pi-1.web", STATE)
        await eventually(lambda: heard, "the write was heard")
        assert nats.process
        nats.process.send_signal(how)
        nats.process.wait()
        await eventually(lambda: not bus.connected, "the loss was noticed")
        asked_meanwhile = asyncio.create_task(kv.get("pi-1.web"))
        await asyncio.to_thread(nats.start)
        await eventually(lambda: RECONNECTED in notices, "the connection came back", within=30)
        assert isinstance(await asked_meanwhile, Entry)
        await kv.put("pi-1.web", STATE)
        await eventually(lambda: len(heard) == 2, "the subscription came back too")
        await bus.close()

    try:
        asyncio.run(run())
    finally:
        nats.stop()
    assert notices[0] in {DISCONNECTED, "unexpected EOF"}
    assert len(notices) < 20, "a repeated sentence is told once"


def test_what_waits_for_an_answer_fails_with_the_connection(tmp_path: Path) -> None:
    """Long before its own time is up; what is asked after that waits for the next connection."""
    nats = Nats(tmp_path / "nats", make_tls(tmp_path))
    nats.start()

    async def run() -> None:
        bus = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        await bus.ensure(STATES)
        kv = bus.kv(STATES)
        assert nats.process
        nats.process.send_signal(signal.SIGSTOP)
        state = Path(f"/proc/{nats.process.pid}/stat")
        await eventually(lambda: ") T" in state.read_text(), "the server stands still")
        before = bus.client.stats["out_msgs"]
        waiting = asyncio.create_task(kv.put("pi-1.web", STATE))
        await eventually(lambda: bus.client.stats["out_msgs"] > before, "it was sent")
        nats.kill()
        async with asyncio.timeout(3):
            with pytest.raises(Unreachable, match="did not answer"):
                await waiting
        asked_after = asyncio.create_task(kv.put("pi-1.web", STATE))
        await asyncio.to_thread(nats.start)
        assert await asked_after
        await bus.close()

    try:
        asyncio.run(run())
    finally:
        nats.stop()


def test_closing_ends_it_for_good(nats: Nats) -> None:
    ends: list[str] = []

    async def run() -> None:
        bus = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1, closed=ends.append)
        assert bus.connected
        await bus.close()
        assert not bus.connected

    asyncio.run(run())
    assert len(ends) == 1


def test_after_a_flush_the_server_has_the_subscription(nats: Nats) -> None:
    """What another connection publishes then is heard, every time; nats-py's own flush loses one in fifty."""

    async def run() -> None:
        writer = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        reader = await connect(nats.login(APP_USER), notice=lambda _: None, attempts=1)
        for number in range(300):
            subscription = await reader.client.subscribe(f"subject.{number}")
            await reader.client.flush()
            await writer.client.publish(f"subject.{number}", b"x")
            await subscription.next_msg(timeout=5)
            await subscription.unsubscribe()
        await reader.close()
        await writer.close()

    asyncio.run(run())


def test_a_server_that_dies_while_a_client_comes_back_meets_one_reconnect() -> None:
    """A second one beside it would take the stream from under the first, and both would be deaf until a PING is due."""
    met: list[asyncio.StreamWriter] = []

    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(writer)
        # The second time it dies after the login, at the PING by which a reconnect makes sure.
        answers = 1 if len(met) == 2 else 100
        writer.write(b'INFO {"server_id":"x","version":"2.15.2","max_payload":1048576}\r\n')
        try:
            while answers and (line := await reader.readline()):
                if line == b"PING\r\n":
                    writer.write(b"PONG\r\n")
                    answers -= 1
            if not answers:
                await reader.readline()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def run() -> None:
        listening = await asyncio.start_server(server, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        said: list[str] = []
        bus = await connect(Login(f"nats://127.0.0.1:{port}", "x", ""), notice=said.append, attempts=1)
        met[0].close()
        await eventually(lambda: RECONNECTED in said, "it came back")
        await eventually(lambda: not reconnecting(), "no reconnect is under way")
        assert len(met) == 3, "no connection beside the one that counts"
        await bus.client.flush()
        await bus.close()
        listening.close()
        await listening.wait_closed()

    asyncio.run(run())


def reconnecting() -> list[str]:
    names = (getattr(task.get_coro(), "__name__", "") for task in asyncio.all_tasks())
    return [name for name in names if name == "_attempt_reconnect"]
