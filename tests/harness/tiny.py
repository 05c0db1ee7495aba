"""A world of two sleeping processes under a real supervisor: quick to make, real to kill. Used as a conftest too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from harness.devices import Device
from harness.errors import Misused
from harness.processes.spec import ComponentSpec, put
from harness.targets.local import LocalComponents
from harness.targets.registry import Settings
from harness.world import folders
from harness.world.keep import NEVER, Keep
from harness.world.world import World

DATABASE = ComponentSpec("database", ("sleep", "1000"), "world")
"""Somebody else's server."""
PRODUCT = ComponentSpec("product", ("sleep", "1001"), "product")
"""A component of ours."""


class Nobody:
    """Satisfies `Identity`."""

    issuer = "https://nobody"
    ca = Path("/nonexistent")
    admin_token_file = Path("/nonexistent")

    def approve(self, user_code: str) -> None:
        """Nobody approves."""
        raise Misused(f"nobody approves {user_code}", next_step="do not ask")


@contextlib.contextmanager
def tiny_world(
    *specs: ComponentSpec,
    run_id: str = "0" * 32,
    worker: str = "main",
    env: Mapping[str, str] = os.environ,
    keep: Keep = NEVER,
) -> Generator[World]:
    """A world of these components."""
    root, lock = folders.create()
    with contextlib.ExitStack() as cleanup:
        cleanup.callback(keep.unless, folders.remove, root)
        for spec in specs:
            put(root, spec)
        components = LocalComponents(root, lock, engine="")
        cleanup.callback(lock.close)
        cleanup.callback(keep.end, components)
        components.await_ready([spec.name for spec in specs])
        yield World(
            root=root,
            run_id=run_id,
            worker=worker,
            target="tiny",
            env=env,
            namespace="nowhere",
            identity=Nobody(),
            components=components,
            engine="none",
            make_device=_no_device,
            secret=str,
            how_to_enter=f"end: {root}",
        )


def _no_device(name: str) -> Device:
    raise Misused(f"no device {name}", next_step="do not ask")


def pytest_fleet_open_world(settings: Settings) -> AbstractContextManager[World] | None:
    """Every world of the inner run is tiny; where it is gets written down for the outer test."""
    return _written_down(settings) if settings.target == "embedded" else None


@contextlib.contextmanager
def _written_down(settings: Settings) -> Generator[World]:
    with tiny_world(DATABASE, PRODUCT, run_id=settings.run_id, worker=settings.worker, keep=settings.keep) as world:
        with Path(os.environ["WORLDS"]).open("a") as file:
            file.write(f"{world.root}\n")
        yield world
