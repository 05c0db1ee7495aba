"""Which images this agent pulled, and what for: what it pulled and nothing needs goes, and nothing else does."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import msgspec

from fleet.agent.record import read_record, write_record

KEPT = 2
"""Images of a container that stay: the one it runs and the one before it, to which it may go back."""


class _Kept(msgspec.Struct):
    pulled: list[str] = []
    used: dict[str, list[str]] = {}
    ordered: dict[str, str] = {}


class Pulled:
    """The record, in one file; where it cannot be written or read, nothing is removed for it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = read_record(path, _Kept)

    def pulled(self, image: str) -> None:
        """We fetched it: it was not on the device."""
        if image not in self._kept.pulled:
            self._kept.pulled.append(image)
            self._save()

    def ordered(self, unit: str, image: str) -> None:
        """A container of a deployment is to run it, and may never come to that; see `unit_of`."""
        if self._kept.ordered.get(unit) != image:
            self._kept.ordered[unit] = image
            self._save()

    def used(self, unit: str, image: str) -> None:
        """A container of a deployment was started with it."""
        before = self._kept.used.get(unit, [])
        after = [image, *(other for other in before if other != image)][:KEPT]
        if after != before:
            self._kept.used[unit] = after
            self._save()

    def ended(self, deployment: str, left: Collection[str]) -> None:
        """Of a deployment, only the containers that are `left` need their images; each is named by `unit_of`."""
        known = {*self._kept.used, *self._kept.ordered}
        units = [one for one in known if one.partition("/")[0] == deployment and one not in left]
        for unit in units:
            self._kept.used.pop(unit, None)
            self._kept.ordered.pop(unit, None)
        if units:
            self._save()

    def surplus(self, *, short: bool = False) -> list[str]:
        """What we pulled, and nothing runs, ran before, or is to run.

        On a disk that is `short`, what ran before is given up for what is ordered: what runs is what is gone back to.
        """
        needed = {*self._kept.ordered.values()}
        for unit, images in self._kept.used.items():
            gives_way = short and self._kept.ordered.get(unit, images[0]) not in images
            needed |= {*images[: 1 if gives_way else KEPT]}
        return [image for image in self._kept.pulled if image not in needed]

    def removed(self, image: str) -> None:
        """It is not on the device any more."""
        self._kept.pulled.remove(image)
        self._save()

    def _save(self) -> None:
        write_record(self._path, self._kept)
