"""What the parts of a server have in use, as they say: servers of NATS, callouts, and connected clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import TypeVar

import msgspec

from fleet.artifacts.trusted import is_list, number_of
from fleet.contract.buckets import (
    APP_ACCOUNT,
    APP_USER,
    CONTROL_ACCOUNT,
    CONTROL_USER,
    DEVICE_INFO,
    KEY_ORDER,
    RELEASE_KEYS,
    STORE_ACCOUNT,
    SYSTEM_ACCOUNT,
    SYSTEM_USER,
    TRUST_BUNDLE,
    TRUST_KEY,
)
from fleet.contract.certificates import certificate_ids
from fleet.contract.errors import InvalidInput, NotPermitted, Unreachable
from fleet.contract.objects import ServerInfo
from fleet.contract.release_keys import HeldKeys
from fleet.contract.versions import CALLOUT_KEYS_SUBJECT, CalloutKeys, deciding, key_of_page, user_of
from fleet.contract.wire import DeviceInfo, decode
from fleet.install.damaged import checked
from fleet.install.secrets import APP_PASSWORD, CONTROL_PASSWORD, SYSTEM_PASSWORD
from fleet.nats.bus import BadEntry, Bus, Entry, Login, connect
from fleet.secrets.store import SecretStore
from fleet.topology.capabilities import Json

_NAME = "fleet-secrets"
"""Of our own connections, which do not count."""
DEVICE = "device "
"""Begins the words for a device among those who honour a secret."""
_ATTEMPTS = 2
_LINGER = 0.1
"""Seconds for callouts that nobody has counted on."""
_ACCOUNTS = (STORE_ACCOUNT, CONTROL_ACCOUNT, SYSTEM_ACCOUNT)
_NO_ACCOUNT = "$G"
"""Where NATS has connections until it knows who they are; nobody of ours stays there."""
T = TypeVar("T", bound=msgspec.Struct)


class Standing(Enum):
    """Which secrets a part of the bundled identity provider uses, read from its Deployment or StatefulSet."""

    OUTDATED = "its files were not made from the secrets in the store"
    STARTING = "it has the files of the secrets in the store, and is not ready yet"
    CURRENT = "it has the files of the secrets in the store, and is ready"


class InUse(msgspec.Struct, frozen=True):
    """What is in use.

    Attributes:
        servers: The tags of each server of NATS, by its name; see `fleet.contract.versions`.
        callouts: The keys of each callout, by its name.
        users: The static users that are connected, by the name of the connection.
        silent: Who has not answered, in words.
        devices: How many sessions devices have.
        undecided: The connections whose login NATS has not decided yet, by their server and number.
        trusting: The ids of the certificates that the operator and devices trust, by who that is in words; only where
            devices were asked about.
        authorities: Which certificates are those of our authority's keys: the keys' ids by the certificates'.
        renewing: The devices that were ordered another machine key and do not use it alone yet; only where devices were
            asked about.
        foreign: The ids of the certificates that are not of our authority, but the identity provider's.
        release_keys: Which list of release keys each device has, None where it does not say; only where devices were
            asked about.
        offered: The numbers of the lists that the server keeps for devices.
        pages: The digests of the keys that the web page's connections name.
        has_page: Whether the server serves the web page.
        provider: How each part of a bundled identity provider stands; empty where the server brings none.
    """

    servers: Mapping[str, frozenset[str]]
    callouts: Mapping[str, CalloutKeys]
    users: Mapping[str, str]
    silent: tuple[str, ...] = ()
    devices: int = 0
    undecided: frozenset[str] = frozenset()
    trusting: Mapping[str, frozenset[str]] = {}
    authorities: Mapping[str, str] = {}
    foreign: frozenset[str] = frozenset()
    renewing: tuple[str, ...] = ()
    release_keys: Mapping[str, HeldKeys | None] = {}
    offered: tuple[int, ...] = ()
    pages: frozenset[str] = frozenset()
    has_page: bool = False
    provider: Mapping[str, Standing] = {}


class _Server(msgspec.Struct, frozen=True):
    name: str
    id: str


class _Variables(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] = ()


class _Varz(msgspec.Struct, frozen=True):
    server: _Server
    data: _Variables = _Variables()


class _Connection(msgspec.Struct, frozen=True):
    cid: int
    name: str = ""
    authorized_user: str = ""


class _Connections(msgspec.Struct, frozen=True):
    connections: tuple[_Connection, ...] = ()
    total: int = 0


class Connz(msgspec.Struct, frozen=True):
    """An answer of `$SYS.REQ.SERVER.PING.CONNZ`, as far as it is read."""

    server: _Server
    data: _Connections = _Connections()


async def look(
    server: ServerInfo, store: SecretStore, *, nats: int, callouts: int, enrolled: Sequence[str] | None = None
) -> InUse:
    """Ask everybody. `nats` and `callouts` are how many of each there must be; `enrolled` devices are asked about.

    Raises:
        InvalidInput: an answer does not parse.
    """
    try:
        system = await login(server, store, SYSTEM_PASSWORD, SYSTEM_USER)
    except (Unreachable, NotPermitted) as error:
        return InUse({}, {}, {}, (f"NATS: {error.what}",))
    try:
        in_use = await _ask(server, store, system, nats=nats, callouts=callouts)
        if enrolled is None:
            return in_use
        return await _devices(server, store, enrolled, in_use)
    except Unreachable as error:
        return InUse({}, {}, {}, (f"NATS: {error.what}",))
    finally:
        await system.close()


async def _ask(server: ServerInfo, store: SecretStore, system: Bus, *, nats: int, callouts: int) -> InUse:
    questions = [msgspec.json.encode({"acc": account, "auth": True}) for account in _ACCOUNTS]
    counting = msgspec.json.encode({"acc": APP_ACCOUNT, "limit": 1})
    keys = await _keys(server, store, callouts)
    arriving = msgspec.json.encode({"acc": _NO_ACCOUNT})
    pages, counted, arrived, *listed = await asyncio.gather(
        system.ask_all("$SYS.REQ.SERVER.PING.VARZ", b"", expected=nats),
        *(
            system.ask_all("$SYS.REQ.SERVER.PING.CONNZ", question, expected=nats)
            for question in (counting, arriving, *questions)
        ),
    )
    variables = parsed(pages, _Varz)
    silent = [] if len(variables) >= nats else [f"NATS: {len(variables)} of {nats} servers answer"]
    connected = [
        (answer.server.id, connection)
        for answers in listed
        for answer in parsed(answers, Connz)
        for connection in answer.data.connections
        if connection.name != _NAME
    ]
    users = {
        f"{connection.name or 'a client'} ({asked[:6]}/{connection.cid})": connection.authorized_user
        for asked, connection in connected
    }
    if (ready := deciding(keys)) < callouts:
        silent.append(f"callouts: {ready} of {callouts} answer")
    return InUse(
        {answer.server.name: frozenset(answer.data.tags) for answer in variables},
        {f"callout {key.instance}": key for key in keys},
        users,
        tuple(silent),
        sum(answer.data.total for answer in parsed(counted, Connz)),
        frozenset(
            f"{answer.server.id}/{connection.cid}"
            for answer in parsed(arrived, Connz)
            for connection in answer.data.connections
        ),
        pages=frozenset(key_of_page(connection.name) for _, connection in connected) - {""},
    )


async def _keys(server: ServerInfo, store: SecretStore, callouts: int) -> list[CalloutKeys]:
    """Also of callouts that are about to end, and whose keys may be older."""
    try:
        control = await login(server, store, CONTROL_PASSWORD, CONTROL_USER)
    except (Unreachable, NotPermitted):
        return []
    try:
        return parsed(await control.ask_all(CALLOUT_KEYS_SUBJECT, b"", expected=callouts, linger=_LINGER), CalloutKeys)
    finally:
        await control.close()


async def _devices(server: ServerInfo, store: SecretStore, enrolled: Sequence[str], in_use: InUse) -> InUse:
    """What is in use, and who trusts what, and which devices have an order for another machine key.

    The operator trusts what it tells devices to trust; each device says what it trusts.
    """
    app = await login(server, store, APP_PASSWORD, APP_USER)
    try:
        bundle = await app.kv(TRUST_BUNDLE).get(TRUST_KEY)
        infos = {entry.key: entry for entry in await app.kv(DEVICE_INFO).read_all()}
        orders = {entry.key for entry in await app.kv(KEY_ORDER).read_all()}
        offered = await app.kv(RELEASE_KEYS).get(TRUST_KEY)
    finally:
        await app.close()
    ids = certificate_ids(bundle.value.certificates) if isinstance(bundle, Entry) else ()
    trusting = {"operator": frozenset(ids), **dict(_device(name, infos.get(name)) for name in enrolled)}
    lists = offered.value.lists if isinstance(offered, Entry) else ()
    return msgspec.structs.replace(
        in_use,
        trusting=trusting,
        renewing=tuple(name for name in enrolled if name in orders),
        release_keys={name: _list_of(infos.get(name)) for name in enrolled},
        offered=tuple(number_of(one) for one in lists if is_list(one)),
    )


def _list_of(info: Entry[DeviceInfo] | BadEntry | None) -> HeldKeys | None:
    return info.value.release_keys if isinstance(info, Entry) else None


def _device(name: str, info: Entry[DeviceInfo] | BadEntry | None) -> tuple[str, frozenset[str]]:
    """A device in words, and what it trusts."""
    if not isinstance(info, Entry):
        return f"{DEVICE}{name} (it has never reported)", frozenset()
    if not info.value.trusts:
        agent = info.value.agent_version
        return f"{DEVICE}{name} (its agent {agent} takes no bundle: upgrade it)", frozenset()
    when = datetime.fromtimestamp(info.stored, UTC)
    return f"{DEVICE}{name} (it reported last at {when:%Y-%m-%dT%H:%M:%SZ})", frozenset(info.value.trusts)


async def login(server: ServerInfo, store: SecretStore, name: str, role: str) -> Bus:
    """Come in by the version of a role's password that is let in: while it is rotated, that may be either.

    Raises:
        NotPermitted: none is; or the server has no such secret.
        InvalidInput: it was changed by hand to something that is no password.
        Unreachable: NATS does not answer.
    """
    kept = store.versions(name)
    if kept is None:
        raise NotPermitted(f"there is no secret {name}", next_step="run `fleet server install` again")
    with checked(name):
        *others, last = (one.decode() for one in (*(one for one in kept.values if one != kept.current), kept.current))
    for value in others:
        with contextlib.suppress(NotPermitted):
            return await _connect(server, role, value)
    return await _connect(server, role, last)


async def _connect(server: ServerInfo, role: str, password: str) -> Bus:
    login = Login(server.nats_url, _NAME, server.ca, user=user_of(role, password), password=password)
    return await connect(login, notice=_unheard, attempts=_ATTEMPTS)


def trusts_of(device: Json) -> frozenset[str]:
    """The certificates that a device reported last to trust, by its `Device`."""
    return frozenset(device.get("status", {}).get("info", {}).get("trusts", ()))


def parsed(answers: Sequence[bytes], kind: type[T]) -> list[T]:
    """Answers of NATS' own services.

    Raises:
        InvalidInput: one does not parse.
    """
    try:
        return [decode(answer, kind) for answer in answers]
    except InvalidInput as error:
        raise InvalidInput(
            f"NATS answers in a way that we do not know: {error.what}", next_step="is it nats-server 2.10 or newer?"
        ) from error


def _unheard(_: str) -> None:
    pass
