"""The network inside: a bridge that joins the machines to the control plane, and no way out."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.targets.node.plan import BRIDGE_ADDRESS, Machine, Plan

_BRIDGE = "site"


def make_bridge(plan: Plan) -> None:
    """The bridge, and the way to each machine's pods; called in the cluster's network namespace."""
    _ip("link", "set", "lo", "up")
    _ip("link", "add", _BRIDGE, "type", "bridge", "forward_delay", "0")
    _ip("address", "add", f"{BRIDGE_ADDRESS}/24", "dev", _BRIDGE)
    _ip("link", "set", _BRIDGE, "up")
    for machine in plan.machines:
        _ip("route", "add", machine.pods, "via", machine.address)
    _ip("route", "add", "unreachable", "default")


def connect(machine: Machine) -> None:
    """Plug a machine's `eth0` into the bridge; called in the cluster by the parent of the machine's process 1."""
    link = f"to-{machine.name}"
    # The link of a machine that was killed lives until the last process in its namespace is gone.
    subprocess.run(["ip", "link", "delete", link], capture_output=True, check=False)  # noqa: S607
    # What the parent starts runs in the new pid namespace already, where the machine is process 1.
    _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", "1")
    _ip("link", "set", link, "master", _BRIDGE, "up")


def make_machine(plan: Plan, machine: Machine) -> None:
    """Addresses and routes of a machine whose link is there; called in its network namespace."""
    _ip("link", "set", "lo", "up")
    _ip("address", "add", f"{machine.address}/24", "dev", "eth0")
    _ip("link", "set", "eth0", "up")
    for other in plan.machines:
        if other != machine:
            _ip("route", "add", other.pods, "via", other.address)
    # Service addresses need a route before they are translated.
    _ip("route", "add", "default", "via", BRIDGE_ADDRESS)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
