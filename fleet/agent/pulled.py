"""Which images this agent pulled, and what for: what it pulled and nothing needs goes, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleet.agent.record import read_record, write_record

KEPT = 2
"""Images of a deployment that stay: the one it runs and the one before it, to which it may go back."""


class _Kept(msgspec.Struct):
    pulled: list[str] = []
    used: dict[str, list[str]] = {}


class Pulled:
    """The record, in one file; where it cannot be written or read, nothing is removed for it."""

    def __init__(self, path: Path) -> None:
        """Read what an earlier agent recorded."""
        self._path = path
        self._kept = read_record(path, _Kept)

    def pulled(self, image: str) -> None:
        """We fetched it: it was not on the device."""
        if image not in self._kept.pulled:
            self._kept.pulled.append(image)
            self._save()

    def used(self, deployment: str, image: str) -> None:
        """A deployment is to run it from now on."""
        before = self._kept.used.get(deployment, [])
        after = [image, *(one for one in before if one != image)][:KEPT]
        if after != before:
            self._kept.used[deployment] = after
            self._save()

    def ended(self, deployment: str) -> None:
        """A deployment has no container any more, and is not wished."""
        if self._kept.used.pop(deployment, None) is not None:
            self._save()

    def surplus(self) -> list[str]:
        """What we pulled, and no deployment runs or ran before."""
        needed = {image for images in self._kept.used.values() for image in images}
        return [image for image in self._kept.pulled if image not in needed]

    def removed(self, image: str) -> None:
        """It is not on the device any more."""
        self._kept.pulled.remove(image)
        self._save()

    def _save(self) -> None:
        write_record(self._path, self._kept)
