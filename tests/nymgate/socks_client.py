"""A SOCKS5 client for tests: raw asyncio streams, says what it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

GREETING = b"\x05\x01\x00"


def connect_request(host: str = "example.com", port: int = 80) -> bytes:
    return b"\x05\x01\x00\x03" + bytes((len(host),)) + host.encode() + port.to_bytes(2, "big")


@contextlib.asynccontextmanager
async def dial(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def through(port: int, host: str = "example.com", target_port: int = 80, early: bytes = b""):
    """A connection up to and including the reply: yields (reader, writer, reply code)."""
    async with dial(port) as (reader, writer):
        writer.write(GREETING + connect_request(host, target_port) + early)
        assert await reader.readexactly(2) == b"\x05\x00"
        reply = await reader.readexactly(10)
        assert reply[0] == 5
        assert reply[2:] == b"\x00\x01\x00\x00\x00\x00\x00\x00"
        yield reader, writer, reply[1]
