"""What the listener asks of a protocol that applications speak to it: the seam between bytes and streams.

A handshake is a sans-IO machine. The server feeds it what arrives and does what the returned actions say, in
order:

* :class:`Answer`: write these bytes;
* :class:`Authenticate`: see whether name and password are a user's; the outcome comes back by ``authenticated(ok)``;
* :class:`Connect`: open a stream to this target, or look its host up; the outcome comes back by ``succeeded()``
  or ``failed(refusal)``;
* :class:`Forward`: these are plain HTTP requests, ``http_forward``'s business from here on;
* :class:`Refuse`: write these bytes (may be none) and hang up; the code says why, for the log.

After :class:`Connect` the machine takes no more bytes: whatever else arrived is the application's, see
``rest``.
"""

import ipaddress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

from nymgate.listener.credential import Credential
from nymgate.refusals import Refusal

MAX_HOST_CHARACTERS: Final = 255
_IN_NO_NAME: Final = frozenset(' "\\/@[]')


@dataclass(frozen=True, slots=True)
class Target:
    """Where an application wants to go. Its text is scrubbed, or it would end up in logs and exceptions."""

    host: str = field(repr=False)  # a name, or an IPv4 or IPv6 literal without brackets
    port: int = field(repr=False)

    def __str__(self) -> str:
        return "<destination>"

    def reveal(self) -> str:
        """``host:port`` for a log in which destinations were asked for."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """Write these bytes and go on."""

    data: bytes


class Lookup(Enum):
    """What an application may want to know of a host instead of going there: Tor's RESOLVE and RESOLVE_PTR."""

    ADDRESS = auto()
    IPV4_ADDRESS = auto()
    NAME = auto()


@dataclass(frozen=True, slots=True)
class Connect:
    """The application said where it wants to go, and perhaps who it is."""

    target: Target
    credential: Credential | None = None
    token: str | None = field(default=None, repr=False)
    lookup: Lookup | None = None
    """It wants no stream, only this of the host; the port says nothing."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The application said who it is, and waits to hear whether that is right before it says more."""

    credential: Credential


@dataclass(frozen=True, slots=True)
class Refuse:
    """Write these bytes and hang up."""

    data: bytes
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Forward:
    """The application sends HTTP requests to be forwarded; all bytes so far are their beginning."""

    data: bytes = field(repr=False)


Action = Answer | Authenticate | Connect | Refuse | Forward


class Handshake(Protocol):
    """One connection's talk before its stream is up."""

    rest: bytes
    """Bytes that came after the request: the first of the stream."""

    def feed(self, data: bytes) -> list[Action]:
        """Take bytes, in pieces of any size. After Connect, Forward or Refuse nothing more is fed."""

    def authenticated(self, ok: bool) -> list[Action]:
        """The answer to Authenticate; what the application sent meanwhile is taken then."""

    def succeeded(self, found: str | None = None) -> bytes:
        """What tells the application that its stream is up, or what was found of the host."""

    def failed(self, refusal: Refusal) -> bytes:
        """What tells the application that there will be no stream, and why."""


def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def bad_host(host: str) -> str | None:
    """What is wrong with a host that an application sent, or None. The rest is the exit's business."""
    if not host:
        return "empty"
    if len(host) > MAX_HOST_CHARACTERS:
        return "too long"
    # Blanks and control characters are in no name, and would let a name forge lines of a log or an HTTP
    # header.
    if not host.isprintable() or not _IN_NO_NAME.isdisjoint(host):
        return "characters that no host name has"
    return None
