"""Transfers whose end is judged: whole with the right SHA-256, or broken off with an error. Nothing else passes.

A transfer that stands still, ends early without an error, or brings a wrong byte fails the test that made it.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bench.load import body
from tests.nymgate.socks_client import through

CHUNK_BYTES = 65_536
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transfer ended: `error` is None for a whole one with the right checksum."""

    moved: int
    seconds: float
    error: str | None = None

    @property
    def whole(self) -> bool:
        return self.error is None

    def __str__(self) -> str:
        end = self.error or "whole"
        rate = self.moved / 1000 / self.seconds
        return f"{end}, {self.moved / 1e6:.2f} MB in {self.seconds:.1f} s, {rate:.0f} kB/s"


class Progress:
    """How far a transfer is, for those who wait for a part of it."""

    def __init__(self) -> None:
        self.moved = 0
        self.ended = False
        self._marks: list[tuple[int, asyncio.Event]] = []

    def add(self, count: int) -> None:
        self.moved += count
        self._wake()

    def end(self) -> None:
        self.ended = True
        self._wake()

    async def reach(self, mark: int) -> None:
        """Wait until so many bytes have come; fails if the transfer ends before."""
        event = asyncio.Event()
        self._marks.append((mark, event))
        self._wake()
        await event.wait()
        assert self.moved >= mark, f"the transfer ended after {self.moved} bytes, before the fault"

    def _wake(self) -> None:
        for mark, event in self._marks:
            if self.ended or self.moved >= mark:
                event.set()


async def download(
    proxy: int, server: int, size: int, *, limit: float, progress: Progress | None = None
) -> Outcome:
    """GET `size` bytes of `bench.load.http_server` within `limit` seconds."""
    progress = progress or Progress()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        await reader.readuntil(b"\r\n\r\n")
        digest = hashlib.sha256()
        while progress.moved < size:
            data = await reader.read(min(CHUNK_BYTES, size - progress.moved))
            assert data, f"an end without an error after {progress.moved} of {size} bytes"
            digest.update(data)
            progress.add(len(data))
        assert digest.digest() == hashlib.sha256(body(size)).digest(), "wrong bytes came"

    return await _judged(proxy, server, exchange, progress, limit)


async def upload(
    proxy: int, server: int, size: int, *, limit: float, progress: Progress | None = None
) -> Outcome:
    """PUT `size` bytes within `limit` seconds, until the server has confirmed their SHA-256."""
    progress = progress or Progress()

    async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        payload = body(size)
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for start in range(0, size, CHUNK_BYTES):
            part = payload[start : start + CHUNK_BYTES]
            writer.write(part)
            await writer.drain()
            progress.add(len(part))
        await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(64)
        assert answer.decode() == hashlib.sha256(payload).hexdigest(), "wrong bytes arrived"

    return await _judged(proxy, server, exchange, progress, limit)


async def _judged(
    proxy: int,
    server: int,
    exchange: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    progress: Progress,
    limit: float,
) -> Outcome:
    started = time.monotonic()
    error = None
    try:
        async with asyncio.timeout(limit), through(proxy, HOST, server) as (reader, writer, code):
            if code:
                error = f"SOCKS reply {code}"
            else:
                await exchange(reader, writer)
    except ConnectionError as broken:
        error = type(broken).__name__
    except asyncio.IncompleteReadError as short:
        raise AssertionError("an end without an error, in the middle of an answer") from short
    except TimeoutError:
        raise AssertionError(f"it hangs: {progress.moved} bytes in {limit} s") from None
    finally:
        progress.end()
    return Outcome(progress.moved, time.monotonic() - started, error)


async def disturbed(
    transfer: Coroutine[Any, Any, Outcome],
    progress: Progress,
    mark: int,
    fault: Callable[[], Awaitable[None]],
) -> Outcome:
    """Run a transfer, and the fault when `mark` bytes of it have come."""
    try:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(transfer)
            await progress.reach(mark)
            await fault()
    except* AssertionError as errors:
        raise errors.exceptions[0] from None
    return task.result()


async def until_whole(transfer: Callable[[], Awaitable[Outcome]], *, limit: float) -> Outcome:
    """Repeat a transfer until it comes whole: what a user does after a clean error."""
    async with asyncio.timeout(limit):
        while True:
            outcome = await transfer()
            if outcome.whole:
                return outcome
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def login_server() -> AsyncIterator[int]:
    """Answers 200 bytes with the same bytes backwards, one exchange for a connection. Yields its port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write((await reader.readexactly(LOGIN_BYTES))[::-1])
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, HOST, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


LOGIN_BYTES = 200


async def login(proxy: int, server: int, question: bytes = bytes(range(LOGIN_BYTES))) -> float:
    """Seconds for a new connection and one small exchange on it."""
    started = time.monotonic()
    async with through(proxy, HOST, server) as (reader, writer, code):
        assert code == 0, f"SOCKS reply {code}"
        writer.write(question)
        assert await reader.readexactly(LOGIN_BYTES) == question[::-1]
        return time.monotonic() - started
