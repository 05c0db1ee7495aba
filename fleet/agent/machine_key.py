"""Another machine key for a device: made here, proven at the issuer, and written before it counts.

The server orders it (`KeyOrder`). Only the public half leaves the device, in its `DeviceInfo`. A key by which the
issuer gives no token is not taken, so the device always has one that works.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import msgspec
import structlog

from fleet.agent.grant import ask
from fleet.agent.locked import locked
from fleet.agent.new_key import NewKey, make
from fleet.agent.paths import AgentPaths
from fleet.agent.read_trigger import ReadTrigger
from fleet.agent.token import TokenSource
from fleet.agent.upgrade.device.files import remove
from fleet.contract.buckets import KEY_ORDER
from fleet.contract.config import AgentConfig, MachineKey, load_config, render_config
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.machine_keys import KeyOrder, offer_id
from fleet.contract.owner import Owner
from fleet.contract.parsing import NOT_JSON
from fleet.nats.bus import BadEntry, Bus
from fleet.process.backoff import Backoff
from fleet.process.durable import replace_file
from fleet.process.failures import in_words
from fleet.process.plain_file import NoPlainFileError, read_file

_log = structlog.stdlib.get_logger()
_SECRET = 0o600
_LATER = (1.5, 3.0)
"""Seconds until another token is asked for."""


class MachineKeyRotation:
    """The machine key of one device.

    `changed` takes the id of the key on the disk and the public half of one that may take its place, or nothing;
    `asked_anew` until when tokens were given that were renewed.
    """

    def __init__(
        self,
        paths: AgentPaths,
        config: AgentConfig,
        tokens: TokenSource,
        changed: Callable[[str, str], None],
        asked_anew: Callable[[int], None],
    ) -> None:
        self._place = paths
        self._config = config
        self._tokens = tokens
        self._changed = changed
        self._asked_anew = asked_anew
        self._asked_after = 0
        asked_anew(0)
        self._trigger = ReadTrigger(config.resync_interval)
        self._last_error = ""
        new_key = self._made()
        # A reported offer stays reported until it is given up: the command that withdraws it relies on that.
        changed(config.auth.machine_key.key_id, new_key.public if new_key else "")

    def missed(self) -> None:
        """The order may have changed without our hearing of it."""
        self._trigger.fire()

    async def serve(self, bus: Bus) -> None:
        """Do what the server orders, for as long as the connection lives."""
        backoff = Backoff(1, 30)
        await bus.subscribe(KEY_ORDER.notify_subject(self._config.device_id), self._trigger.fire)
        async for _ in self._trigger.times():
            try:
                await self._read(bus)
            except (FleetError, OSError) as error:
                self._log_error(error.what if isinstance(error, FleetError) else in_words(error))
                # The issuer may show a key that was just registered only after a while.
                asyncio.get_running_loop().call_later(backoff.next(), self._trigger.fire)
            else:
                self._last_error = ""
                backoff.reset()

    async def _read(self, bus: Bus) -> None:
        entry = await bus.kv(KEY_ORDER).get(self._config.device_id)
        if isinstance(entry, BadEntry):
            raise InvalidInput(entry.why, next_step="order it anew: fleet secrets rotate device_key")
        if entry is None:
            if self._place.next_key.exists():
                await self._forget((await asyncio.to_thread(self._present)).key_id)
            return
        key = await asyncio.to_thread(self._present)
        if entry.value.withdrawn or entry.value.replaces != key.key_id:
            await self._forget(key.key_id)
        else:
            key = await self._follow(entry.value, key)
        if self._tokens.key not in {"", key.key_id}:
            await self._tokens.obtain()
            await bus.reconnect()
        await self._ask_anew(entry.value.tokens_after, bus)

    async def _ask_anew(self, after: int, bus: Bus) -> None:
        """Get a newer token. The issuer counts whole seconds, and many devices may be ordered at once."""
        if after <= self._asked_after:
            return
        await asyncio.sleep(random.uniform(*_LATER))  # noqa: S311 - spreads, hides nothing
        await self._tokens.obtain()
        self._asked_after = after
        self._asked_anew(after)
        await bus.reconnect()

    async def _follow(self, order: KeyOrder, key: MachineKey) -> MachineKey:
        """Offer a key, and take it once it is registered; returns the one that counts then."""
        new_key = await self._offer()
        if new_key.private == key.key:  # what a power cut has left of the renewal before
            await self._forget(key.key_id)
            new_key = await self._offer()
        self._changed(key.key_id, new_key.public)
        if not order.registered or order.offer != offer_id(new_key.public):
            return key
        new = msgspec.structs.replace(key, key_id=order.registered, key=new_key.private)
        auth = msgspec.structs.replace((await asyncio.to_thread(self._load)).auth, machine_key=new)
        await ask(auth)
        if not await asyncio.to_thread(self._keep, new, order.replaces):
            raise InvalidInput("the key that was offered is given up", next_step="another one is offered")
        self._changed(new.key_id, "")
        _log.info("the device has another machine key", key=new.key_id, before=key.key_id)
        return new

    async def _offer(self) -> NewKey:
        if (new_key := await asyncio.to_thread(self._made)) is None:
            await asyncio.to_thread(self._put, await make())
            new_key = await asyncio.to_thread(self._made)
        assert new_key
        return new_key

    def _put(self, new_key: NewKey) -> None:
        with locked(self._place.next_key.parent):
            if self._made() is None:
                replace_file(self._place.next_key, msgspec.json.encode(new_key), _SECRET)

    def _made(self) -> NewKey | None:
        try:
            return msgspec.json.decode(read_file(self._place.next_key), type=NewKey)
        except (FileNotFoundError, NoPlainFileError, *NOT_JSON):
            return None

    async def _forget(self, key: str) -> None:
        await asyncio.to_thread(self._give_up)
        self._changed(key, "")

    def _give_up(self) -> None:
        with locked(self._place.next_key.parent):
            remove(self._place.next_key)

    def _present(self) -> MachineKey:
        return self._load().auth.machine_key

    def _load(self) -> AgentConfig:
        """The configuration as it is on the disk.

        Raises:
            InvalidInput: the device was given to another identity meanwhile.
        """
        config = load_config(self._place.config, AgentConfig)
        if Owner.of(config) != Owner.of(self._config):
            raise InvalidInput("the device has another identity by now", next_step="its agent is being restarted")
        return config

    def _keep(self, key: MachineKey, replaces: str) -> bool:
        """Write the key into the configuration; False where the device's other agent gave it up meanwhile."""
        with locked(self._place.config.parent):
            config, new_key = self._load(), self._made()
            if config.auth.machine_key == key:
                return True
            if config.auth.machine_key.key_id != replaces or new_key is None or new_key.private != key.key:
                return False
            auth = msgspec.structs.replace(config.auth, machine_key=key)
            replace_file(self._place.config, render_config(msgspec.structs.replace(config, auth=auth)), _SECRET)
            with contextlib.suppress(OSError):  # else when the order is read next
                remove(self._place.next_key)
            return True

    def _log_error(self, why: str) -> None:
        if why != self._last_error:
            self._last_error = why
            _log.warning("the device keeps its machine key for now", why=why)
