"""Makes what is shared by the worlds of a run."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from harness.binaries import resolve_all
from harness.binaries.build import Progress
from harness.engine.select import engine
from harness.world.keep import NEVER, Keep
from harness.world.shared_resources import SharedResources


@contextlib.contextmanager
def shared_resources(progress: Progress, target: str = "embedded", *, keep: Keep = NEVER) -> Generator[SharedResources]:
    """Find or build the servers, find or start an engine with the test image; what was started ends after the `with`.

    Args:
        progress: Hears of builds.
        target: As given to `--fleet-target`; for `node` a Kubernetes is started too.
        keep: Whether that one outlives the `with`, decided at its end.

    Raises:
        HarnessError: something is missing; the message says what to install.
    """
    binaries = resolve_all(progress=progress)
    name, _, argument = target.partition(":")
    with contextlib.ExitStack() as cleanup:
        chosen = cleanup.enter_context(engine())
        node_cluster = None
        if name == "node":
            from harness.targets.node.world import cluster_for  # noqa: PLC0415 - a target loads only what it needs

            node_cluster = cleanup.enter_context(cluster_for(argument, progress, keep=keep))
        yield SharedResources(binaries, chosen.socket, chosen.name, node_cluster, chosen.image_registry)
