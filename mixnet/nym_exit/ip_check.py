"""Which addresses belong to the public internet, as the reference's exit sees it (docs/protocol/05 §5.3).

Spelled out instead of taken from ``ipaddress.is_global``: that one changes between Python versions and
differs (multicast, for one, counts as global here).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, TypeAlias

IpAddress: TypeAlias = IPv4Address | IPv6Address


def _v4_ranges(*networks: str) -> tuple[tuple[int, int], ...]:
    return tuple(_range(IPv4Network(network)) for network in networks)


def _v6_ranges(*networks: str) -> tuple[tuple[int, int], ...]:
    return tuple(_range(IPv6Network(network)) for network in networks)


def _range(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    return int(network.network_address), int(network.broadcast_address)


_V4_LOCAL: Final = _v4_ranges(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "240.0.0.0/4",
)
_V4_GLOBAL_AFTER_ALL: Final = _v4_ranges("192.0.0.9/32", "192.0.0.10/32")

_V6_LOCAL: Final = _v6_ranges(
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
)
_V6_GLOBAL_AFTER_ALL: Final = _v6_ranges(
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/27",
)


def _within(value: int, ranges: Iterable[tuple[int, int]]) -> bool:
    return any(low <= value <= high for low, high in ranges)


def is_global(address: IpAddress) -> bool:
    """Whether an exit may connect to ``address`` without ``allow_local_ips``."""
    value = int(address)
    if isinstance(address, IPv4Address):
        return not _within(value, _V4_LOCAL) or _within(value, _V4_GLOBAL_AFTER_ALL)
    return not _within(value, _V6_LOCAL) or _within(value, _V6_GLOBAL_AFTER_ALL)
