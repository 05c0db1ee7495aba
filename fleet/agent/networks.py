"""The network of a pod: its containers have addresses of their own there, which they know each other by."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Collection, Mapping, Sequence

import msgspec
import structlog

from fleet.agent.answers import Details, EngineDown, EngineRefused, parse
from fleet.agent.engine import Engine, filters
from fleet.contract.containers import CONTAINER_LABEL, DEPLOYMENT_LABEL, DEVICE_LABEL, SERVER_LABEL
from fleet.contract.owner import Owner
from fleet.process.backoff import Backoff

_log = structlog.stdlib.get_logger()

_FIRST = 2
"""The first address that a container gets; engines take the one before it for themselves."""
_GONE = 404
_IN_USE = ("active endpoints", "being used")
"""How engines refuse to remove a network that a container is in."""
_REMOVAL_WITHIN = 10.0
"""Seconds for the removal of a network: no container is made meanwhile, of any deployment."""


class _Range(msgspec.Struct, frozen=True, rename="pascal"):
    subnet: str = ""


class _Ipam(msgspec.Struct, frozen=True, rename="pascal"):
    config: list[_Range] | None = None


class Network(msgspec.Struct, frozen=True, rename="pascal"):
    """A network."""

    id: str = ""
    name: str = ""
    labels: dict[str, str] | None = None
    ipam: _Ipam = msgspec.field(default=_Ipam(), name="IPAM")

    @property
    def subnet(self) -> str:
        """The first of its ranges, as `10.89.0.0/24`; empty for none."""
        return self.ipam.config[0].subnet if self.ipam.config else ""


class NoRoom(Exception):  # noqa: N818 - carries an answer
    """A network has too few addresses."""


async def ensure_network(engine: Engine, name: str, labels: Mapping[str, str]) -> Network:
    """The network of the name: the one that is there, or a new one, in which addresses can be given.

    Engines give no address by hand in a network whose range they chose (moby, `validateEndpointSettings`): so the range
    that the engine chooses is asked for.

    Raises:
        EngineDown: the engine does not answer.
        EngineRefused: it has no room for another network.
    """
    network = await find_network(engine, name)
    if network is not None:
        return network
    draft = f"{name}.draft"
    await remove_network(engine, draft)  # of an agent that was ended here
    chosen = await _made(engine, draft, labels, {})
    await remove_network(engine, draft)
    return await _made(engine, name, labels, {"Config": [{"Subnet": chosen.subnet}]})


async def clear_networks(engine: Engine, owner: Owner, used: Collection[str]) -> None:
    """Remove the networks that an owner's agent made, but those of the deployments that are `used`.

    An agent may have been ended after it removed a pod's containers. Engines have room for about thirty networks.
    """
    query = {"filters": filters(label=[f"{DEVICE_LABEL}={owner.device}"])}
    answer = await engine.call("GET", "/networks", "list networks", query)
    for network in parse(answer, list[Network]):
        labels = network.labels or {}
        if labels.get(SERVER_LABEL) == owner.server and labels.get(DEPLOYMENT_LABEL, "") not in used:
            await remove_network(engine, network.name)


class LeftNetworks:
    """Networks without a pod: an agent may have been ended, or the engine have failed, before they were removed."""

    def __init__(self, engine: Engine, owner: Owner, making: asyncio.Lock) -> None:
        """`making` is held while a container is made, which may be of a network that has none yet."""
        self._engine = engine
        self._owner = owner
        self._making = making
        self._may_be_some = True
        self._pauses = Backoff(1, 300)
        self._again_at = 0.0

    def found(self) -> None:
        """One may have been left."""
        self._may_be_some = True

    async def clear(self) -> None:
        """Remove them, where there may be some, one call at a time.

        An engine that fails at it, or hangs, is asked less and less often.
        """
        if not self._may_be_some or self._making.locked() or time.monotonic() < self._again_at:
            return
        try:
            async with self._making:
                self._may_be_some = False
                await self.remove(await self._engine.containers(f"{DEVICE_LABEL}={self._owner.device}"))
        except (EngineDown, EngineRefused) as error:
            self._may_be_some = True
            self._again_at = time.monotonic() + self._pauses.next()
            _log.warning("networks without a pod are not removed yet", why=error.what)
        else:
            self._pauses.reset()

    async def remove(self, containers: Sequence[Details]) -> None:
        """Remove them, given every container of the device; `making` is held."""
        pods = {
            container.labels.get(DEPLOYMENT_LABEL, "")
            for container in containers
            if CONTAINER_LABEL in container.labels
        }
        await clear_networks(self._engine, self._owner, pods)


async def remove_network(engine: Engine, name: str) -> None:
    """Remove a network; one that a container is still in stays, and none is fine."""
    try:
        doing, good = f"remove network {name}", (200, 204, _GONE)
        await engine.call("DELETE", f"/networks/{name}", doing, good=good, limit=_REMOVAL_WITHIN)
    except EngineRefused as error:
        if not any(words in error.what for words in _IN_USE):
            raise


def addresses(network: Network, names: Sequence[str]) -> dict[str, str]:
    """The address of each container of a pod, by its place among their names.

    Raises:
        NoRoom: the network has too few.
    """
    try:
        subnet = ipaddress.ip_network(network.subnet)
    except ValueError as error:
        raise NoRoom(f"the engine's network has no range of addresses ({error})") from error
    if subnet.num_addresses < len(names) + _FIRST + 1:
        raise NoRoom(f"{subnet} has too few addresses for {len(names)} containers")
    return {name: str(subnet[_FIRST + place]) for place, name in enumerate(names)}


async def find_network(engine: Engine, name: str) -> Network | None:
    """The network of the name, if there is one."""
    answer = await engine.call("GET", f"/networks/{name}", f"look at network {name}", good=(200, _GONE))
    return None if answer.is_error else parse(answer, Network)


async def _made(engine: Engine, name: str, labels: Mapping[str, str], ranges: Mapping[str, object]) -> Network:
    body = {"Name": name, "CheckDuplicate": True, "Labels": labels, **({"IPAM": ranges} if ranges else {})}
    doing = f"create network {name}"
    await engine.call("POST", "/networks/create", doing, body=msgspec.json.encode(body), good=(200, 201))
    network = await find_network(engine, name)
    if network is None:
        raise EngineRefused(doing, _GONE, "it went at once")
    return network
