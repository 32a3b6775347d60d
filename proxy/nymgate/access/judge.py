"""Who may use the proxy at all: addresses of applications, users, destinations; and where it may listen.

Pure values, made from the configuration at the start and again at each reload.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from nymgate.access.addresses import Network, plain_address
from nymgate.access.rules import EVERYWHERE, DestinationRules
from nymgate.access.users import Users

LOOPBACK: Final[tuple[Network, ...]] = (
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv6Network("::1/128"),
)


@dataclass(frozen=True, slots=True)
class AccessRules:
    """The default: applications of this machine, without names, to everywhere."""

    allow: tuple[Network, ...] = LOOPBACK
    """Addresses that applications may have. Empty: any. Unix sockets have none and are for whoever may open them."""
    users: Users | None = field(default=None, repr=False)
    """None: nobody has to say who they are."""
    destinations: DestinationRules = EVERYWHERE

    def permits(self, peer: str) -> bool:
        """Whether an application at that IP address may connect."""
        if not self.allow:
            return True
        address = plain_address(peer)
        return address is not None and any(
            address in network for network in self.allow if network.version == address.version
        )

    def permits_all_of(self, host: str) -> bool:
        """Whether nobody who can reach a listener at that address has to be asked for theirs."""
        return not self.allow or (is_loopback(host) and set(LOOPBACK) <= set(self.allow))


OPEN_TO_THIS_MACHINE: Final = AccessRules()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a listener at that address."""
    address = plain_address(host)
    return address is not None and address.is_loopback


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks or single addresses. ValueError otherwise."""
    return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts)


def allowed_networks(written: Sequence[str], *, users: bool) -> tuple[Network, ...]:
    """``access.allow`` as it is meant: nothing written is this machine, or with users everybody."""
    if written:
        return parse_networks(written)
    return () if users else LOOPBACK


def exposed(hosts: Sequence[str], allow: Sequence[str], *, users: bool) -> str | None:
    """The first address that must not be listened on: others reach it, and nothing says who they may be."""
    if users:
        return None
    written = parse_networks(allow)
    if written and not any(network.prefixlen == 0 for network in written):
        return None
    return next((host for host in hosts if not is_loopback(host)), None)
