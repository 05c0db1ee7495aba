"""Devices' machine keys where they are: what devices say in NATS, what the provider has, and who is connected."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from fleet.contract.buckets import (
    APP_ACCOUNT,
    APP_USER,
    CONTROL_USER,
    DEVICE_HEARTBEAT,
    DEVICE_INFO,
    IDENTITIES,
    KEY_ORDER,
    SYSTEM_USER,
)
from fleet.contract.errors import NotFound
from fleet.contract.machine_keys import KeyOrder, offer_id
from fleet.contract.wire import DeviceInfo, Heartbeat, Identity, IdentityState, T, decode
from fleet.identity.zitadel import Zitadel
from fleet.install.secrets import APP_PASSWORD, CONTROL_PASSWORD, SYSTEM_PASSWORD
from fleet.nats.bus import KV, Bus, Entry
from fleet.rotation.devices.decide import Seen, Step
from fleet.rotation.ground import Installed
from fleet.rotation.look import Connz

_RENEWED_WITHIN, _INTERVAL = 10.0, 0.2
"""Seconds for a device to have another token before its sessions end, and between looks."""
_OPEN = 0
"""The numeric state of connections that are open, in a CONNZ request."""


class Reports(msgspec.Struct, frozen=True):
    """What NATS has of all devices."""

    beats: Mapping[str, Entry[Heartbeat]]
    infos: Mapping[str, Entry[DeviceInfo]]
    orders: Mapping[str, Entry[KeyOrder]]


class Ground:
    """The devices of a server, for `fleet.rotation.devices.drive`. `subjects` are their machine users, by device."""

    def __init__(
        self,
        installed: Installed,
        zitadel: Zitadel,
        subjects: Mapping[str, str],
        refuse: Callable[[str, int], object],
    ) -> None:
        """Contact nobody yet. `refuse` writes into a `Device` until when tokens were given that let in no more."""
        self._installed = installed
        self._zitadel = zitadel
        self._subjects = subjects
        self._refuse = refuse
        self._public: dict[str, str] = {}

    def look(self, devices: Sequence[str]) -> dict[str, Seen]:
        """What is in use now. The provider is asked last, so that it knows every key that a device has come in by.

        Raises:
            FleetError: NATS or the provider does not answer.
        """
        reports = self._installed.run(APP_PASSWORD, APP_USER, _reports)
        registry = self._installed.run(CONTROL_PASSWORD, CONTROL_USER, _registry)
        return {device: self._seen(device, reports, registry) for device in devices}

    def take(self, device: str, seen: Seen, step: Step) -> None:
        """Take a step that was decided on what was seen; each can be repeated.

        Raises:
            FleetError: NATS or the provider does not answer, or refuses.
        """
        user, order = self._subjects[device], seen.order
        if step is Step.ORDER:
            self._order(device, KeyOrder(seen.used))
        elif step is Step.REGISTER:
            assert order
            key = self._zitadel.register_key(user, self._public[device])
            self._order(device, KeyOrder(order.replaces, key, seen.offered))
        elif step is Step.WITHDRAW:
            assert order
            self._order(device, msgspec.structs.replace(order, withdrawn=True))
        elif step is Step.REFUSE:
            assert order
            after = self._zitadel.clock()
            self._refuse(device, after)
            self._order(device, msgspec.structs.replace(order, tokens_after=after))
        else:
            self._remove(user, seen)
            if step is Step.FINISH:
                self._end_sessions(device, seen)
            if step is not Step.REMOVE:
                self._installed.run(APP_PASSWORD, APP_USER, lambda bus: bus.kv(KEY_ORDER).delete(device))

    def _remove(self, user: str, seen: Seen) -> None:
        for key in sorted(seen.registered - {seen.used}):
            self._zitadel.remove_key(user, key)

    def _end_sessions(self, device: str, seen: Seen) -> None:
        """End them. A device that is there has another token by then, and is back at once."""
        order, deadline = seen.order, time.monotonic() + _RENEWED_WITHIN
        assert order
        while time.monotonic() < deadline:
            info = self._installed.run(APP_PASSWORD, APP_USER, lambda bus: bus.kv(DEVICE_INFO).get(device))
            tokens_after = info.value.tokens_after if isinstance(info, Entry) else None
            if tokens_after is None or tokens_after >= order.tokens_after:
                break
            time.sleep(_INTERVAL)
        self._installed.run(SYSTEM_PASSWORD, SYSTEM_USER, lambda bus: _end_sessions(bus, device))

    def _seen(self, device: str, reports: Reports, registry: Mapping[str, Identity]) -> Seen:
        beat, info, order = reports.beats.get(device), reports.infos.get(device), reports.orders.get(device)
        offered = info.value.offered_key if info else ""
        self._public[device] = offered
        heard = f"heard last at {datetime.fromtimestamp(beat.stored, UTC):%Y-%m-%dT%H:%M:%SZ}" if beat else ""
        return Seen(
            beat.value.key_id if beat else "",
            info.value.key_id if info else "",
            offer_id(offered) if offered else "",
            order.value if order else None,
            self._keys(device),
            heard,
            known.tokens_after if (known := registry.get(self._subjects[device])) else 0,
            revoked=known is not None and known.state is IdentityState.REVOKED,
        )

    def _keys(self, device: str) -> frozenset[str]:
        try:
            return frozenset(key.id for key in self._zitadel.keys(self._subjects[device]))
        except NotFound:  # it was enrolled again in the meantime
            return frozenset()

    def _order(self, device: str, order: KeyOrder) -> None:
        self._installed.run(APP_PASSWORD, APP_USER, lambda bus: bus.kv(KEY_ORDER).put(device, order))


async def _reports(bus: Bus) -> Reports:
    return Reports(
        await _entries(bus.kv(DEVICE_HEARTBEAT)),
        await _entries(bus.kv(DEVICE_INFO)),
        await _entries(bus.kv(KEY_ORDER)),
    )


async def _entries(kv: KV[T]) -> dict[str, Entry[T]]:
    return {entry.key: entry for entry in await kv.read_all() if isinstance(entry, Entry)}


async def _registry(bus: Bus) -> dict[str, Identity]:
    return {key: entry.value for key, entry in (await _entries(bus.kv(IDENTITIES))).items()}


async def _end_sessions(bus: Bus, device: str) -> None:
    question = {"acc": APP_ACCOUNT, "auth": True, "state": _OPEN, "user": device}
    answers = await bus.ask_all("$SYS.REQ.SERVER.PING.CONNZ", msgspec.json.encode(question), expected=1, linger=0.2)
    for answer in (decode(one, Connz) for one in answers):
        for connection in answer.data.connections:
            kick = msgspec.json.encode({"cid": connection.cid})
            await bus.ask_all(f"$SYS.REQ.SERVER.{answer.server.id}.KICK", kick, expected=1)
