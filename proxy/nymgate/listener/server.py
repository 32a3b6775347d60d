"""The listener: listening sockets, the connections they took, and the bounds that hold for all of them.

What happens on a connection is in ``connection_io``. Nothing here connects anywhere: the only sockets are those of
listeners and applications.
"""

import asyncio
import contextlib
import functools
import logging
import resource
import socket
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from nym_mixnet.tasks_io import TaskSet
from nymgate.access.admission_io import Gate
from nymgate.access.judge import OPEN_TO_THIS_MACHINE, AccessRules
from nymgate.access.usage_io import UsageKeeper
from nymgate.errors import ListenError
from nymgate.listener.connection_io import Connection
from nymgate.listener.detect import Speaks
from nymgate.listener.handshake import Connect
from nymgate.listener.listener_io import Guest, Listening, ServerOptions, ServerStats
from nymgate.listener.unix_socket_io import bind_unix
from nymgate.listener.upstream import Upstream
from nymgate.units import join_address

__all__ = ["ServerOptions", "ServerStats", "SocksServer"]

log = structlog.get_logger("nymgate.listener")

BACKLOG: Final = 1024
# asyncio takes this many connections in one go, and again before those beyond the limit are closed: a few times it
# has to fit into RESERVED_DESCRIPTORS.
ACCEPTED_AT_ONCE: Final = 16
# Connections without a stream: idle ones, those that wait for their turn, those that get a refusal.
CONNECTIONS_BEYOND_LIMIT: Final = 4096
METER_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 15.0
# An application whose machine was switched off says nothing more: its streams end after two minutes. Connections take
# over what is set on the socket that took them, so this costs none of them a call.
KEEP_ALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 20), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)  # macOS has other names
    ),
)
# For gateway, nym-api, store and log when applications take all they can get.
RESERVED_DESCRIPTORS: Final = 128


class SocksServer:
    """All listening sockets of a proxy and the connections they took."""

    def __init__(
        self,
        upstream: Upstream,
        options: ServerOptions | None = None,
        access: AccessRules = OPEN_TO_THIS_MACHINE,
        usage_file: Path | None = None,
    ) -> None:
        """``usage_file``: where the bytes that users have used up are kept; None: nowhere, for as long as this runs."""
        self.upstream = upstream
        self.options = options or ServerOptions()
        self.gate = Gate(self.options.admission, access, self.options.queue_seconds)
        self._usage = UsageKeeper(self.gate.usage, usage_file) if usage_file is not None else None
        self._keeping_books = False
        self.says_ends = _debugs()
        self.stats = ServerStats()
        self.loop = asyncio.get_running_loop()
        self._connections: set[Guest] = set()
        self._servers: list[asyncio.AbstractServer] = []
        self._unix: list[tuple[Path, int]] = []
        self._tasks = TaskSet("listener")
        self._warned: dict[str, float] = {}
        self._draining = False
        self._empty = asyncio.Event()
        self._empty.set()
        self._descriptors = 1 << 20
        self._most = self._room()

    async def __aenter__(self) -> Self:
        self._descriptors = raise_descriptor_limit()
        self._most = self._room()
        if self.gate.asks_for_users:
            if self._usage is not None:
                await self._usage.sync()
            self._keep_books()
        self._tasks.spawn(self._look_after(), name="half-open")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_listening()
        for connection in list(self._connections):
            connection.abort()
        await self._empty.wait()  # transports call connection_lost on a later turn of the loop
        await self._tasks.close()
        if self._usage is not None and self._keeping_books:
            await self._usage.sync()
        self.gate.close()

    async def listen(
        self, addresses: Sequence[tuple[str, int]], speaks: Speaks = Speaks.MIXED
    ) -> list[tuple[str, int]]:
        """Take connections on these addresses; returns them with the ports the system chose for port 0."""
        bound: list[tuple[str, int]] = []
        for host, port in addresses:
            try:
                sock = socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
                bound.append((host, sock.getsockname()[1]))
                await self.adopt(sock, speaks)
            except OSError as error:
                raise listen_error(join_address(host, port), error) from error
        return bound

    async def listen_unix(self, path: Path, speaks: Speaks = Speaks.MIXED, mode: int = 0o600) -> None:
        """Take connections on a Unix socket, made with that mode and removed at the end."""
        try:
            sock, inode = bind_unix(path, mode, BACKLOG)
            self._unix.append((path, inode))
            await self.adopt(sock, speaks)
        except OSError as error:
            raise listen_error(f"unix:{path}", error) from error

    async def adopt(self, sock: socket.socket, speaks: Speaks = Speaks.MIXED) -> str:
        """Take connections on a socket that listens already; returns the name of its address."""
        sock.setblocking(False)
        unix = sock.family == socket.AF_UNIX
        if not unix:
            for level, option, value in KEEP_ALIVE:
                sock.setsockopt(level, option, value)
        address = sock.getsockname()
        host = None if unix else address[0]
        listening = Listening(f"unix:{address}" if unix else join_address(*address[:2]), speaks, host)
        listening.obey(self.gate.access)
        factory = functools.partial(Connection, self, listening)
        create = self.loop.create_unix_server if unix else self.loop.create_server
        server = await create(factory, sock=sock, backlog=ACCEPTED_AT_ONCE)
        sock.listen(BACKLOG)  # the line above made the kernel's queue as short as its own turns
        self._servers.append(server)
        self.stats.listeners[listening.name] = listening
        return listening.name

    def stop_listening(self) -> None:
        """Take no more connections."""
        self._draining = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        for path, inode in self._unix:
            with contextlib.suppress(OSError):
                if path.stat().st_ino == inode:  # and not a successor's
                    path.unlink()
        self._unix.clear()

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

    def reload(self, options: ServerOptions, access: AccessRules | None = None) -> None:
        """Other limits and rules from now on. Streams that are open stay; kept connections without a request end, so
        that their next one is judged anew."""
        self.options = options
        self._most = self._room()
        self.loop.call_soon(self._heed_log)  # which changes next
        access = access if access is not None else self.gate.access
        self.gate.change(options.admission, access, options.queue_seconds)
        for listening in self.stats.listeners.values():
            listening.obey(access)
        for connection in list(self._connections):
            if connection.idle and connection.kept:
                connection.end("ok")
        if self.gate.asks_for_users:
            self._keep_books()

    def _heed_log(self) -> None:
        self.says_ends = _debugs()

    def _keep_books(self) -> None:
        """Where there are users: what they use up."""
        if self._keeping_books:
            return
        self._keeping_books = True
        self._tasks.spawn(self._meter(), name="quotas")
        if self._usage is not None:
            self._tasks.spawn(self._usage.keep(), name="usage")

    async def _look_after(self) -> None:
        """Find those whose application closed its socket while its destination stays silent: such a stream would be
        open, and count, for as long as the destination likes."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for connection in list(self._connections):
                connection.look()

    async def _meter(self) -> None:
        """End the streams of users who have nothing left, within a second."""
        while True:
            await asyncio.sleep(METER_SECONDS)
            for connection in list(self._connections):
                if not connection.count():
                    log.info("stream.broken", code="E_QUOTA", layer="proxy")
                    connection.end("E_QUOTA")

    @property
    def open_connections(self) -> int:
        """Applications connected, in any phase."""
        return len(self._connections)

    def _room(self) -> int:
        wanted = self.options.limit + CONNECTIONS_BEYOND_LIMIT
        return min(wanted, max(16, self._descriptors - RESERVED_DESCRIPTORS))

    # For Connection.

    @property
    def draining(self) -> bool:
        """Whether connections are to end when they can."""
        return self._draining

    def admit(self, connection: Guest, listening: Listening) -> bool:
        """Register a new connection; False when even the room for refusals is full, or at shutdown."""
        self.stats.accepted += 1
        listening.accepted += 1
        self._connections.add(connection)
        self._empty.clear()
        return len(self._connections) <= self._most and not self._draining

    def replace(self, connection: Guest, heir: Guest) -> None:
        """The connection's socket is the heir's."""
        self._connections.discard(connection)
        self._connections.add(heir)

    def forget(self, connection: Guest) -> None:
        """The connection's socket is closed."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def spawn(self, connection: Guest, request: Connect) -> asyncio.Task[None]:
        """Wait for the gate and the upstream in a task of its own."""
        return self._tasks.spawn(connection.open_stream(request), name="open stream")

    def spawn_login(self, check: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Check a login in a task of its own."""
        return self._tasks.spawn(check, name="login")

    def warn_once(self, code: str, reason: str, every_seconds: float = 60.0) -> None:
        """A log line about misuse of the port, at most one a minute for each kind."""
        now = time.monotonic()
        if now - self._warned.get(code, -every_seconds) >= every_seconds:
            self._warned[code] = now
            log.warning("listener.refused", code=code, reason=reason)


def _debugs() -> bool:
    return bool(log.bind().is_enabled_for(logging.DEBUG))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one; returns what holds now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return soft if soft != resource.RLIM_INFINITY else 1 << 20


def listen_error(shown: str, error: OSError) -> ListenError:
    """What to say when an address cannot be had."""
    return ListenError(
        f"Cannot listen on {shown}: {error.strerror or error}.",
        "Stop the program that uses the port, or choose another with --listen or [listen] mixed.",
    )
