"""What is made once for a run and shared by its worlds: the real servers and a container engine."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from pathlib import Path

import msgspec

from harness.binaries import resolve_all
from harness.binaries.build import Progress
from harness.engine import engine
from harness.errors import HarnessError, Misused


class Provisions(msgspec.Struct, frozen=True):
    """The real servers by name; the engine's socket, and what it is in words for the report.

    `site` is the folder of a Kubernetes of our own, where the target is one.
    """

    binaries: dict[str, Path]
    engine: str
    engine_name: str
    site: Path | None = None


class Missing(msgspec.Struct, frozen=True):
    """Why there are none; every test that wants a world is told."""

    what: str
    next_step: str


class Handed(msgspec.Struct, frozen=True):
    """What the xdist controller hands to its workers."""

    provisions: Provisions | None = None
    missing: Missing | None = None

    def open(self) -> Provisions:
        """The provisions.

        Raises:
            HarnessError: the controller could not make them.
        """
        if self.missing is not None:
            raise HarnessError(self.missing.what, next_step=self.missing.next_step)
        if self.provisions is None:
            raise Misused("the controller handed nothing over", next_step="this is a defect of the harness")
        return self.provisions


@contextlib.contextmanager
def provisioned(progress: Progress, target: str = "embedded", *, keep: bool = False) -> Generator[Provisions]:
    """Find or build the servers, find or start an engine with the test image; what was started ends after the `with`.

    Args:
        progress: Hears of builds.
        target: As given to `--fleet-target`; for `node` a Kubernetes is started too.
        keep: Whether that one outlives the `with`.

    Raises:
        HarnessError: something is missing; the message says what to install.
    """
    binaries = resolve_all(progress=progress)
    name, _, argument = target.partition(":")
    with contextlib.ExitStack() as cleanup:
        found = cleanup.enter_context(engine())
        site = None
        if name == "node":
            from harness.targets.node.world import site_for  # noqa: PLC0415 - a target loads only what it needs

            site = cleanup.enter_context(site_for(argument, progress, keep=keep))
        yield Provisions(binaries, found.socket, found.name, site)


def to_json(handed: Handed) -> str:
    """For `workerinput`, which takes plain values only."""
    return msgspec.json.encode(handed, enc_hook=str).decode()


def from_json(text: str) -> Handed:
    """The reverse."""
    return msgspec.json.decode(text, type=Handed, dec_hook=lambda _, value: Path(value))
