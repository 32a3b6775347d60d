"""Where streams may go: allow and deny by name, network and port; private places refused unless permitted.

A pattern is a host and perhaps ports, ``host`` or ``host:ports``::

    example.com            that name                 192.0.2.0/24, 192.0.2.7     a network, an address
    *.example.com          names below it            [2001:db8::/32]             the same of IPv6
    .example.com           both                      *                           everything
    ports: 443   80,443   8000-8999                  *:25, [::1]:22, example.com:80,443

A refused destination is refused, and that is all: nothing ever goes there another way.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from nymgate.access.addresses import PRIVATE_NETWORKS, Network, Place, name_is_private, place
from nymgate.listener.handshake import Target


class Verdict(StrEnum):
    """What the rules say, as a reason that names no destination."""

    PERMITTED = "permitted"
    DENIED = "it is on the list of those denied"
    NOT_LISTED = "it is not on the list of those allowed"
    PRIVATE = "it is a private, local or internal place"


@dataclass(frozen=True, slots=True)
class Pattern:
    """One entry of a list."""

    names: frozenset[str] = frozenset()
    """One name, lower case, as each edition of IDNA writes it in ASCII; none for a network or ``*``."""
    itself: bool = True
    below: bool = False
    network: Network | None = None
    ports: tuple[tuple[int, int], ...] = ()
    """Ranges, both ends included; none means all."""

    def has_port(self, port: int) -> bool:
        return not self.ports or any(first <= port <= last for first, last in self.ports)

    def has_name(self, name: str) -> bool:
        """Whether a reading that is a name is meant."""
        if self.network is not None:
            return False
        if not self.names:
            return True
        return (self.itself and name in self.names) or (
            self.below and any(name.endswith("." + mine) for mine in self.names)
        )

    def has_address(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        """Whether a reading that is an address is meant."""
        if self.network is None:
            return not self.names
        return address.version == self.network.version and address in self.network

    def has_any(self, where: Place, port: int) -> bool:
        """Whether one reading is meant: enough to deny."""
        return self.has_port(port) and (
            any(map(self.has_name, where.names)) or any(map(self.has_address, where.addresses))
        )

    @property
    def names_private_places(self) -> bool:
        """Whether it means private places and nothing else, so that allowing it permits them."""
        if self.network is not None:
            network = self.network
            return any(
                network.version == known.version and network.subnet_of(known)  # type: ignore[arg-type]
                for known in PRIVATE_NETWORKS
            )
        return any(map(name_is_private, self.names))


def parse_pattern(text: str) -> Pattern:
    """A pattern as it is written in the configuration. ValueError says what is wrong."""
    host, ports = _split(text.strip())
    if not host:
        raise ValueError("no host; write * for any")
    ranges = tuple(_range(part) for part in ports.split(",")) if ports else ()
    if host == "*":
        return Pattern(ports=ranges)
    inner = host.removeprefix("[").removesuffix("]")
    try:
        return Pattern(network=_unmapped(ipaddress.ip_network(inner, strict=False)), ports=ranges)
    except ValueError:
        if "/" in host or ":" in host or host.startswith("["):
            raise ValueError("not a network") from None
    below = host.startswith(("*.", "."))
    name = host.removeprefix("*") if below else host
    readings = place(name.removeprefix("."))
    if (
        "*" in name
        or not any(map(str.isascii, readings.names))
        or any(not label for label in name.strip(".").split("."))
    ):
        raise ValueError("a * may only stand at the beginning, as in *.example.com")
    ascii_names = frozenset(filter(str.isascii, readings.names))
    return Pattern(ascii_names, not host.startswith("*."), below, None, ranges)


def _unmapped(network: Network) -> Network:
    """IPv4 in the dress of IPv6 is IPv4."""
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _split(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError("an open bracket")
        return host + bracket, rest[1:]
    if text.count(":") > 1:
        return text, ""  # IPv6 without brackets has no port
    host, colon, ports = text.partition(":")
    if colon and not ports:
        raise ValueError("no port behind the colon")
    return host, ports


def _range(text: str) -> tuple[int, int]:
    first, dash, last = text.strip().partition("-")
    if not first.isascii() or not first.isdigit() or (dash and not (last.isascii() and last.isdigit())):
        raise ValueError("ports are numbers, lists and ranges: 80,443,8000-8999")
    low, high = int(first), int(last) if dash else int(first)
    if not 0 < low <= high < 65536:
        raise ValueError("ports go from 1 to 65535")
    return low, high


@dataclass(frozen=True, slots=True)
class DestinationRules:
    """The lists, ready for use. The default permits everything."""

    allow: tuple[Pattern, ...] = ()
    """Empty: everything that is not denied."""
    deny: tuple[Pattern, ...] = ()
    private: bool = True
    """Whether private places are permitted as others are."""
    _trivial: bool = field(init=False, repr=False, default=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_trivial", not self.allow and not self.deny and self.private)

    def judge(self, target: Target) -> Verdict:
        """What happens to a stream that is asked for."""
        if self._trivial:
            return Verdict.PERMITTED
        where, port = place(target.host), target.port
        if any(pattern.has_any(where, port) for pattern in self.deny):
            return Verdict.DENIED
        private = where.is_private
        if self.allow and not self._allowed(where, port, self.allow):
            return Verdict.PRIVATE if private and not self.private else Verdict.NOT_LISTED
        if private and not self.private and not self._allowed(where, port, self._private_allow()):
            return Verdict.PRIVATE
        return Verdict.PERMITTED

    def _private_allow(self) -> tuple[Pattern, ...]:
        return tuple(pattern for pattern in self.allow if pattern.names_private_places)

    @staticmethod
    def _allowed(where: Place, port: int, patterns: tuple[Pattern, ...]) -> bool:
        """Whether every reading is meant by some pattern: what an exit may take for an address is none's name."""
        patterns = tuple(pattern for pattern in patterns if pattern.has_port(port))
        if where.addresses:
            return all(any(p.has_address(address) for p in patterns) for address in where.addresses)
        names = [name for name in where.names if name.isascii()]
        return bool(names) and all(any(p.has_name(name) for p in patterns) for name in names)


EVERYWHERE: Final = DestinationRules()


def destination_rules(allow: Sequence[str], deny: Sequence[str], *, private: bool) -> DestinationRules:
    """The rules of a configuration. ValueError as :func:`parse_pattern`."""
    return DestinationRules(tuple(map(parse_pattern, allow)), tuple(map(parse_pattern, deny)), private)
