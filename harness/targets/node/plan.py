"""What a node target consists of: addresses, ports and folders.

All addresses are from ranges that are never routed (RFC 5737, RFC 2544), and exist only inside.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

import msgspec

from harness.errors import PortTaken

BRIDGE_ADDRESS: Final = "198.51.100.1"
"""Of the control plane, and of the names of services."""
API_PORT: Final = 6443
SERVICES: Final = "198.19.0.0/20"
FIRST_SERVICE: Final = "198.19.0.1"
"""Kubernetes gives the first address to the service `kubernetes`."""
ALL_PODS: Final = "198.18.0.0/16"
DOMAIN: Final = "cluster.local"
STORAGE_CLASS: Final = "standard"
KUBELET_PORT: Final = 10250
_MOST = 3


class Machine(msgspec.Struct, frozen=True):
    """One machine of the cluster: `n1`, `n2` or `n3`."""

    number: int

    @property
    def name(self) -> str:
        """Of the Kubernetes Node too."""
        return f"n{self.number}"

    @property
    def address(self) -> str:
        """On the cluster's bridge."""
        return f"198.51.100.{10 + self.number}"

    @property
    def pods(self) -> str:
        """The addresses of its pods."""
        return f"198.18.{self.number}.0/24"


class Plan(msgspec.Struct, frozen=True):
    """A cluster.

    Attributes:
        root: Its folder, which the inside sees too.
        machines: From one to three.
        cgroup: The name of its control groups.
        api_port: Where the API server answers on 127.0.0.1 outside.
        node_ports: Ports that mean the same outside on 127.0.0.1, as NodePort, and on a pod's own 127.0.0.1.
        binaries: The servers by name.
        pause: The image of a pod's sandbox.
    """

    root: Path
    machines: tuple[Machine, ...]
    cgroup: str
    api_port: int
    node_ports: tuple[int, ...]
    binaries: dict[str, Path]
    pause: str

    def of(self, machine: Machine) -> Path:
        """A machine's own folder: `components`, `status`, `logs` and the data of its daemons."""
        return self.root / "machines" / machine.name

    def containerd(self, machine: Machine) -> Path:
        """The socket of its containerd; it works from outside too."""
        return self.of(machine) / "containerd.sock"

    @property
    def api_url(self) -> str:
        """The API server, inside."""
        return f"https://{BRIDGE_ADDRESS}:{API_PORT}"

    def take_node_port(self) -> int:
        """A node port that no other process of the cluster has; it is taken for the cluster's life.

        Raises:
            PortTaken: all are.
        """
        for port in self.node_ports:
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.root / f"port-{port}", os.O_CREAT | os.O_EXCL, 0o600))
                return port
        raise PortTaken("every node port of the cluster is taken", next_step="use fewer workers")

    def save(self) -> None:
        """For the reaper and what it starts."""
        (self.root / "plan.json").write_bytes(msgspec.json.encode(self, enc_hook=str))


def machines(count: int) -> tuple[Machine, ...]:
    """The first `count` machines.

    Raises:
        ValueError: there are between one and three.
    """
    if not 1 <= count <= _MOST:
        raise ValueError(f"a cluster has 1 to {_MOST} machines, not {count}")
    return tuple(Machine(number) for number in range(1, count + 1))


def load(root: Path) -> Plan:
    """What `Plan.save` wrote."""
    return msgspec.json.decode((root / "plan.json").read_bytes(), type=Plan, dec_hook=lambda _, value: Path(value))
