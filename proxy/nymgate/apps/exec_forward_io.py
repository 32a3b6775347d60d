"""Carries connections that were made inside a namespace to the proxy outside, byte for byte.

The listening sockets come from inside; connections are opened to the addresses of the proxy and to nothing else.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, cast

from nym_mixnet.tasks_io import TaskSet
from nymgate.apps.reachable import Address
from nymgate.listener.listener_io import reset_connection


class _Half(asyncio.Protocol):
    """One of the two sockets of a connection; what comes in here goes out at the other."""

    def __init__(self, forwarder: "Forwarder", outside: Address | None = None) -> None:
        self._forwarder = forwarder
        self._outside = outside
        self.other: _Half | None = None
        self.transport: asyncio.Transport
        self.ended = False
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._forwarder.halves.add(self)
        if self._outside is not None:
            self._forwarder.tasks.spawn(self._connect(self._outside), name="connect")

    async def _connect(self, outside: Address) -> None:
        loop = asyncio.get_running_loop()
        far = _Half(self._forwarder)
        far.other = self
        try:
            await loop.create_connection(lambda: far, *outside)
        except OSError:
            reset_connection(self.transport)
            return
        if self.transport.is_closing():
            far.transport.abort()
            return
        self.other = far
        if self._early:
            early, self._early = self._early, b""
            far.transport.write(early)
            self.transport.resume_reading()
        if self.ended:
            far.transport.write_eof()

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)
        else:  # one piece, until the far side is connected
            self._early += data
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.ended = True
        other = self.other
        if other is None:
            return True
        with contextlib.suppress(OSError, RuntimeError):
            other.transport.write_eof()
        return not other.ended  # the transport closes by itself once both sides have ended

    def pause_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._forwarder.halves.discard(self)
        other, self.other = self.other, None
        if other is None or other.transport.is_closing():
            return
        if error is None and self.ended:
            other.transport.close()
        else:  # a connection that broke off must not look like one that ended
            reset_connection(other.transport)


class Forwarder:
    """Use as an async context manager, then ``serve`` the sockets."""

    def __init__(self) -> None:
        self.halves: set[_Half] = set()
        self.tasks = TaskSet("forwarder")
        self._servers: list[asyncio.Server] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for half in list(self.halves):
            half.transport.abort()
        await self.tasks.close()

    async def serve(self, ways: Sequence[tuple[socket.socket, Address]]) -> None:
        """Take connections from each listening socket to the address beside it."""
        loop = asyncio.get_running_loop()
        for sock, outside in ways:
            sock.setblocking(False)
            self._servers.append(await loop.create_server(_factory(self, outside), sock=sock))


def _factory(forwarder: Forwarder, outside: Address) -> Callable[[], _Half]:
    return lambda: _Half(forwarder, outside)
