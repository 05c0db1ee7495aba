"""Which addresses count as one where nobody may have too much of something."""

from __future__ import annotations

import functools
import ipaddress
from collections import Counter
from collections.abc import Iterable

_BITS = 56
"""Of an address of IPv6: one subscriber may have all addresses of such a network, and some have more (RFC 6177)."""
_WIDE_BITS = 48
"""The most that one subscriber has. Others share such a network, so it is no address of its own."""
_COUNTS_AS = 16
"""As so many networks it counts, of the 256 that it has."""


def network_of(address: str) -> str:
    """An address of IPv4 itself, or the network of one of IPv6."""
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, _BITS), strict=False))


@functools.lru_cache(maxsize=4096)
def wide_network_of(network: str) -> str:
    """The /48 around a network of IPv6; anything else itself."""
    address, _, bits = network.partition("/")
    return str(ipaddress.ip_network((address, _WIDE_BITS), strict=False)) if bits else network


def heaviest(networks: Iterable[str]) -> tuple[set[str], int]:
    """The networks that give way, and how many of the given each of them is; one stands there for each thing it has.

    These are the ones with the most. A network of a /48 counts as a part of what the whole /48 has, if that is more:
    who has a /48 would otherwise be 256 networks with little each.
    """
    own = Counter(networks)
    wide = Counter[str]()
    for network, number in own.items():
        wide[wide_network_of(network)] += number

    def weight(network: str) -> tuple[int, int]:
        return max(own[network], wide[wide_network_of(network)] // _COUNTS_AS), own[network]

    most = max(map(weight, own))
    return {network for network in own if weight(network) == most}, most[1]
