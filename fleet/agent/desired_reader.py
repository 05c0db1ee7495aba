"""Reads what the device should run: the index by direct get, then each entry that it names (decision 002)."""

from __future__ import annotations

import asyncio
import functools
from typing import NamedTuple

import structlog

from fleet.agent.desired_state import Deployment, DesiredState
from fleet.agent.problems import Problem
from fleet.agent.supervise import unforeseen
from fleet.contract.buckets import DESIRED_INDEX, DESIRED_STATE
from fleet.contract.errors import FleetError, InvalidInput
from fleet.contract.names import DeploymentName, DeviceId
from fleet.contract.volumes import VolumeOrder
from fleet.contract.wire import Desired, DesiredIndex, Reason
from fleet.nats.bus import KV, BadEntry, Bus, Entry

_log = structlog.stdlib.get_logger()

_AT_ONCE = 16
"""Direct gets in flight: an index may name thousands."""


class Unclear(FleetError):  # noqa: N818 - reads as what it is
    """The index is missing or does not parse: nothing may be changed for it."""


class Told(NamedTuple):
    """The orders for a device: what to run, and which volumes to remove."""

    desired_state: DesiredState
    remove_volumes: tuple[VolumeOrder, ...]


async def read(bus: Bus, device: DeviceId, known: DesiredState) -> Told:
    """The device's complete desired state.

    What does not parse becomes a problem beside the workload that is `known`, so that it goes on.

    Raises:
        Unclear: there is no index, or one that does not parse.
        Unreachable: NATS did not answer.
    """
    entries = bus.kv(DESIRED_STATE)
    index = await _index(bus, device)
    found = await _entries(entries, device, index)
    if None in found.values():
        # A removal deletes the entry after it has changed the index; the index we have is the one before.
        index = await _index(bus, device)
        found = await _entries(entries, device, index)
    desired = {name: _desired(name, index.deployments[name], found[name], known.get(name)) for name in found}
    return Told(desired, index.remove_volumes)


async def _index(bus: Bus, device: DeviceId) -> DesiredIndex:
    entry = await bus.kv(DESIRED_INDEX).get(device)
    match entry:
        case Entry():
            return entry.value
        case BadEntry():
            raise Unclear(f"the index of {device} does not parse: {entry.why}", next_step="the operator writes it anew")
        case None:
            raise Unclear(f"there is no index of {device}", next_step="is the Device there, and the operator up?")


Found = dict[str, "Entry[Desired] | BadEntry | Problem | None"]


async def _entries(entries: KV[Desired], device: DeviceId, index: DesiredIndex) -> Found:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def get(name: str) -> Entry[Desired] | BadEntry | Problem | None:
        async with limit:
            try:
                return await entries.get(f"{device}.{name}")
            except FleetError:
                raise
            except Exception as error:
                return unforeseen(error)

    names = [name for name in index.deployments if _is_name(name)]
    return dict(zip(names, await asyncio.gather(*(get(name) for name in names)), strict=True))


@functools.lru_cache(maxsize=1024)
def _is_name(name: str) -> bool:
    """Logged once: the index is read every minute."""
    try:
        DeploymentName(name)
    except InvalidInput as error:
        _log.error("index names what cannot be", why=error.what)
        return False
    return True


def _is_newer(why: str) -> bool:
    """Whether msgspec complains of a kind of workload, or a field of one, that only a newer agent knows."""
    return why.endswith("`$.workload.type`") or ("unknown field" in why and "`$.workload" in why)


def _desired(
    name: str, generation: int, entry: Entry[Desired] | BadEntry | Problem | None, known: Deployment | None
) -> Deployment:
    match entry:
        case Entry():
            new = entry.value
            return Deployment(
                new.generation, new.workload, change=new.change, sealed=new.sealed, secrets=new.edition[1]
            )
        case Problem():
            problem = entry
        case BadEntry():
            reason = Reason.UNSUPPORTED_WORKLOAD if _is_newer(entry.why) else Reason.INVALID_DESIRED_STATE
            problem = Problem(reason, entry.why)
        case None:
            problem = Problem(Reason.INVALID_DESIRED_STATE, f"the index names {name}, but there is no such entry")
    before = known or Deployment(0)
    return Deployment(generation, before.workload, problem, sealed=before.sealed)
