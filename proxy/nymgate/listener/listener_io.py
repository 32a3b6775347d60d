"""What the kinds of connections of a listener share: bounds, counters, what they need from whoever took them, and the
two ways to say that something is over.
"""

import asyncio
import contextlib
import select
import socket
import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, Protocol

import structlog

from nymgate.access.admission import AdmissionLimits
from nymgate.access.admission_io import Gate
from nymgate.access.judge import AccessRules
from nymgate.listener.detect import MACHINES, MACHINES_WITH_USERS, STRANGERS, Machine, Speaks
from nymgate.listener.handshake import Connect, Target
from nymgate.listener.upstream import Upstream
from nymgate.refusals import REFUSALS, Refusal, refusal_of

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
    """Streams at once."""
    per_caller: int = 0
    per_destination: int = 0
    queue_per_caller: int = 0
    """Openings that wait while a limit is reached; 0: none, they are refused at once."""
    queue_seconds: float = 20.0
    buffer_bytes: int = 128 << 10
    early_success: bool = False
    resolver: Target | None = None
    """Whom names are looked up at, for applications that ask for that instead of a stream; None: nobody."""

    @property
    def admission(self) -> AdmissionLimits:
        """The part of it that is about streams at once."""
        return AdmissionLimits(self.limit, self.per_caller, self.per_destination, self.queue_per_caller)


FIRST_BYTE_BOUNDS_SECONDS: Final = (0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(slots=True)
class FirstByteTimes:
    """From asking for a stream until its first byte came back, in coarse steps."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(FIRST_BYTE_BOUNDS_SECONDS) + 1))
    """For each bound those up to it and beyond the one before; the last are beyond all."""
    sum_seconds: float = 0.0

    def add(self, seconds: float) -> None:
        """Another stream's."""
        self.counts[bisect_left(FIRST_BYTE_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds


@dataclass(slots=True)
class ServerStats:
    """Counters since start; metrics read them."""

    accepted: int = 0
    streams: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    ended: Counter[str] = field(default_factory=Counter)  # connections, by code; "ok" for clean ends
    first_byte: FirstByteTimes = field(default_factory=FirstByteTimes)
    listeners: "dict[str, Listening]" = field(default_factory=dict)
    """Each with its own counts, by name."""


class Phase(Enum):
    """Where a connection stands."""

    HANDSHAKE = auto()
    OPENING = auto()
    RELAYING = auto()
    LINGERING = auto()
    GONE = auto()


@dataclass(slots=True, eq=False)
class Listening:
    """One address that takes connections, with its counts."""

    name: str
    """As in :attr:`Caller.listener`."""
    speaks: Speaks = Speaks.MIXED
    host: str | None = None
    """The IP address; None for a Unix socket."""
    accepted: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    machines: Mapping[int, Machine] = field(init=False, repr=False)
    """The machine for each first byte."""
    _asked: AccessRules | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.machines = MACHINES[self.speaks]

    def obey(self, access: AccessRules) -> None:
        """These rules hold from now on."""
        self.machines = (MACHINES if access.users is None else MACHINES_WITH_USERS)[self.speaks]
        open_to_all = self.host is None or access.permits_all_of(self.host)
        self._asked = None if open_to_all else access

    def machines_for(self, transport: asyncio.BaseTransport) -> Mapping[int, Machine]:
        """Those for the application at the other end."""
        if self._asked is None:
            return self.machines
        peer = peer_of(transport)
        return self.machines if peer is not None and self._asked.permits(peer) else STRANGERS


def peer_of(transport: asyncio.BaseTransport) -> str | None:
    """The IP address at the other end; None for a Unix socket."""
    peer = transport.get_extra_info("peername")
    return peer[0] if isinstance(peer, tuple) else None


class Guest(Protocol):
    """A connection as the listener that took it sees it."""

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when it ends now."""

    @property
    def kept(self) -> bool:
        """Whether it has served a request and may bring others."""

    async def open_stream(self, request: Connect) -> None:
        """Wait for the gate and the upstream; never raises."""

    def count(self) -> bool:
        """Charge what was carried since the last time to who pays for it. False: they may not go on."""

    def look(self) -> None:
        """End if the application said its last word a while ago, and is not there to hear an answer."""

    def end(self, code: str) -> None:
        """End from outside (shutdown)."""

    def abort(self) -> None:
        """End from outside, whatever the socket still holds."""


class Owner(Protocol):
    """What a connection needs from the listener that took it."""

    upstream: Upstream
    gate: Gate
    options: ServerOptions
    stats: ServerStats
    loop: asyncio.AbstractEventLoop
    says_ends: bool
    """Whether the log has a line for each stream that ended: asking it each time costs more than most of the rest."""

    @property
    def draining(self) -> bool:
        """Whether connections are to end when they can."""

    def admit(self, connection: Guest, listening: Listening) -> bool:
        """Register a new connection; False when there is no room even for a refusal."""

    def replace(self, connection: Guest, heir: Guest) -> None:
        """The connection's socket is the heir's."""

    def forget(self, connection: Guest) -> None:
        """The connection's socket is closed."""

    def spawn(self, connection: Guest, request: Connect) -> asyncio.Task[None]:
        """Run ``connection.open_stream`` in a task."""

    def spawn_login(self, check: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run a connection's check of a login in a task."""

    def warn_once(self, code: str, reason: str) -> None:
        """A log line about misuse of the port, rate-limited."""


def explained(error: Exception) -> Refusal:
    """What to tell an application about an error of the upstream. One without a code is a bug, and logged as such."""
    refusal = refusal_of(error)
    if refusal is None:
        log.error("stream.crashed", exc_info=error)
        refusal = REFUSALS["E_INTERNAL"]
    return refusal


def is_gone(transport: asyncio.BaseTransport) -> bool:
    """Whether nobody is left behind a socket that has had its FIN, which alone does not tell: half a connection may
    stay open for an answer. The kernel knows, of Unix sockets at once and of TCP by its keep-alive, but says so only
    to those who ask: after a FIN the event loop does not read any more.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() < 0:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), 0)  # no event but those that cannot be left out: error, hung up
    return bool(poll.poll(0))


def reset_connection(transport: asyncio.Transport) -> None:
    """Close with RST: the application sees an error, not the end of its data."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
