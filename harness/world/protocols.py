"""What a target provides to a world: an identity provider, the servers, and where it has them, the machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from harness.images.server import Archive
from harness.processes.spec import ComponentStatus, Event


class Identity(Protocol):
    """The identity provider of a world."""

    @property
    def issuer(self) -> str: ...  # noqa: D102 - its URL
    @property
    def ca(self) -> Path: ...  # noqa: D102 - PEM file of the authority that signed its certificate
    @property
    def admin_token_file(self) -> Path: ...  # noqa: D102 - an administrator's personal access token

    def approve(self, user_code: str) -> None:
        """Sign in and allow a device code, as a person in a browser does."""
        ...


class Components(Protocol):
    """The servers of a world, as far as the target lets us touch them."""

    def statuses(self) -> Mapping[str, ComponentStatus]:
        """What runs, by name."""
        ...

    def kill(self, name: str) -> None:
        """SIGKILL, and whatever the component's restart policy says."""
        ...

    def stop(self, name: str) -> None:
        """End it; it stays down until `start`."""
        ...

    def start(self, name: str) -> None:
        """Start it again after `stop`; returns once it answers."""
        ...

    def pause(self, name: str) -> None:
        """Freeze it."""
        ...

    def resume(self, name: str) -> None:
        """Let it go on."""
        ...

    def fetch(self, name: str, path: str) -> list[str]:
        """What each process of a component answers to `GET path` on its own HTTP port, such as `/metrics`."""
        ...

    def problems(self, since: float) -> list[str]:
        """What is broken in the world itself now, or ended unasked since a monotonic time."""
        ...

    def product_deaths(self, since: float) -> list[str]:
        """Which components of the product ended unasked since a monotonic time, with their last words."""
        ...

    def history(self, since: float) -> list[Event]:
        """What happened since a monotonic time, oldest first."""
        ...

    def record(self, what: str, component: str) -> None:
        """Add something that was asked for to the history."""
        ...


class Machines(Protocol):
    """The machines under a world's Kubernetes, where the target has their power switches."""

    @property
    def names(self) -> tuple[str, ...]: ...  # noqa: D102 - of the nodes

    def load(self, archive: Archive) -> None:
        """Give an image to every machine that runs."""
        ...

    def switch_off(self, name: str) -> None:
        """Cut its power."""
        ...

    def switch_on(self, name: str) -> None:
        """Start it; returns once it is ready."""
        ...
