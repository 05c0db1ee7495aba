"""NATS' streams and their disk, with the rights of the operator's users."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fleet.contract.buckets import (
    APP_BUCKETS,
    APP_USER,
    ARTIFACTS_STREAM,
    CONTROL_USER,
    IDENTITIES,
    SYSTEM_USER,
)
from fleet.contract.errors import FleetError, NotFound, NotPermitted, Unreachable
from fleet.contract.objects import ServerInfo
from fleet.doctor.findings import Worrying
from fleet.install.secrets import APP_PASSWORD, CONTROL_PASSWORD, SYSTEM_PASSWORD
from fleet.nats.bus import Bus
from fleet.rotation.look import login, parsed
from fleet.secrets.store import SecretStore

_MIB = 2**20
_FULL, _NEARLY = 0.95, 0.8
"""The used share of NATS' limit that counts as full, and the one that is a warning."""
_NONE = 404
_LINGER = 1.0
"""Seconds to wait after an answer for that of another NATS server."""


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    description: str = ""


class _Replica(msgspec.Struct, frozen=True):
    name: str = ""
    current: bool = False
    offline: bool = False


class _Cluster(msgspec.Struct, frozen=True):
    leader: str = ""
    replicas: tuple[_Replica, ...] = ()


class StreamInfo(msgspec.Struct, frozen=True):
    """An answer of `$JS.API.STREAM.INFO` (JetStream's API), as far as it is read."""

    error: _Error | None = None
    cluster: _Cluster | None = None


class _Config(msgspec.Struct, frozen=True):
    max_storage: int = 0
    store_dir: str = ""


class _Stats(msgspec.Struct, frozen=True):
    storage: int = 0


class _JetStream(msgspec.Struct, frozen=True):
    config: _Config | None = None
    stats: _Stats = _Stats()


class _Variables(msgspec.Struct, frozen=True):
    jetstream: _JetStream = _JetStream()


class _Server(msgspec.Struct, frozen=True):
    name: str


class ServerVariables(msgspec.Struct, frozen=True):
    """An answer of `$SYS.REQ.SERVER.PING.VARZ`, as far as it is read."""

    server: _Server
    data: _Variables = _Variables()


async def check_streams(server: ServerInfo, store: SecretStore) -> str:
    """Check that each stream exists, has a leader, and has replicas that are up to date.

    Raises:
        FleetError: one is missing or has no leader, or we may not ask.
        Worrying: a replica is behind.
    """
    stored = [*dict.fromkeys(bucket.stream for bucket in APP_BUCKETS), ARTIFACTS_STREAM]
    found = {
        **await _infos(server, store, APP_PASSWORD, APP_USER, stored),
        **await _infos(server, store, CONTROL_PASSWORD, CONTROL_USER, [IDENTITIES.stream]),
    }
    return judge_streams(found)


async def check_disk(server: ServerInfo, store: SecretStore) -> str:
    """Check how much of NATS' disk limit is used.

    Raises:
        FleetError: a server of NATS is full, or keeps no streams at all, or we may not ask.
        Worrying: it is nearly full.
    """
    bus = await _entered(server, store, SYSTEM_PASSWORD, SYSTEM_USER)
    try:
        answers = await bus.ask_all("$SYS.REQ.SERVER.PING.VARZ", b"", expected=1, linger=_LINGER)
    finally:
        await bus.close()
    if not answers:
        raise Unreachable("no server of NATS tells how full it is", next_step="see the log of NATS")
    return judge_disk(parsed(answers, ServerVariables))


def judge_streams(found: dict[str, StreamInfo]) -> str:
    """Judge the answers for `check_streams`."""
    for name, info in found.items():
        if info.error is not None and info.error.code == _NONE:
            raise NotFound(
                f"the stream {name} is missing",
                next_step="the operator makes it when it starts: restart it; what was in the stream is gone",
            )
        if info.error is not None:
            raise FleetError(f"the stream {name}: {info.error.description}", next_step="see the log of NATS")
        if info.cluster is not None and not info.cluster.leader:
            raise Unreachable(
                f"the stream {name} has no leader, so it takes and gives nothing",
                next_step="most servers of NATS must be up: see `fleet server status`, and their logs",
            )
    behind = [
        f"{name} at {replica.name}"
        for name, info in found.items()
        for replica in (info.cluster.replicas if info.cluster else ())
        if replica.offline or not replica.current
    ]
    if behind:
        raise Worrying(
            f"copies that are behind: {', '.join(behind[:5])}",
            next_step="is that server of NATS up, and has it caught up? check again in a minute, then see its log",
        )
    return f"{len(found)} streams are there"


def judge_disk(servers: Sequence[ServerVariables]) -> str:
    """Judge the answers for `check_disk`."""
    sentences: list[str] = []
    nearly: list[str] = []
    for server in servers:
        stream = server.data.jetstream
        if stream.config is None:
            raise FleetError(
                f"{server.server.name} keeps no streams: JetStream is off there",
                next_step="it turns itself off where its disk is full or fails: see its log, make room, restart it",
            )
        used, most = stream.stats.storage, stream.config.max_storage
        words = f"{server.server.name} uses {used // _MIB} of {most // _MIB} MiB"
        sentences.append(words)
        if most and used >= most * _FULL:
            raise FleetError(
                f"{words}: it takes nothing more soon",
                next_step="give NATS a larger volume, or remove old agents with `fleet agent prune`",
            )
        if most and used >= most * _NEARLY:
            nearly.append(words)
    if nearly:
        raise Worrying("; ".join(nearly), next_step="give NATS a larger volume, or see `fleet agent prune`")
    return "; ".join(sentences)


async def _infos(
    server: ServerInfo, store: SecretStore, password: str, role: str, streams: Sequence[str]
) -> dict[str, StreamInfo]:
    bus = await _entered(server, store, password, role)
    try:
        return {name: await _info(bus, name) for name in streams}
    finally:
        await bus.close()


async def _entered(server: ServerInfo, store: SecretStore, password: str, role: str) -> Bus:
    try:
        store.versions(password)
    except NotPermitted as error:
        raise Worrying(
            "you may not read the passwords of the server, so this is not checked", next_step=error.next_step
        ) from error
    return await login(server, store, password, role)


async def _info(bus: Bus, stream: str) -> StreamInfo:
    answers = await bus.ask_all(f"$JS.API.STREAM.INFO.{stream}", b"", expected=1)
    if not answers:
        raise Unreachable(
            f"NATS does not answer about the stream {stream}",
            next_step="is JetStream on? see the log of NATS; most of its servers must be up",
        )
    return parsed(answers[:1], StreamInfo)[0]
