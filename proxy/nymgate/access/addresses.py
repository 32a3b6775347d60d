"""Host names and addresses as rules have to see them: every spelling of one thing alike, private places known.

A destination is resolved at the exit, by a resolver that takes more for an address than ``ipaddress`` does. So a host
is read here in every way that some resolver reads it, and a rule looks at all of them:

* ``0x7f.1``, ``2130706433``, ``0177.0.0.1``: old spellings of IPv4 (inet_aton), octal or not;
* ``::ffff:127.0.0.1``, ``64:ff9b::7f00:1``, ``2002:7f00:1::``: IPv6 addresses that stand for one of IPv4;
* trailing dots, upper case, full-width digits and dots, names in their own script or in punycode.
"""

import ipaddress
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA's registries of special addresses: all that is not for everybody on the internet.
PRIVATE_NETWORKS: Final[tuple[Network, ...]] = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        *(
            "::/128",
            "::1/128",
            "100::/64",
            "2001:db8::/32",
            "3fff::/20",
            "5f00::/16",
            "fc00::/7",
            "fe80::/10",
        ),
        *("fec0::/10", "ff00::/8"),
    )
)
# Names that no public resolver answers for: RFC 6761, 6762, 7686, 8375, 9476, and what routers use.
PRIVATE_SUFFIXES: Final = frozenset(
    (
        *("localhost", "localdomain", "local", "internal", "intranet", "private", "corp", "home", "lan"),
        *("home.arpa", "invalid", "onion", "alt", "localhost6", "localdomain6", "in-addr.arpa", "ip6.arpa"),
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")
_DOTS: Final = str.maketrans({"。": ".", "．": ".", "｡": "."})


@dataclass(frozen=True, slots=True)
class Place:
    """A host, read in every way."""

    names: frozenset[str] = field(repr=False)
    """Lower case, without dot at the end; in punycode too. Empty where all readings are addresses."""
    addresses: frozenset[Address] = field(repr=False)
    """What it stands for as an address, those inside of an IPv6 address included."""

    @property
    def is_private(self) -> bool:
        """Whether any reading is a place of one machine or one house."""
        return any(map(address_is_private, self.addresses)) or any(map(name_is_private, self.names))


@lru_cache(maxsize=1024)
def place(host: str) -> Place:
    """All readings of a host as it comes from an application."""
    names: set[str] = set()
    addresses: set[Address] = set()
    plain = host.strip().translate(_DOTS)
    spellings = {plain} if plain.isascii() else {plain, unicodedata.normalize("NFKC", plain)}
    for spelling in spellings:
        text = spelling.translate(_DOTS).rstrip(".").lower()
        found = set(_addresses(text))
        addresses |= found
        if not found:
            names |= set(_names(text))
    return Place(frozenset(names), frozenset(addresses))


def _names(text: str) -> Iterator[str]:
    yield text
    if text.isascii():
        return
    for spelling in (text, text.casefold()):
        for encode in (_punycode, _nameprep):
            encoded = encode(spelling)
            if encoded:
                yield encoded


def _nameprep(text: str) -> str:
    try:
        return text.encode("idna").decode("ascii").lower()
    except UnicodeError:
        return ""


def _punycode(text: str) -> str:
    """As IDNA 2008 writes it, where a letter such as ß stays what it is."""
    labels = []
    for label in text.split("."):
        try:
            labels.append(label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii"))
        except UnicodeError:
            return ""
    return ".".join(labels)


def _addresses(text: str) -> Iterator[Address]:
    inner = text.removeprefix("[").removesuffix("]").partition("%")[0]  # a zone is of the machine that has it
    if ":" in inner:
        try:
            six = ipaddress.IPv6Address(inner)
        except ValueError:
            return
        if six.ipv4_mapped is not None:  # every kernel connects to that one
            yield six.ipv4_mapped
            return
        yield six
        yield from embedded(six)
        return
    yield from _old_ipv4(text)


def _old_ipv4(text: str) -> Iterator[ipaddress.IPv4Address]:
    """``a``, ``a.b``, ``a.b.c`` and ``a.b.c.d``, each number decimal, octal or hexadecimal (inet_aton)."""
    parts = text.split(".")
    if not 1 <= len(parts) <= 4:
        return
    for octal in (True, False):
        numbers = [_number(part, octal=octal) for part in parts]
        *high, low = numbers
        if low is None or low >= 256 ** (5 - len(parts)) or any(n is None or n > 255 for n in high):
            continue
        value = low
        for index, number in enumerate(high):
            value += (number or 0) << (24 - 8 * index)
        yield ipaddress.IPv4Address(value)


def _number(text: str, *, octal: bool) -> int | None:
    if not text.isascii() or len(text) > 64:
        return None
    try:
        if text.startswith("0x"):
            return int(text[2:] or "0", 16) if "_" not in text else None
        if not text.isdigit():
            return None
        return int(text, 8) if octal and text.startswith("0") else int(text)
    except ValueError:
        return None


def embedded(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """Addresses of IPv4 that one of IPv6 leads to."""
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    compatible = address in _COMPATIBLE and int(address) > 0xFFFF  # below stand :: and ::1
    if compatible or address in _NAT64 or address in _NAT64_LOCAL:
        yield low


def address_is_private(address: Address) -> bool:
    """Whether it is no address of the public internet."""
    return any(address in network for network in PRIVATE_NETWORKS if network.version == address.version)


def name_is_private(name: str) -> bool:
    """Whether no public resolver answers for it: a name without a dot, or below a suffix of that kind."""
    labels = name.split(".")
    return len(labels) == 1 or any(".".join(labels[-count:]) in PRIVATE_SUFFIXES for count in (1, 2))


def plain_address(text: str) -> Address | None:
    """The address of an application's end of a connection; IPv4 where it is only dressed as IPv6."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped if mapped is not None else address
