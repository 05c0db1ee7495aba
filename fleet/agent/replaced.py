"""Ends what the identities ordered that this host had before; only those that a set-up said it would end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import structlog

from fleet.agent.answers import EngineDown, EngineRefused
from fleet.agent.engine import Engine
from fleet.agent.networks import clear_networks
from fleet.agent.observe import belongs
from fleet.contract.containers import DEVICE_LABEL, SERVER_LABEL
from fleet.contract.owner import Owner, parse_owners
from fleet.process.backoff import Backoff
from fleet.process.plain_file import read_file

_log = structlog.stdlib.get_logger()


class Replaced:
    """The identities before `present`, as the file tells; read once."""

    def __init__(self, path: Path, present: Owner) -> None:
        """Read the file; a file that is missing, or does not parse, names no identity."""
        self._present = present
        try:
            data = read_file(path)
        except OSError:
            data = b""
        self.owners = [owner for owner in parse_owners(data) if owner != present]

    async def end(self, engine: Engine) -> None:
        """Remove their containers, however long the engine takes to answer."""
        backoff = Backoff(1, 30)
        for owner in self.owners:
            while not await self._ended(engine, owner):  # noqa: ASYNC110 - the engine tells nothing by itself
                await asyncio.sleep(backoff.next())

    async def _ended(self, engine: Engine, owner: Owner) -> bool:
        try:
            for container in await engine.containers(f"{DEVICE_LABEL}={owner.device}"):
                unnamed = SERVER_LABEL not in container.labels and owner.device == self._present.device
                if belongs(container, owner) and not unnamed:
                    _log.info("a container of another identity ends", device=owner.device, container=container.name)
                    await engine.remove(container.id)
            await clear_networks(engine, owner, ())
        except (EngineDown, EngineRefused) as error:
            _log.warning("containers of another identity are still there", device=owner.device, why=error.what)
            return False
        return True
