"""Debian's podman as an engine of our own: its service on a socket below a folder, with images and containers there.

It runs as root without systemd or a virtual machine. Its conmons, which hold the containers, leave its process tree, so
it runs in a pid namespace of its own, and the kernel ends them with it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from pathlib import Path

from harness.engine.client import NAMESPACES, EngineClient, trusting
from harness.errors import EngineUnavailable
from harness.processes.search_path import missing_packages
from harness.processes.spawn import running

_PACKAGES = {"podman": "podman", "conmon": "conmon", "runc": "runc", "unshare": "util-linux"}
"""The programs it takes, and the Debian packages that hold them."""
_CONFIG = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""containers.conf(5): what podman takes on a machine without systemd, and where limits cannot be raised."""


def why_not() -> EngineUnavailable | None:
    """What keeps us from starting one; None if nothing does."""
    if os.geteuid() != 0:
        return EngineUnavailable("podman of our own needs root", next_step="run as root")
    missing = missing_packages(_PACKAGES)
    if missing:
        return EngineUnavailable(
            f"no podman: {' '.join(missing)} not installed", next_step=f"apt-get install {' '.join(missing)}"
        )
    return None


@contextlib.contextmanager
def podman(root: Path, trusts: Path | None = None, registries: Path | None = None) -> Generator[Path]:
    """A fresh service with its data below `root`, for the length of a `with`; yields its socket.

    Args:
        root: A folder of its own.
        trusts: Certificates (PEM) that registries are checked by, instead of the machine's.
        registries: A file as containers-registries.conf(5), instead of the machine's.

    Raises:
        EngineUnavailable: it cannot run here; the message says what to install.
        ComponentDied: it ended before it answered; the message holds its log.
        ComponentNotReady: it did not answer in time.
    """
    reason = why_not()
    if reason is not None:
        raise reason
    listens = root / "podman.sock"
    (root / "containers.conf").write_text(_CONFIG)
    argv = [
        *NAMESPACES,
        *("podman", "--root", str(root / "data"), "--runroot", str(root / "run")),
        *("system", "service", "--time", "0", f"unix://{listens}"),
    ]
    env = {
        **os.environ,
        "FLEET_WORLD": str(root),
        "TMPDIR": str(root),
        "CONTAINERS_CONF": str(root / "containers.conf"),
        **trusting(trusts),
        **({"CONTAINERS_REGISTRIES_CONF": str(registries)} if registries else {}),
    }
    client = EngineClient(str(listens))
    with (
        contextlib.closing(client),
        running(argv, name="podman", log=root / "podman.log", ready=client.answers, env=env, grace=0),
    ):
        yield listens
