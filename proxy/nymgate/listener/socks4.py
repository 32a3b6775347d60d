"""SOCKS4 and SOCKS4a as an application speaks them to us: a sans-IO machine and its state table.

One request, one answer of eight bytes: ``VN CD PORT(2) IP(4) USERID NUL [HOST NUL]``, the host only where the
address is 0.0.0.x with x not zero (4a). There is no text of the protocol in the RFCs; its author's notes are in
every implementation. The user id only keeps streams apart. CONNECT only; every refusal is 0x5B, the protocol has no
finer word. Tor's RESOLVE (socks-extensions §2) is answered with an IPv4 address where the port and address of an
answer stand; RESOLVE_PTR does not fit.
"""

from collections.abc import Mapping
from enum import Enum, auto
from ipaddress import IPv4Address
from typing import Final

from nymgate.listener.credential import credential
from nymgate.listener.handshake import Action, Connect, Lookup, Refuse, Target, bad_host
from nymgate.refusals import Refusal

VERSION: Final = 4
COMMAND_CONNECT: Final = 1
COMMAND_RESOLVE: Final = 0xF0  # Tor's, spoken over 4a as well
GRANTED, REJECTED = 0x5A, 0x5B
USER_BYTES: Final = 512  # longer user ids are nobody's
HOST_BYTES: Final = 255
_FIXED_BYTES: Final = 8
_SUCCESS: Final = bytes((0, GRANTED)) + bytes(6)
_REJECTION: Final = bytes((0, REJECTED)) + bytes(6)


class State(Enum):
    """How far a connection has come."""

    REQUEST = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    REFUSED = auto()


class Event(Enum):
    """What the bytes, or the upstream, brought."""

    CONNECT = auto()
    BAD_REQUEST = auto()
    SUCCEEDED = auto()
    FAILED = auto()


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.REQUEST, Event.CONNECT): State.CONNECTING,
    (State.REQUEST, Event.BAD_REQUEST): State.REFUSED,
    (State.CONNECTING, Event.SUCCEEDED): State.CONNECTED,
    (State.CONNECTING, Event.FAILED): State.REFUSED,
}


def refuse(code: str, reason: str) -> Refuse:
    """A refusal of the table as SOCKS4 says it."""
    return Refuse(_REJECTION, code, reason)


class Socks4Handshake:
    """The machine of one connection; see ``handshake.Handshake`` for the contract."""

    __slots__ = ("_buffer", "rest", "state")

    def __init__(self) -> None:
        self.state = State.REQUEST
        self.rest = b""
        self._buffer = b""

    def feed(self, data: bytes) -> list[Action]:
        """Take bytes, in pieces of any size."""
        if self.state is not State.REQUEST:
            return []
        self._buffer += data
        found = _scan(self._buffer)
        if found is None:
            return []
        event, used, action = found
        if event is Event.CONNECT:
            self.rest = self._buffer[used:]
        self._buffer = b""
        self._move(event)
        return [action]

    def authenticated(self, ok: bool) -> list[Action]:
        """Never asked: there is no Authenticate."""
        raise AssertionError("nobody was to be checked")

    def succeeded(self, found: str | None = None) -> bytes:
        """The reply that starts the stream, or tells the IPv4 address that was found."""
        self._move(Event.SUCCEEDED)
        return _SUCCESS if found is None else bytes((0, GRANTED, 0, 0)) + IPv4Address(found).packed

    def failed(self, refusal: Refusal) -> bytes:
        """The reply that says that there is no stream: one word for every reason."""
        self._move(Event.FAILED)
        return _REJECTION

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]


_Found = tuple[Event, int, Action]


def _scan(data: bytes) -> _Found | None:
    """A whole request, refused as soon as a byte says so. None: more bytes are needed."""
    if not data:
        return None
    if data[0] != VERSION:
        return _bad("E_SOCKS_SYNTAX", "this is not SOCKS4")
    if len(data) < 2:
        return None
    if data[1] not in (COMMAND_CONNECT, COMMAND_RESOLVE):
        return _bad("E_SOCKS_COMMAND", "BIND is not supported" if data[1] == 2 else "unknown command")
    if len(data) < _FIXED_BYTES:
        return None
    user_end = data.find(0, _FIXED_BYTES, _FIXED_BYTES + USER_BYTES + 1)
    if user_end < 0:
        if len(data) > _FIXED_BYTES + USER_BYTES:
            return _bad("E_SOCKS_SYNTAX", "the user id does not end")
        return None
    port, address = int.from_bytes(data[2:4], "big"), data[4:8]
    if address[:3] != bytes(3) or address[3] == 0:
        host: str | None = f"{address[0]}.{address[1]}.{address[2]}.{address[3]}"
        host = "" if address == bytes(4) else host
        return _connect(data[1], host, port, data[_FIXED_BYTES:user_end], user_end + 1)
    start = user_end + 1
    host_end = data.find(0, start, start + HOST_BYTES + 1)
    if host_end < 0:
        if len(data) > start + HOST_BYTES:
            return _bad("E_SOCKS_SYNTAX", "the host does not end")
        return None
    return _connect(data[1], _name(data[start:host_end]), port, data[_FIXED_BYTES:user_end], host_end + 1)


def _connect(command: int, host: str | None, port: int, user: bytes, end: int) -> _Found:
    lookup = Lookup.IPV4_ADDRESS if command == COMMAND_RESOLVE else None
    if not host or (port == 0 and lookup is None):
        return _bad("E_BAD_TARGET", "not a host and port that can be connected to")
    return Event.CONNECT, end, Connect(Target(host, port), credential(user, b""), lookup=lookup)


def _name(raw: bytes) -> str | None:
    try:
        host = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    return None if bad_host(host) else host


def _bad(code: str, reason: str) -> _Found:
    return Event.BAD_REQUEST, 0, refuse(code, reason)
