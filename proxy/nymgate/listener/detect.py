"""Tells by the first byte which protocol an application speaks, so that one port serves them all.

SOCKS4 begins with 4, SOCKS5 with 5, HTTP with a letter of its method, and nothing else is served. A listener may be
restricted to some of them; the others then get an answer in their own language that says what the port is for.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final

from nymgate.listener import http_connect, socks4, socks5
from nymgate.listener.handshake import Action, Handshake, Refuse
from nymgate.refusals import REFUSALS, Refusal

TLS_HANDSHAKE: Final = 0x16
_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
# A fatal alert, protocol_version, as a TLS client expects it from a server that cannot serve it (RFC 8446 §6).
_TLS_ALERT: Final = bytes((0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x46))
_NO_METHOD: Final = bytes((socks5.VERSION, socks5.NO_ACCEPTABLE_METHOD))

Machine = Callable[[], Handshake]


class Speaks(Enum):
    """What a listener serves."""

    MIXED = "SOCKS4, 4a, 5 and HTTP"
    SOCKS = "SOCKS4, 4a and 5"
    HTTP = "HTTP"


class Unserved:
    """The machine of a protocol that the port does not serve: refuses at the first byte."""

    __slots__ = ("_refusal", "rest")

    def __init__(self, refusal: Refuse) -> None:
        self._refusal = refusal
        self.rest = b""

    def feed(self, data: bytes) -> list[Action]:
        """Take bytes; see ``handshake.Handshake``."""
        return [self._refusal] if data else []

    def authenticated(self, ok: bool) -> list[Action]:
        """Never asked: there is no Authenticate."""
        raise AssertionError("nothing was asked for")

    def succeeded(self, found: str | None = None) -> bytes:
        """Never asked: there is no Connect."""
        raise AssertionError("nothing was asked for")

    def failed(self, refusal: Refusal) -> bytes:
        """Never asked: there is no Connect."""
        raise AssertionError("nothing was asked for")


def _unserved(code: str, data: bytes) -> Machine:
    refusal = Refuse(data, code, REFUSALS[code].text)
    return lambda: Unserved(refusal)


_UNKNOWN: Final = _unserved("E_UNKNOWN_PROTOCOL", b"")
_SOCKS: Final[dict[int, Machine]] = {
    socks5.VERSION: socks5.Socks5Handshake,
    socks4.VERSION: socks4.Socks4Handshake,
}
_HTTP: Final[dict[int, Machine]] = dict.fromkeys(_LETTERS, http_connect.HttpHandshake)
_TLS: Final[dict[int, Machine]] = {TLS_HANDSHAKE: _unserved("E_TLS", _TLS_ALERT)}

MACHINES: Final[Mapping[Speaks, Mapping[int, Machine]]] = {
    Speaks.MIXED: _SOCKS | _HTTP | _TLS,
    Speaks.SOCKS: dict.fromkeys(_LETTERS, _unserved("E_NOT_SOCKS", http_connect.refuse("E_NOT_SOCKS").data))
    | _SOCKS
    | _TLS,
    Speaks.HTTP: {
        socks5.VERSION: _unserved("E_NOT_HTTP", _NO_METHOD),
        socks4.VERSION: _unserved("E_NOT_HTTP", socks4.refuse("E_NOT_HTTP", "").data),
    }
    | _HTTP
    | _TLS,
}


def _with_users(row: Mapping[int, Machine]) -> Mapping[int, Machine]:
    """The same for a listener that serves users only. SOCKS4 has no place for a password."""
    instead: dict[Machine, Machine] = {
        socks5.Socks5Handshake: lambda: socks5.Socks5Handshake(users=True),
        socks4.Socks4Handshake: _unserved("E_AUTH_REQUIRED", socks4.refuse("E_AUTH_REQUIRED", "").data),
    }
    return {first: instead.get(machine, machine) for first, machine in row.items()}


MACHINES_WITH_USERS: Final[Mapping[Speaks, Mapping[int, Machine]]] = {
    speaks: _with_users(row) for speaks, row in MACHINES.items()
}
STRANGERS: Final[Mapping[int, Machine]] = {
    socks5.VERSION: _unserved("E_ACCESS", _NO_METHOD),
    socks4.VERSION: _unserved("E_ACCESS", socks4.refuse("E_ACCESS", "").data),
    **dict.fromkeys(_LETTERS, _unserved("E_ACCESS", http_connect.refuse("E_ACCESS").data)),
    **_TLS,
}
"""For applications whose address may not use the proxy: each is told so in its own language."""


def machine_for(first: int, machines: Mapping[int, Machine]) -> Handshake:
    """The machine for a connection that begins with this byte, of a listener's row of the table."""
    return machines.get(first, _UNKNOWN)()
