"""The removal of images that nothing needs: beside everything else, for an engine takes its time over each."""

from __future__ import annotations

import asyncio

import structlog

from fleet.agent.answers import EngineDown, EngineRefused
from fleet.agent.engine import Engine
from fleet.agent.pulled import Pulled

_log = structlog.stdlib.get_logger()


class Pruning:
    """Of the images that the agent pulled. The engine refuses to remove one that any container was made from."""

    def __init__(self, engine: Engine, images: Pulled) -> None:
        self._engine = engine
        self._images = images
        self._may_be_some = False
        self._one = asyncio.Lock()

    async def found(self, *, at_once: bool) -> None:
        """Something has changed, so an image may be needed no more; `at_once` where its space is needed."""
        self._may_be_some = True
        if at_once:
            await self._remove(short=True)

    async def clear(self) -> None:
        """Remove what is not needed, where there may be some; one call at a time."""
        if not self._may_be_some or self._one.locked():
            return
        self._may_be_some = False
        try:
            await self._remove()
        except (EngineDown, EngineRefused) as error:
            _log.warning("images that nothing needs are not removed yet", why=error.what)

    async def _remove(self, *, short: bool = False) -> None:
        """Remove what is not needed; see `Pulled.surplus`."""
        async with self._one:
            for image in self._images.surplus(short=short):
                ordered_meanwhile = image not in self._images.surplus(short=short)
                if not ordered_meanwhile and await self._engine.remove_image(image):
                    _log.info("an image that nothing needs is removed", image=image)
                    self._images.removed(image)
