"""The proxy's own requests through the mixnet: to directory, chain and signers, without a listener in between.

Each connection of aiohttp gets one end of a socket pair; the other end is bridged to a stream of a mixnet identity. So
the proxy needs no user name where applications need one, its own needs are subject to nobody's rules and limits, and
each identity asks the directory by itself.
"""

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import aiohttp

from nym_exit.errors import ExitError
from nymgate.errors import NymgateError
from nymgate.listener.handshake import Target
from nymgate.listener.upstream import Stream
from nymgate.ways.mixnet_connector_io import MixnetConnector

Opens = Callable[[Target], Awaitable[Stream]]


def inside_connector(opens: Opens) -> Callable[[], aiohttp.BaseConnector]:
    """A factory of connectors whose connections are streams that ``opens`` opened."""
    return lambda: _InsideConnector(opens)


class _InsideConnector(MixnetConnector):
    def __init__(self, opens: Opens) -> None:
        super().__init__()
        self._opens = opens

    async def _open(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> socket.socket:
        try:
            stream = await self._opens(Target(host, port))
        except (ExitError, NymgateError) as error:
            raise ConnectionRefusedError(0, f"the mixnet gave no connection: {_words(error)}") from error
        ours, theirs = socket.socketpair()
        try:
            ours.setblocking(False)
            theirs.setblocking(False)
            await loop.connect_accepted_socket(lambda: _Bridge(stream), theirs)
        except BaseException:
            ours.close()
            theirs.close()
            stream.abort()
            raise
        return ours


def _words(error: Exception) -> str:
    return error.what if isinstance(error, NymgateError) else str(error)


class _Bridge(asyncio.Protocol):
    """The far end of the pair: what aiohttp writes goes up the stream, what the stream brings goes to aiohttp."""

    _transport: asyncio.Transport

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._open = True

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._stream.start(self)

    def data_received(self, data: bytes) -> None:
        if self._open:
            self._stream.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        # aiohttp closes nothing by halves: the end of what it writes is the end.
        if self._open:
            self._open = False
            if error is None:
                self._stream.close()
            else:
                self._stream.abort()

    def pause_writing(self) -> None:
        if self._open:
            self._stream.pause()

    def resume_writing(self) -> None:
        if self._open:
            self._stream.resume()

    # What the stream calls.

    def stream_data(self, data: bytes) -> None:
        self._transport.write(data)

    def stream_eof(self) -> None:
        with contextlib.suppress(OSError):
            self._transport.write_eof()

    def stream_ended(self) -> None:
        self._open = False
        self._transport.close()

    def stream_failed(self, _error: Exception) -> None:
        self._open = False
        self._transport.abort()

    def stream_paused(self) -> None:
        self._transport.pause_reading()

    def stream_resumed(self) -> None:
        self._transport.resume_reading()
