"""Which next hops a node of this network talks to.

docs/protocol/04 §10.3: a real node filters its next hops by the published directory. Here loopback is
always allowed and nothing else is, except the addresses of nodes that were listed from outside: a packet
built by anyone must not make a test network connect to the world.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from nym_sphinx import NodeAddress

IpAddress = IPv4Address | IPv6Address


class PeerFilter:
    """Loopback plus a fixed set of addresses."""

    __slots__ = ("_listed",)

    def __init__(self, listed: Iterable[IpAddress] = ()) -> None:
        self._listed = frozenset(listed)

    def allows(self, address: NodeAddress) -> bool:
        """True when packets may be sent there."""
        return address.port != 0 and (address.ip.is_loopback or address.ip in self._listed)
