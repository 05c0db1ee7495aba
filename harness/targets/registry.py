"""From the name of a target to a world of it; what is asked for and not available fails, and says what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from harness.errors import Misused
from harness.world.keep import Keep
from harness.world.shared_resources import SharedResources
from harness.world.world import World

if TYPE_CHECKING:
    from harness.targets.cluster.description import Kind


class Settings(msgspec.Struct, frozen=True):
    """What a run asked for.

    Attributes:
        target: As given to `--fleet-target`.
        run_id: Names the run.
        worker: Names the xdist worker; `main` without one.
        keep: Whether the world outlives the run, decided at its end.
        devices: The kinds of device that were asked for by their markers.
        lab: A file with boards that may be set up as devices, for the target embedded.
        shared: Finds what is made once per run, when a target needs it.
    """

    target: str
    run_id: str
    worker: str
    keep: Keep
    shared: Callable[[], SharedResources]
    devices: frozenset[str] = frozenset()
    lab: Path | None = None


@contextlib.contextmanager
def open_world(settings: Settings) -> Generator[World]:
    """The world that `--fleet-target` names.

    Raises:
        TargetUnavailable: what the target needs is missing.
        Misused: there is no such target, or it takes no file of a lab.
    """
    name, _, argument = settings.target.partition(":")
    if settings.lab is not None and name != "embedded":
        raise Misused(
            f"--fleet-lab is for the target embedded, and the target is {name}",
            next_step="leave it away; a cluster's own file describes its `lab`",
        )
    if name == "embedded":
        from harness.targets.embedded import embedded  # noqa: PLC0415 - a target loads only what it needs

        opened = embedded(
            settings.shared(),
            run_id=settings.run_id,
            worker=settings.worker,
            keep=settings.keep,
            machine="libvirt" in settings.devices,
            lab=settings.lab,
        )
    elif name == "node":
        from harness.targets.node.world import node_world  # noqa: PLC0415

        opened = node_world(settings.shared(), run_id=settings.run_id, worker=settings.worker, keep=settings.keep)
    elif name in {"staging", "production"}:
        from harness.targets.cluster import cluster  # noqa: PLC0415

        opened = cluster(cast("Kind", name), argument, run_id=settings.run_id, worker=settings.worker)
    elif name == "k3d":
        from harness.targets.k3d import k3d  # noqa: PLC0415

        opened = k3d(run_id=settings.run_id, worker=settings.worker, keep=settings.keep)
    else:
        raise Misused(
            f"there is no target {settings.target!r}",
            next_step="use embedded, node, k3d, staging:FILE or production:FILE with --fleet-target",
        )
    with opened as world:
        yield world
