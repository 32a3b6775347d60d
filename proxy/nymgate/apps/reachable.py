"""Where applications of this machine reach the proxy, from the addresses that it listens on."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import quote

from nymgate.errors import ConfigError
from nymgate.sections.types import split_address
from nymgate.units import join_address

Address = tuple[str, int]

ISOLATED: Final = "isolated"
"""SOCKS wants a user name beside the password; the password is what tells one application from the other."""


@dataclass(frozen=True, slots=True)
class Login:
    """A user of a proxy that serves the users of its users file only."""

    user: str = field(repr=False)
    password: str = field(repr=False)


class ListenSettings(Protocol):
    """The section ``[listen]``."""

    @property
    def mixed(self) -> Sequence[str]: ...
    @property
    def socks(self) -> Sequence[str]: ...
    @property
    def http(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Reachable:
    """Addresses by what is spoken there, those that speak everything first."""

    socks: tuple[Address, ...]
    http: tuple[Address, ...]

    @classmethod
    def of(cls, mixed: Iterable[Address], socks: Iterable[Address], http: Iterable[Address]) -> "Reachable":
        """From addresses as they were bound: one of all interfaces is reached by loopback."""
        every = [_from_here(address) for address in mixed]
        return cls(
            (*every, *(_from_here(address) for address in socks)),
            (*every, *(_from_here(address) for address in http)),
        )

    @classmethod
    def configured(cls, listen: ListenSettings) -> "Reachable":
        """From the configuration. Addresses that are no host and port (Unix sockets) are left out.

        Raises ConfigError where no address is left, or where the system chooses the port at start.
        """
        found = cls.of(_parsed(listen.mixed), _parsed(listen.socks), _parsed(listen.http))
        known = cls(
            tuple(address for address in found.socks if address[1]),
            tuple(address for address in found.http if address[1]),
        )
        if known.socks or known.http:
            return known
        if found.socks or found.http:
            raise ConfigError(
                "The port of the proxy is 0, so the system chooses one at start and nobody knows it before.",
                'Give listen.mixed a port, such as "127.0.0.1:1080".',
            )
        raise ConfigError(
            "The configuration has no address of host and port that applications could use.",
            'Give one as listen.mixed, such as "127.0.0.1:1080".',
        )

    def socks_url(self, isolate: str | None = None, login: Login | None = None) -> str | None:
        """``socks5h://…``: the h leaves names to the proxy. None without a SOCKS listener."""
        return proxy_url("socks5h", self.socks[0], isolate, login) if self.socks else None

    def http_url(self, isolate: str | None = None, login: Login | None = None) -> str | None:
        """``http://…``, None without an HTTP listener."""
        return proxy_url("http", self.http[0], isolate, login) if self.http else None


def proxy_url(scheme: str, address: Address, isolate: str | None = None, login: Login | None = None) -> str:
    """The URL of a proxy. ``isolate`` sets an application apart from others: as the password, or with a login, whose
    password is checked, as what follows a + in the user name.
    """
    name, password = (ISOLATED, isolate or "") if login is None else (login.user, login.password)
    if login is not None and isolate:
        name = f"{name}+{isolate}"
    credential = f"{quote(name, safe='')}:{quote(password, safe='')}@" if password else ""
    return f"{scheme}://{credential}{join_address(*address)}"


def _parsed(addresses: Iterable[str]) -> list[Address]:
    found = []
    for text in addresses:
        try:
            found.append(split_address(text))
        except ValueError:
            continue
    return found


def _from_here(address: Address) -> Address:
    ip = ipaddress.ip_address(address[0])
    if not ip.is_unspecified:
        return address
    return ("127.0.0.1" if ip.version == 4 else "::1"), address[1]
