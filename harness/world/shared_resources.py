"""What is made once for a run and shared by its worlds: the real servers and a container engine."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness.errors import HarnessError, Misused
from harness.images.private_registry import Place


class SharedResources(msgspec.Struct, frozen=True):
    """The real servers by name; the engine's socket, and what it is in words for the report.

    `node_cluster` is the folder of a Kubernetes of our own, where the target is one. `image_registry` is where
    a private registry of the run listens.
    """

    binaries: dict[str, Path]
    engine: str
    engine_name: str
    node_cluster: Path | None = None
    image_registry: Place = Place()


class Missing(msgspec.Struct, frozen=True):
    """Why they do not exist; every test that needs a world fails with this reason."""

    what: str
    next_step: str


class Handed(msgspec.Struct, frozen=True):
    """What the xdist controller hands to its workers."""

    shared: SharedResources | None = None
    missing: Missing | None = None

    def open(self) -> SharedResources:
        """The shared resources.

        Raises:
            HarnessError: the controller could not make them.
        """
        if self.missing is not None:
            raise HarnessError(self.missing.what, next_step=self.missing.next_step)
        if self.shared is None:
            raise Misused("the controller handed nothing over", next_step="this is a defect of the harness")
        return self.shared


def to_json(handed: Handed) -> str:
    """For `workerinput`, which takes plain values only."""
    return msgspec.json.encode(handed, enc_hook=str).decode()


def from_json(text: str) -> Handed:
    """The reverse."""
    return msgspec.json.decode(text, type=Handed, dec_hook=lambda _, value: Path(value))
