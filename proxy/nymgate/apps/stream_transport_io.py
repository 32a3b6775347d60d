"""A stream of the upstream as a transport of asyncio, with TLS on top where it is wanted.

So everything that is written for asyncio's transports and protocols works over the mixnet: stream readers and writers,
HTTP clients, TLS. There is no socket behind it, and therefore no way that a library could connect past the mixnet.
"""

import asyncio
import ssl
from asyncio import sslproto
from collections.abc import Callable
from typing import Any

from nymgate import wiring
from nymgate.errors import NymgateError, Reply, StreamRefused
from nymgate.listener.upstream import Stream
from nymgate.refusals import refusal_of

TLS_HANDSHAKE_SECONDS = 60.0
"""Three round trips through the mixnet, with lost packets and slow servers."""


class StreamBroken(StreamRefused, ConnectionResetError):
    """A stream that ended before its time. Also a ConnectionResetError, which libraries know what to do with."""


def refused(error: Exception, kind: type[StreamRefused] = StreamRefused) -> NymgateError:
    """Any error of the upstream as one of this package, with its SOCKS reply."""
    if isinstance(error, kind):
        return error
    refusal = refusal_of(error)
    if refusal is None:
        broken = kind(
            f"Internal error ({type(error).__name__}).",
            "Report it.",
            code="E_INTERNAL",
            layer="proxy",
            socks_reply=Reply.GENERAL_FAILURE,
        )
    else:
        told = error if isinstance(error, NymgateError) else wiring.explain(error)  # type: ignore[arg-type]
        broken = kind(told.what, told.todo, code=refusal.code, layer=refusal.layer, socks_reply=refusal.reply)
    broken.__cause__ = error
    return broken


class StreamTransport(asyncio.Transport):
    """Nothing moves before :meth:`begin`; what is written before that waits. ``over`` is called once, at the end."""

    _start_tls_compatible = True  # asyncio asks transports that are not its own

    def __init__(
        self, stream: Stream, protocol: asyncio.BaseProtocol, over: Callable[[], None] = lambda: None
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._stream = stream
        self._protocol = protocol
        self._over = over
        self._begun = False
        self._early: list[bytes] = []
        self._closing = False
        self._lost = False
        self._eof = False
        self._ended = False
        self._reading = True

    def begin(self) -> None:
        """Let bytes move."""
        if self._begun:
            return
        self._begun = True
        self._stream.start(self)
        early, self._early = b"".join(self._early), []
        if early and not self._closing:
            self._stream.write(early)
        if self._eof and not self._closing:
            self._stream.write_eof()

    # What protocols call.

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        if self._reading and not self._closing:
            self._reading = False
            self._stream.pause()

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._stream.resume()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        if self._eof:
            raise RuntimeError("nothing can be written after write_eof()")
        if self._begun:
            self._stream.write(bytes(data))
        else:
            self._early.append(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self._closing or self._eof:
            return
        self._eof = True
        if self._begun:
            self._stream.write_eof()

    def get_write_buffer_size(self) -> int:
        return 0  # the stream keeps what is on its way, and says by itself when that is too much

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return 0, 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass  # [streams] buffer

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._stream.close()
            self._end(None)

    def cut(self, error: StreamBroken) -> None:
        """What was written still leaves; who reads hears the error, unless the other side had come to its end."""
        if not self._closing:
            self._closing = True
            self._stream.close()
            self._end(None if self._ended else error)

    def abort(self) -> None:
        self._force_close(None)

    def _force_close(self, error: BaseException | None) -> None:
        """As asyncio's TLS calls it on transports."""
        if not self._closing:
            self._closing = True
            self._stream.abort()
            self._end(error if isinstance(error, Exception) else None)

    # What the stream calls.

    def stream_data(self, data: bytes) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            left = memoryview(data)
            while left and not self._closing:
                room = protocol.get_buffer(len(left))
                taken = min(len(room), len(left))  # type: ignore[arg-type]
                memoryview(room)[:taken] = left[:taken]
                protocol.buffer_updated(taken)
                left = left[taken:]
        elif isinstance(protocol, asyncio.Protocol):
            protocol.data_received(data)

    def stream_eof(self) -> None:
        self._ended = True
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol | asyncio.Protocol) and not protocol.eof_received():
            self.close()

    def stream_ended(self) -> None:
        if not self._closing:
            self._closing = True
            self._end(None)

    def stream_failed(self, error: Exception) -> None:
        if not self._closing:
            self._closing = True
            self._end(refused(error, StreamBroken))

    def stream_paused(self) -> None:
        if not self._closing:
            self._protocol.pause_writing()

    def stream_resumed(self) -> None:
        if not self._closing:
            self._protocol.resume_writing()

    def _end(self, error: Exception | None) -> None:
        self._over()
        self._loop.call_soon(self._connection_lost, error)

    def _connection_lost(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)


async def secure(
    transport: StreamTransport,
    protocol: asyncio.BaseProtocol,
    context: ssl.SSLContext,
    server_hostname: str,
) -> asyncio.Transport:
    """TLS over the transport, before anything has moved on it; the protocol is on top.

    Raises ssl.SSLError if the certificate is not right, StreamBroken or OSError if the stream ends, TimeoutError.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    # Loop.start_tls does the same, but uvloop's wants a transport of its own.
    tls: Any = sslproto.SSLProtocol(loop, protocol, context, waiter, False, server_hostname)
    transport.set_protocol(tls)
    tls.connection_made(transport)
    transport.begin()
    try:
        async with asyncio.timeout(TLS_HANDSHAKE_SECONDS):
            await waiter
    except BaseException:
        transport.abort()
        raise
    secured: asyncio.Transport = tls._get_app_transport()
    return secured
