"""A Docker daemon of our own: nothing of it touches one that the machine has, and nothing of it outlives us.

It runs in pid and mount namespaces of its own: when it ends, however it ends, the kernel ends its containers, their
shims and its mounts. Its bridges and its cgroups carry the number of a slot, so that the next owner of the slot removes
what a killed one left. The bridges of the networks that it makes are the kernel's, and do not end with it: they are
known by their addresses, which are of the slot alone.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path

import msgspec

from harness.engine.client import NAMESPACES, EngineClient, trusting
from harness.errors import EngineUnavailable, HarnessError
from harness.processes import cgroups
from harness.processes.search_path import missing_packages
from harness.processes.spawn import running

_SLOTS = 32
_POOLS = ipaddress.IPv4Network("10.216.0.0/14")
"""The addresses of the networks that engines make: each slot has a thirty-second of them."""
_NETWORK_PREFIX = 26
"""Each slot has room for 128 networks, each with room for the containers of the largest pod."""
_PACKAGES = {
    "dockerd": "docker.io",
    "containerd": "containerd",
    "runc": "runc",
    "ip": "iproute2",
    "unshare": "util-linux",
    "iptables": "iptables",
}
"""The programs it takes, and the Debian packages that hold them."""


def why_not() -> EngineUnavailable | None:
    """What keeps us from starting one; None if nothing does."""
    if os.geteuid() != 0:
        return EngineUnavailable(
            "a container engine of our own needs root", next_step="run as root, or start docker or podman yourself"
        )
    missing = missing_packages(_PACKAGES)
    if missing:
        return EngineUnavailable(
            f"no container engine: {' '.join(missing)} not installed", next_step=f"apt-get install {' '.join(missing)}"
        )
    return None


@contextlib.contextmanager
def dockerd(root: Path, trusts: Path | None = None, mirror: str = "") -> Generator[Path]:
    """A fresh daemon with its data below `root`, for the length of a `with`; yields its socket.

    Args:
        root: A folder of its own.
        trusts: Certificates (PEM) that registries are checked by, instead of the machine's.
        mirror: The URL of a mirror of Docker Hub; empty for none.

    Raises:
        EngineUnavailable: it cannot run here; the message says what to install.
        ComponentDied: it ended before it answered; the message holds its log.
        ComponentNotReady: it did not answer in time.
    """
    reason = why_not()
    if reason is not None:
        raise reason
    listens = root / "docker.sock"
    client = EngineClient(str(listens))
    with _slot() as slot, contextlib.closing(client):
        bridge = _bridge(slot)
        cgroup = f"fleet-engine-{slot}"
        argv = [*_argv(root, listens, slot, bridge, cgroup), *(("--registry-mirror", mirror) if mirror else ())]
        env = {**os.environ, "FLEET_WORLD": str(root), "TMPDIR": str(root), **trusting(trusts)}
        try:
            log = root / "dockerd.log"
            # Asked to end, it takes a second to clear up what the kernel ends with it.
            with running(argv, name="dockerd", log=log, ready=client.answers, env=env, grace=0):
                yield listens
        finally:
            _run("ip", "link", "delete", bridge)
            _remove_networks(slot)
            cgroups.await_removed(cgroup)


def _argv(root: Path, listens: Path, slot: int, bridge: str, cgroup: str) -> list[str]:
    return [
        *NAMESPACES,
        "dockerd",
        *("--host", f"unix://{listens}", "--pidfile", str(root / "dockerd.pid")),
        *("--data-root", str(root / "data"), "--exec-root", str(root / "exec")),
        *("--bridge", bridge, "--cgroup-parent", f"/{cgroup}"),
        # Its own pools have room for 31 networks, which all engines of the machine would share.
        *("--default-address-pool", f"base={_pool(slot)},size={_NETWORK_PREFIX}"),
        # Ports are published by its proxy alone: the machine's packet filter is not ours to change.
        *("--iptables=false", "--ip6tables=false", "--ip-masq=false", "--ip-forward=false"),
        # It would try five times, for a minute: the agent tries again itself.
        "--max-download-attempts=1",
    ]


@contextlib.contextmanager
def _slot() -> Generator[int]:
    for number in range(_SLOTS):
        # An abstract name (unix(7)) holds wherever the bridge does, whatever TMPDIR is, and ends with its holder.
        with socket.socket(socket.AF_UNIX) as lock:
            try:
                lock.bind(f"\0fleet-engine-{number}")
            except OSError:
                continue
            yield number
            return
    raise HarnessError(f"{_SLOTS} engines run here already", next_step="end other runs of the harness")


def _pool(slot: int) -> ipaddress.IPv4Network:
    return list(_POOLS.subnets(_SLOTS.bit_length() - 1))[slot]


class _Address(msgspec.Struct, frozen=True):
    local: str


class _Link(msgspec.Struct, frozen=True):
    """A link as `ip -json` shows it: an empty object is one of another type."""

    name: str = msgspec.field(name="ifname", default="")
    addresses: list[_Address] = msgspec.field(name="addr_info", default_factory=list[_Address])


def _remove_networks(slot: int) -> None:
    pool = _pool(slot)
    shown = _must("ip", "-json", "-4", "address", "show", "type", "bridge")
    for link in msgspec.json.decode(shown, type=list[_Link]):
        if any(ipaddress.IPv4Address(address.local) in pool for address in link.addresses):
            _run("ip", "link", "delete", link.name)


def _bridge(slot: int) -> str:
    _remove_networks(slot)
    name = f"fleet-br{slot}"
    with contextlib.suppress(EngineUnavailable):
        _must("ip", "link", "delete", name)
    _must("ip", "link", "add", name, "type", "bridge")
    _must("ip", "address", "add", f"10.213.{slot}.1/24", "dev", name)
    _must("ip", "link", "set", name, "up")
    return name


def _run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def _must(*argv: str) -> str:
    done = _run(*argv)
    if done.returncode != 0:
        raise EngineUnavailable(
            f"{' '.join(argv)}: {done.stderr.strip()}", next_step="may this machine make bridges (CAP_NET_ADMIN)?"
        )
    return done.stdout
