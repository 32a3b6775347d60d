"""What the kinds of connections of a listener share: bounds, counters, what they need from whoever took them, and the
two ways to say that something is over.
"""

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

import structlog

from nymgate.caller import Caller
from nymgate.credential import Credential
from nymgate.detect import MACHINES, Machine, Speaks
from nymgate.handshake import Target
from nymgate.refusals import REFUSALS, Refusal, refusal_of
from nymgate.upstream import Upstream

log = structlog.get_logger("nymgate.listener")

LINGER_SECONDS: Final = 2.0
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Bounds of the listener; defaults as in ``config.Streams``."""

    handshake_timeout_seconds: float = 10.0
    keep_alive_seconds: float = 60.0
    """How long an HTTP application may keep its connection without a request."""
    limit: int = 1000
    buffer_bytes: int = 128 << 10
    early_success: bool = False


@dataclass(slots=True)
class ServerStats:
    """Counters since start; the metrics of a later version read them."""

    accepted: int = 0
    streams: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    ended: Counter[str] = field(default_factory=Counter)  # connections, by code; "ok" for clean ends


class Phase(Enum):
    """Where a connection stands."""

    HANDSHAKE = auto()
    OPENING = auto()
    RELAYING = auto()
    LINGERING = auto()
    GONE = auto()


@dataclass(slots=True)
class Listening:
    """One address that takes connections."""

    name: str
    """As in :attr:`Caller.listener`."""
    speaks: Speaks = Speaks.MIXED
    machines: Mapping[int, Machine] = field(init=False, repr=False)
    """The machine for each first byte."""

    def __post_init__(self) -> None:
        self.machines = MACHINES[self.speaks]

    def caller(
        self, transport: asyncio.BaseTransport, credential: Credential | None, token: str | None
    ) -> Caller:
        """Who asks for a stream over this connection."""
        peer = transport.get_extra_info("peername")
        return Caller(
            self.name,
            peer[0] if isinstance(peer, tuple) else None,
            None,
            credential.joined() if credential is not None else None,
            token,
        )


class Guest(Protocol):
    """A connection as the listener that took it sees it."""

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when it ends now."""

    async def open_stream(self, target: Target, caller: Caller) -> None:
        """Wait for the upstream; never raises."""

    def end(self, code: str) -> None:
        """End from outside (shutdown)."""

    def abort(self) -> None:
        """End from outside, whatever the socket still holds."""


class Owner(Protocol):
    """What a connection needs from the listener that took it."""

    upstream: Upstream
    options: ServerOptions
    stats: ServerStats
    loop: asyncio.AbstractEventLoop

    @property
    def draining(self) -> bool:
        """Whether connections are to end when they can."""

    def admit(self, connection: Guest) -> bool:
        """Register a new connection; False when there is no room even for a refusal."""

    def may_open(self) -> bool:
        """Whether another stream fits."""

    def replace(self, connection: Guest, heir: Guest) -> None:
        """The connection's socket is the heir's."""

    def forget(self, connection: Guest) -> None:
        """The connection's socket is closed."""

    def spawn(self, connection: Guest, target: Target, caller: Caller) -> asyncio.Task[None]:
        """Run ``connection.open_stream`` in a task."""

    def warn_once(self, code: str, reason: str) -> None:
        """A log line about misuse of the port, rate-limited."""


def explained(error: Exception) -> Refusal:
    """What to tell an application about an error of the upstream. One without a code is a bug, and logged as such."""
    refusal = refusal_of(error)
    if refusal is None:
        log.error("stream.crashed", exc_info=error)
        refusal = REFUSALS["E_INTERNAL"]
    return refusal


def reset_connection(transport: asyncio.Transport) -> None:
    """Close with RST: the application sees an error, not the end of its data."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
