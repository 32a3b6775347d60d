"""The listener: listening sockets, the connections they took, and the bounds that hold for all of them.

What happens on a connection is in ``connection_io``. Nothing here connects anywhere: the only sockets are those of
listeners and applications.
"""

import asyncio
import contextlib
import functools
import resource
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import structlog

from nym_mixnet.tasks_io import TaskSet
from nymgate.caller import Caller
from nymgate.connection_io import Connection
from nymgate.detect import Speaks
from nymgate.errors import ListenError
from nymgate.handshake import Target
from nymgate.listener_io import Guest, Listening, ServerOptions, ServerStats
from nymgate.upstream import Upstream

__all__ = ["ServerOptions", "ServerStats", "SocksServer"]

log = structlog.get_logger("nymgate.listener")

BACKLOG: Final = 1024
# asyncio takes this many connections in one go, and again before those beyond the limit are closed: a few times it
# has to fit into RESERVED_DESCRIPTORS.
ACCEPTED_AT_ONCE: Final = 16
# Connections that are heard out, so that they get a reply, once streams are full.
HANDSHAKES_BEYOND_LIMIT: Final = 256
# For gateway, nym-api, store and log when applications take all they can get.
RESERVED_DESCRIPTORS: Final = 128


class SocksServer:
    """All listening sockets of a proxy and the connections they took."""

    def __init__(self, upstream: Upstream, options: ServerOptions | None = None) -> None:
        self.upstream = upstream
        self.options = options or ServerOptions()
        self.stats = ServerStats()
        self.loop = asyncio.get_running_loop()
        self._connections: set[Guest] = set()
        self._servers: list[asyncio.Server] = []
        self._tasks = TaskSet("listener")
        self._warned: dict[str, float] = {}
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._most = self.options.limit + HANDSHAKES_BEYOND_LIMIT

    async def __aenter__(self) -> Self:
        self._most = min(self._most, max(16, raise_descriptor_limit() - RESERVED_DESCRIPTORS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_listening()
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()  # transports call connection_lost on a later turn of the loop
        await self._tasks.close()

    async def listen(
        self, addresses: Sequence[tuple[str, int]], speaks: Speaks = Speaks.MIXED
    ) -> list[tuple[str, int]]:
        """Take connections on these addresses; returns them with the ports the system chose for port 0."""
        bound: list[tuple[str, int]] = []
        for host, port in addresses:
            try:
                sock = socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
                sock.setblocking(False)
                listening = Listening(shown_address(host, sock.getsockname()[1]), speaks)
                server = await self.loop.create_server(
                    functools.partial(Connection, self, listening), sock=sock, backlog=ACCEPTED_AT_ONCE
                )
                sock.listen(BACKLOG)  # create_server made the kernel's queue as short as its own turns
            except OSError as error:
                raise listen_error(host, port, error) from error
            self._servers.append(server)
            bound.append((host, sock.getsockname()[1]))
        return bound

    def stop_listening(self) -> None:
        """Take no more connections."""
        self._draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def drain(self, limit_seconds: float) -> bool:
        """Stop listening, let streams end by themselves within the limit. True if all did."""
        self.stop_listening()
        for connection in list(self._connections):
            if connection.idle:
                connection.end("E_SHUTDOWN")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                await self._empty.wait()
        return not self._connections

    @property
    def open_connections(self) -> int:
        """Applications connected, in any phase."""
        return len(self._connections)

    # For Connection.

    @property
    def draining(self) -> bool:
        """Whether connections are to end when they can."""
        return self._draining

    def admit(self, connection: Guest) -> bool:
        """Register a new connection; False when even the room for refusals is full, or at shutdown."""
        self.stats.accepted += 1
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= self._most and not self._draining

    def may_open(self) -> bool:
        """Whether another stream fits."""
        return self.stats.streams < self.options.limit and not self._draining

    def replace(self, connection: Guest, heir: Guest) -> None:
        """The connection's socket is the heir's."""
        self._connections.discard(connection)
        self._connections.add(heir)

    def forget(self, connection: Guest) -> None:
        """The connection's socket is closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def spawn(self, connection: Guest, target: Target, caller: Caller) -> asyncio.Task[None]:
        """Wait for the upstream in a task of its own."""
        return self._tasks.spawn(connection.open_stream(target, caller), name="open stream")

    def warn_once(self, code: str, reason: str, every_seconds: float = 60.0) -> None:
        """A log line about misuse of the port, at most one a minute for each kind."""
        now = time.monotonic()
        if now - self._warned.get(code, -every_seconds) >= every_seconds:
            self._warned[code] = now
            log.warning("listener.refused", code=code, reason=reason)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def shown_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def listen_error(host: str, port: int, error: OSError) -> ListenError:
    """What to say when an address cannot be had."""
    return ListenError(
        f"Cannot listen on {shown_address(host, port)}: {error.strerror or error}.",
        "Stop the program that uses the port, or choose another with --listen or [listen] mixed.",
    )
