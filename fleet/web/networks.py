"""Which addresses count as one where nobody may have too much of something."""

from __future__ import annotations

import ipaddress

_BITS = 56
"""Of an address of IPv6: one subscriber may have all addresses of such a network, and some have more (RFC 6177)."""


def network_of(address: str) -> str:
    """An address of IPv4 itself, or the network of one of IPv6."""
    known = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    if known.ipv4_mapped is not None:
        return str(known.ipv4_mapped)
    return str(ipaddress.ip_network((known, _BITS), strict=False))
