"""SOCKS5 (RFC 1928) as an application speaks it to us: a sans-IO machine and its state table.

CONNECT, and Tor's RESOLVE and RESOLVE_PTR (socks-extensions §2), which are answered and over. User name and password
(RFC 1929) are preferred where they are offered: without a users file whatever they are is right, and keeps streams
apart as with Tor (socks-extensions §1.1); with one they are asked for. The names of CONNECT are not resolved: they
travel to the exit as they are.

Datagrams would start here: UDP ASSOCIATE becomes an action beside Connect whose answer names a relay, once an exit can
carry them (``nym_exit``; docs/protocol/06 has the IP packet router).

The table :data:`TRANSITIONS` is all there is to the order of things; ``_scan_*`` turn bytes into its events.
"""

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import Final, cast

from nymgate.errors import Reply
from nymgate.listener.credential import Credential, credential
from nymgate.listener.handshake import (
    Action,
    Answer,
    Authenticate,
    Connect,
    Lookup,
    Refuse,
    Target,
    bad_host,
    is_address,
)
from nymgate.refusals import REFUSALS, Refusal

VERSION: Final = 5
NO_AUTHENTICATION: Final = 0x00
USER_AND_PASSWORD: Final = 0x02
NO_ACCEPTABLE_METHOD: Final = 0xFF
LOGIN_VERSION: Final = 1  # RFC 1929
COMMAND_CONNECT: Final = 1
# Tor's RESOLVE and RESOLVE_PTR.
LOOKUPS: Final = {0xF0: Lookup.ADDRESS, 0xF1: Lookup.NAME}
ADDRESS_IPV4, ADDRESS_DOMAIN, ADDRESS_IPV6 = 1, 3, 4
_ADDRESS_BYTES: Final = {ADDRESS_IPV4: 4, ADDRESS_IPV6: 16}
_BOUND_ADDRESS: Final = bytes((0, ADDRESS_IPV4)) + bytes(
    6
)  # reserved, 0.0.0.0:0: the exit does not tell where it is
_SUCCESS: Final = bytes((VERSION, Reply.SUCCEEDED)) + _BOUND_ADDRESS


class State(Enum):
    """How far a connection has come."""

    GREETING = auto()
    LOGIN = auto()
    CHECKING = auto()
    REQUEST = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    REFUSED = auto()


class Event(Enum):
    """What the bytes, or the upstream, brought."""

    METHODS = auto()
    LOGIN_ASKED = auto()
    LOGIN_GIVEN = auto()
    LOGIN_RIGHT = auto()
    LOGIN_WRONG = auto()
    NO_METHOD = auto()
    FOREIGN = auto()
    CONNECT = auto()
    BAD_REQUEST = auto()
    SUCCEEDED = auto()
    FAILED = auto()


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.GREETING, Event.METHODS): State.REQUEST,
    (State.GREETING, Event.LOGIN_ASKED): State.LOGIN,
    (State.LOGIN, Event.LOGIN_GIVEN): State.CHECKING,
    (State.LOGIN, Event.BAD_REQUEST): State.REFUSED,
    (State.CHECKING, Event.LOGIN_RIGHT): State.REQUEST,
    (State.CHECKING, Event.LOGIN_WRONG): State.REFUSED,
    (State.GREETING, Event.NO_METHOD): State.REFUSED,
    (State.GREETING, Event.FOREIGN): State.REFUSED,
    (State.REQUEST, Event.CONNECT): State.CONNECTING,
    (State.REQUEST, Event.BAD_REQUEST): State.REFUSED,
    (State.CONNECTING, Event.SUCCEEDED): State.CONNECTED,
    (State.CONNECTING, Event.FAILED): State.REFUSED,
}


def reply(code: int) -> bytes:
    """A full reply, ten bytes (docs/protocol/05 §7.1: the reference's two-byte one is not conforming)."""
    return bytes((VERSION, code)) + _BOUND_ADDRESS


def told(found: str) -> bytes:
    """A full reply with what was looked up: an address, or a name of at most 255 characters."""
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        name = found.encode("ascii")
        where = bytes((ADDRESS_DOMAIN, len(name))) + name
    else:
        where = bytes((ADDRESS_IPV4 if address.version == 4 else ADDRESS_IPV6,)) + address.packed
    return bytes((VERSION, Reply.SUCCEEDED, 0)) + where + bytes(2)


def refuse(code: str, reason: str) -> Refuse:
    """A refusal of the table as a full reply."""
    return Refuse(reply(REFUSALS[code].reply), code, reason)


class Socks5Handshake:
    """The machine of one connection; see ``handshake.Handshake`` for the contract."""

    __slots__ = ("_buffer", "_credential", "_users", "rest", "state")

    def __init__(self, *, users: bool = False) -> None:
        """With ``users`` only they are served, and whether one is, is asked by Authenticate."""
        self.state = State.GREETING
        self._users = users
        self._credential: Credential | None = None
        self.rest = b""
        self._buffer = b""

    def feed(self, data: bytes) -> list[Action]:
        """Take bytes, in pieces of any size."""
        self._buffer = self._buffer + data if self._buffer else data
        actions: list[Action] = []
        while (scan := _SCANNERS.get(self.state)) is not None:
            found = scan(self._buffer)
            if found is None:
                break
            event, used, action = found
            if event is Event.METHODS and self._users:
                event, action = Event.NO_METHOD, _LOGIN_MISSING
            self._move(event)
            self._buffer = self._buffer[used:]
            if event is Event.CONNECT and self._credential is not None:
                action = replace(cast("Connect", action), credential=self._credential)
            elif isinstance(action, Authenticate):
                self._credential = credential(action.credential.name, action.credential.password)
                if not self._users:
                    self._move(Event.LOGIN_RIGHT)
                    action = _LOGIN_TAKEN
            actions.append(action)
        if self.state is State.CONNECTING:
            self.rest, self._buffer = self._buffer, b""
        elif self.state is State.REFUSED:
            self._buffer = b""
        return actions

    def authenticated(self, ok: bool) -> list[Action]:
        """The answer to Authenticate, and what follows from bytes that are here already."""
        if not ok:
            self._move(Event.LOGIN_WRONG)
            self._buffer = b""
            return [Refuse(_LOGIN_REFUSED, "E_AUTH_FAILED", REFUSALS["E_AUTH_FAILED"].text)]
        self._move(Event.LOGIN_RIGHT)
        return [_LOGIN_TAKEN, *self.feed(b"")]

    def succeeded(self, found: str | None = None) -> bytes:
        """The reply that starts the stream, or tells what was found."""
        self._move(Event.SUCCEEDED)
        return _SUCCESS if found is None else told(found)

    def failed(self, refusal: Refusal) -> bytes:
        """The reply that says why there is no stream."""
        self._move(Event.FAILED)
        return reply(refusal.reply)

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]


# What a scanner finds: the event, the bytes it took, what to do. None: more bytes are needed.
_Found = tuple[Event, int, Action]


def _scan_greeting(data: bytes) -> _Found | None:
    """VER NMETHODS METHODS…"""
    if not data:
        return None
    if data[0] != VERSION:
        return Event.FOREIGN, len(data), refuse("E_SOCKS_SYNTAX", "this is not SOCKS5")
    if len(data) < 2 or len(data) < 2 + data[1]:
        return None
    end = 2 + data[1]
    if USER_AND_PASSWORD in data[2:end]:
        return Event.LOGIN_ASKED, end, _LOGIN_CHOSEN
    if NO_AUTHENTICATION in data[2:end]:
        return Event.METHODS, end, _NO_AUTHENTICATION_CHOSEN
    refusal = bytes((VERSION, NO_ACCEPTABLE_METHOD))
    return (
        Event.NO_METHOD,
        end,
        Refuse(refusal, "E_SOCKS_METHOD", "the application insists on authentication"),
    )


def _scan_login(data: bytes) -> _Found | None:
    """VER ULEN UNAME PLEN PASSWD"""
    if not data:
        return None
    if data[0] != LOGIN_VERSION:
        refusal = Refuse(_LOGIN_REFUSED, "E_SOCKS_SYNTAX", "the login does not start with version 1")
        return Event.BAD_REQUEST, 0, refusal
    if len(data) < 2 or len(data) < 3 + data[1]:
        return None
    start = 3 + data[1]
    end = start + data[start - 1]
    if len(data) < end:
        return None
    return Event.LOGIN_GIVEN, end, Authenticate(Credential(data[2 : start - 1], data[start:end]))


def _scan_request(data: bytes) -> _Found | None:
    """VER CMD RSV ATYP ADDRESS PORT, refused as soon as a byte says so."""
    if not data:
        return None
    if data[0] != VERSION:
        return _bad("E_SOCKS_SYNTAX", "the request does not start with version 5")
    if len(data) < 4:
        return None
    kind = data[3]
    if kind == ADDRESS_DOMAIN:
        if len(data) < 5:
            return None
        start, length = 5, data[4]
    elif kind in _ADDRESS_BYTES:
        start, length = 4, _ADDRESS_BYTES[kind]
    else:
        return _bad("E_SOCKS_ADDRESS", "unknown address type")
    end = start + length + 2
    if len(data) < end:
        return None
    host, port = _host(kind, data[start : end - 2]), int.from_bytes(data[end - 2 : end], "big")
    if (lookup := LOOKUPS.get(data[1])) is not None:
        if host is None or (lookup is Lookup.NAME and not is_address(host)):
            return _bad("E_BAD_TARGET", "not a host that can be looked up")
        return Event.CONNECT, end, Connect(Target(host, port), lookup=lookup)
    if data[1] != COMMAND_CONNECT:
        return _bad("E_SOCKS_COMMAND", _COMMANDS.get(data[1], "unknown command"))
    if host is None or port == 0:
        return _bad("E_BAD_TARGET", "not a host and port that can be connected to")
    return Event.CONNECT, end, Connect(Target(host, port))


def _host(kind: int, raw: bytes) -> str | None:
    if kind == ADDRESS_IPV4:
        return f"{raw[0]}.{raw[1]}.{raw[2]}.{raw[3]}"
    if kind == ADDRESS_IPV6:
        return str(ipaddress.IPv6Address(raw))
    try:
        host = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]  # some applications send a URL's host as it stands there
    return None if bad_host(host) else host


def _bad(code: str, reason: str) -> _Found:
    return Event.BAD_REQUEST, 0, refuse(code, reason)


_NO_AUTHENTICATION_CHOSEN: Final = Answer(bytes((VERSION, NO_AUTHENTICATION)))
_LOGIN_CHOSEN: Final = Answer(bytes((VERSION, USER_AND_PASSWORD)))
_LOGIN_TAKEN: Final = Answer(bytes((LOGIN_VERSION, 0)))
_LOGIN_REFUSED: Final = bytes((LOGIN_VERSION, 1))
_LOGIN_MISSING: Final = Refuse(
    bytes((VERSION, NO_ACCEPTABLE_METHOD)), "E_AUTH_REQUIRED", REFUSALS["E_AUTH_REQUIRED"].text
)
_COMMANDS: Final = {
    2: "BIND is not supported",
    3: "UDP ASSOCIATE is not supported: the exit carries TCP only",
}
_SCANNERS: Final[Mapping[State, Callable[[bytes], _Found | None]]] = {
    State.GREETING: _scan_greeting,
    State.LOGIN: _scan_login,
    State.REQUEST: _scan_request,
}
