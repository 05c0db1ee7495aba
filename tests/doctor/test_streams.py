"""NATS' streams and its disk: each planted problem is found, and named with its next step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec
import pytest

from fleet.contract.buckets import APP_BUCKETS, APP_USER, ARTIFACTS_STREAM, DEVICE_STATE, IDENTITIES
from fleet.contract.errors import FleetError, NotPermitted
from fleet.contract.objects import ServerInfo
from fleet.doctor.findings import Worrying
from fleet.doctor.streams import ServerVariables, StreamInfo, check_disk, check_streams, judge_disk, judge_streams
from fleet.install.secrets import APP_PASSWORD, CONTROL_PASSWORD, SYSTEM_PASSWORD
from fleet.nats.bus import connect
from fleet.secrets.store import Kept, SecretStore
from tests.support.callout import identities
from tests.support.nats import PASSWORDS, Nats


class Store:
    """The passwords of the server, but for those that were changed; None may not be read."""

    def __init__(self, others: dict[str, str | None]) -> None:
        self._kept: dict[str, str | None] = {
            APP_PASSWORD: PASSWORDS.app,
            CONTROL_PASSWORD: PASSWORDS.control,
            SYSTEM_PASSWORD: PASSWORDS.system,
            **others,
        }

    def versions(self, name: str) -> Kept:
        value = self._kept[name]
        if value is None:
            raise NotPermitted("secrets is forbidden", next_step="ask the cluster's admin for this right")
        return Kept(value.encode())


Look = Callable[[ServerInfo, SecretStore], Awaitable[str]]


def look(nats: Nats, one: Look, others: dict[str, str | None] | None = None, *, without: str = "") -> str:
    """What is found at a server that has all streams, but for one."""
    server = ServerInfo("https://id.example.org", "1", "2", nats.url, nats.tls.ca, "v0.1.0")

    async def body() -> str:
        async with identities(nats):
            bus = await connect(nats.login(APP_USER), notice=lambda _: None)
            try:
                await bus.ensure(*APP_BUCKETS)
                await bus.ensure_blobs()
                if without:
                    await bus.client.jetstream().delete_stream(without)
            finally:
                await bus.close()
            return await one(server, cast("SecretStore", Store(others or {})))

    return asyncio.run(body())


def test_all_streams_are_there(nats: Nats) -> None:
    streams = {bucket.stream for bucket in APP_BUCKETS} | {ARTIFACTS_STREAM, IDENTITIES.stream}
    assert look(nats, check_streams) == f"{len(streams)} streams are there"


@pytest.mark.parametrize("stream", [DEVICE_STATE.stream, ARTIFACTS_STREAM])
def test_a_stream_that_is_missing(nats: Nats, stream: str) -> None:
    with pytest.raises(FleetError, match=f"the stream {stream} is missing") as missing:
        look(nats, check_streams, without=stream)
    assert "operator" in missing.value.next_step


@pytest.mark.parametrize("one", [check_streams, check_disk])
def test_who_may_read_no_password_is_told(nats: Nats, one: Look) -> None:
    with pytest.raises(Worrying, match="you may not read the passwords"):
        look(nats, one, {APP_PASSWORD: None, SYSTEM_PASSWORD: None})


@pytest.mark.parametrize("one", [check_streams, check_disk])
def test_a_password_that_nats_refuses(nats: Nats, one: Look) -> None:
    with pytest.raises(NotPermitted):
        look(nats, one, {APP_PASSWORD: "wrong", SYSTEM_PASSWORD: "wrong"})


def test_the_disk_of_a_server(nats: Nats) -> None:
    used, _, words = look(nats, check_disk).removeprefix("test uses ").partition(" of ")
    most, _, unit = words.partition(" ")
    assert int(used) < int(most)
    assert unit == "MiB"


def info(text: str) -> StreamInfo:
    return msgspec.json.decode(text, type=StreamInfo)


PLANTED_STREAMS = {
    "no leader": ('{"cluster": {"name": "c", "replicas": []}}', FleetError, "has no leader"),
    "an error": ('{"error": {"code": 503, "description": "insufficient resources"}}', FleetError, "insufficient"),
    "a copy that is behind": (
        '{"cluster": {"leader": "nats-0", "replicas": [{"name": "nats-1", "current": false, "lag": 900}]}}',
        Worrying,
        "copies that are behind: KV_a at nats-1",
    ),
    "a server that is away": (
        '{"cluster": {"leader": "nats-0", "replicas": [{"name": "nats-2", "current": true, "offline": true}]}}',
        Worrying,
        "KV_a at nats-2",
    ),
}


@pytest.mark.parametrize("name", PLANTED_STREAMS)
def test_what_is_wrong_with_a_stream_is_named(name: str) -> None:
    text, kind, words = PLANTED_STREAMS[name]
    with pytest.raises(kind, match=words) as error:
        judge_streams({"KV_good": info('{"cluster": {"leader": "nats-0"}}'), "KV_a": info(text)})
    assert error.value.next_step


def variables(used: int, most: int = 1000, *, on: bool = True) -> ServerVariables:
    stream = {"stats": {"storage": used << 20}, **({"config": {"max_storage": most << 20}} if on else {})}
    return msgspec.convert({"server": {"name": "nats-0"}, "data": {"jetstream": stream}}, ServerVariables)


@pytest.mark.parametrize(
    ("server", "kind", "words"),
    [
        (variables(960), FleetError, "nats-0 uses 960 of 1000 MiB: it takes nothing more soon"),
        (variables(850), Worrying, "nats-0 uses 850 of 1000 MiB"),
        (variables(0, on=False), FleetError, "JetStream is off there"),
    ],
    ids=["full", "nearly full", "off"],
)
def test_what_is_wrong_with_the_disk_is_named(server: ServerVariables, kind: type[FleetError], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        judge_disk([variables(1), server])
    assert error.value.next_step
    assert judge_disk([variables(1)]) == "nats-0 uses 1 of 1000 MiB"
