"""``await``-style reading and writing on a :class:`~nym_exit.stream_io.MixStream`."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, Self

from nym_exit.errors import ExitError, StreamClosed
from nym_exit.stream_io import MixStream

_READ_AHEAD_BYTES: Final = 256 * 1024


class AsyncStream:
    """A small reader and writer in one; takes the place of the stream's consumer.

    One reader and one writer task at a time. As an async context manager it closes the stream, or aborts it
    when the block raises.
    """

    def __init__(self, stream: MixStream) -> None:
        self._stream = stream
        self._parts: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._eof = False
        self._ended = False
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._end = asyncio.Event()
        stream.attach(self)

    @property
    def stream(self) -> MixStream:
        """The callback-style stream below."""
        return self._stream

    async def read(self, limit: int = 65536) -> bytes:
        """Read at most ``limit`` bytes, as soon as there are any; empty at the end of the data.

        Raises:
            ExitError: the stream broke; what arrived before is returned first.
        """
        while not self._parts:
            if self._stream.error is not None:
                raise self._stream.error
            if self._eof or self._ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        part = self._parts.popleft()
        if len(part) > limit:
            self._parts.appendleft(part[limit:])
            part = part[:limit]
        self._waiting_bytes -= len(part)
        if self._waiting_bytes <= _READ_AHEAD_BYTES:
            self._stream.resume_reading()
        return part

    async def write(self, data: bytes) -> None:
        """Send bytes; returns when the stream has room for more.

        Raises:
            ExitError: the stream broke, or was closed.
        """
        self._check_open()
        self._stream.write(data)
        await self._writable.wait()
        self._check_open()

    async def write_eof(self) -> None:
        """Nothing more will be written; reading goes on."""
        self._check_open()
        self._stream.write_eof()

    async def close(self) -> None:
        """End the stream in order and wait until the closing message is on its way."""
        self._stream.close()
        await self._end.wait()

    def abort(self) -> None:
        """End the stream at once."""
        self._stream.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()
        else:
            await self.close()

    # ---- the stream's consumer ----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Keep bytes for :meth:`read`."""
        self._parts.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _READ_AHEAD_BYTES:
            self._stream.pause_reading()
        self._readable.set()

    def eof_received(self) -> None:
        """Let :meth:`read` return the end."""
        self._eof = True
        self._readable.set()

    def stream_ended(self, error: ExitError | None) -> None:
        """Wake everybody up."""
        self._ended = True
        for event in (self._readable, self._writable, self._end):
            event.set()

    def pause_writing(self) -> None:
        """Make :meth:`write` wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let :meth:`write` go on."""
        self._writable.set()

    def _check_open(self) -> None:
        if self._stream.error is not None:
            raise self._stream.error
        if self._ended:
            raise StreamClosed("the stream has ended")
