"""Networks that were made: a name, labels and a range of addresses; the containers in one share a network namespace.

Its ranges are of the loopback's: a network namespace has all of these addresses at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from harness.doubles.engine.errors import Refused
from harness.doubles.engine.events import label_fits
from harness.doubles.engine.manners import Manners
from harness.doubles.engine.records import Record

_FIRST, _MOST = 80, 250
"""The second byte of the ranges that are given out: 127.80.0.0/24 and so on."""


class Range(msgspec.Struct, rename="pascal"):
    """Addresses of a network."""

    subnet: str = ""


class Ipam(msgspec.Struct, rename="pascal"):
    """How a network gives addresses."""

    config: list[Range] | None = None


class Network(msgspec.Struct, rename="pascal"):
    """A network, as the API shows it. `chosen` is whether the engine chose its range."""

    name: str
    id: str = msgspec.field(default_factory=lambda: secrets.token_hex(32))
    labels: dict[str, str] | None = None
    ipam: Ipam = msgspec.field(default_factory=Ipam, name="IPAM")
    driver: str = "bridge"
    chosen: bool = False


class Networks:
    """Those below `folder`: `<name>.json`."""

    def __init__(self, folder: Path, manners: Manners) -> None:
        """Use what earlier runs left there."""
        self._folder = folder
        self._manners = manners
        self.joining: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Held while a container of a network starts: the first one makes its namespace."""
        folder.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> Network:
        """The network of the name.

        Raises:
            Refused: 404 there is none.
        """
        file = self._folder / f"{name}.json"
        if not file.exists():
            raise Refused(404, f"network {name} not found")
        return msgspec.json.decode(file.read_bytes(), type=Network)

    def labelled(self, labels: Sequence[str]) -> list[Network]:
        """Those with all of the labels."""
        return [
            network for network in self._every() if all(label_fits(network.labels or {}, label) for label in labels)
        ]

    def make(self, wanted: Network) -> Network:
        """A new network.

        Raises:
            Refused: 409 there is one of the name already, or of its range; podman says it with a 500.
        """
        if (self._folder / f"{wanted.name}.json").exists():
            there = f"network name {wanted.name} already used: network already exists"
            raise Refused(409, f"network with name {wanted.name} already exists", (500, there))
        taken = [self._range(network) for network in self._every()]
        if wanted.ipam.config:
            if any(self._range(wanted).overlaps(subnet) for subnet in taken):
                raise Refused(
                    403, "Pool overlaps with other one on this address space", (500, "subnet is already used")
                )
        else:
            wanted.chosen = True
            wanted.ipam = Ipam([Range(self._free(taken))])
        (self._folder / f"{wanted.name}.json").write_bytes(msgspec.json.encode(wanted))
        return wanted

    def remove(self, name: str, containers: Iterable[Record]) -> None:
        """Make it gone.

        Raises:
            Refused: 404 there is none; 403 a container that runs is in it, for podman one that does not run, too.
        """
        self.find(name)
        for container in containers:
            if name in container.networks and (container.state.running or self._manners.is_podman):
                held = f'"{name}" has associated containers with it. Use -f to forcibly delete: network is being used'
                raise Refused(403, f"error while removing network: network {name} has active endpoints", (500, held))
        (self._folder / f"{name}.json").unlink()

    def check(self, record: Record) -> None:
        """Look at what a container wants of its networks.

        Raises:
            Refused: there is no such network, or it gives no such address.
        """
        for name in record.networks:
            network = self.find(name)
            address = record.address(name)
            if address and network.chosen and not self._manners.is_podman:
                raise Refused(
                    400,
                    "user specified IP address is supported only when connecting to networks with user configured "
                    "subnets",
                )
            if address and ipaddress.ip_address(address) not in self._range(network):
                raise Refused(400, f"no configured subnet contains IP address {address}")

    def join(self, record: Record) -> None:
        """A container starts in its networks.

        Raises:
            Refused: 404 one of them is gone, or was made anew since it was started first; 400 it has another range.
        """
        for name in record.networks:
            network, address = self.find(name), record.address(name)
            before = record.joined.get(name, network.id)
            if before != network.id:
                raise Refused(404, f"network {before} not found")
            if address and ipaddress.ip_address(address) not in self._range(network):
                raise Refused(400, f"Invalid address {address}: It does not belong to any of this network's subnets")
            record.joined[name] = network.id

    def _every(self) -> list[Network]:
        return [msgspec.json.decode(file.read_bytes(), type=Network) for file in self._folder.glob("*.json")]

    def _range(self, network: Network) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(network.ipam.config[0].subnet if network.ipam.config else "")

    def _free(self, taken: list[ipaddress.IPv4Network]) -> str:
        for number in range(_FIRST, _MOST):
            subnet = ipaddress.IPv4Network(f"127.{number}.0.0/24")
            if not any(subnet.overlaps(used) for used in taken):
                return str(subnet)
        raise Refused(403, "could not find an available, non-overlapping IPv4 address pool", (500, "no free subnet"))
