"""Load for a SOCKS5 proxy: small requests, many at once, downloads, an upload; and the CPU the proxy process used.

The HTTP server stands behind the exit, on loopback; the client half speaks SOCKS5 to the proxy under test.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = os.urandom(1 << 20)
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


def body(size: int) -> bytes:
    """Reproducible incompressible bytes."""
    return (CHUNK * (size // len(CHUNK) + 1))[:size]


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if method == b"GET":
            size = int(path[1:])
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size)
            writer.write(body(size))
        else:
            length = int(head.lower().split(b"content-length: ", 1)[1].split(b"\r\n", 1)[0])
            digest = hashlib.sha256()
            while length:
                data = await reader.read(min(length, 65536))
                if not data:
                    return
                digest.update(data)
                length -= len(data)
            answer = digest.hexdigest().encode()
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer))
            writer.write(answer)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()


@asynccontextmanager
async def http_server():
    """A GET /N (N bytes) and PUT (answers the SHA-256) server; yields its port."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _connect(proxy: int, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy)
    writer.write(b"\x05\x01\x00")
    if await reader.readexactly(2) != b"\x05\x00":
        raise OSError("the proxy wants authentication")
    host = b"127.0.0.1"
    writer.write(b"\x05\x01\x00\x03" + bytes((len(host),)) + host + port.to_bytes(2, "big"))
    reply = await reader.readexactly(10)
    if reply[1]:
        raise OSError(f"SOCKS reply {reply[1]}")
    return reader, writer


async def fetch(proxy: int, port: int, size: int, timeout: float = 300) -> float:
    """Seconds for a new connection that fetches `size` bytes; raises OSError on a wrong answer."""
    started = time.monotonic()
    async with asyncio.timeout(timeout):
        reader, writer = await _connect(proxy, port)
        writer.write(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % size)
        await reader.readuntil(b"\r\n\r\n")
        data = await reader.readexactly(size)
        took = time.monotonic() - started
        writer.close()
    if data != body(size):
        raise OSError("wrong bytes came back")
    return took


async def push(proxy: int, port: int, size: int, timeout: float = 300) -> float:
    """Seconds for an upload of `size` bytes, until the server has confirmed their SHA-256."""
    payload = body(size)
    started = time.monotonic()
    async with asyncio.timeout(timeout):
        reader, writer = await _connect(proxy, port)
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        writer.write(payload)
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")
        answer = await reader.readexactly(64)
        took = time.monotonic() - started
        writer.close()
    if answer.decode() != hashlib.sha256(payload).hexdigest():
        raise OSError("wrong bytes arrived")
    return took


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def rss_megabytes(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Measurement:
    """One run against one client; seconds, bytes per second, or shares of a core."""

    values: dict[str, float] = field(default_factory=dict)

    async def take(self, name: str, measure: Callable[[], Awaitable[float]]) -> None:
        try:
            self.values[name] = await measure()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self.values[name] = float("nan")
            print(f"    {name}: failed ({type(error).__name__}: {error})", flush=True)


async def small_median(proxy: int, port: int, count: int = 9) -> float:
    return statistics.median([await fetch(proxy, port, 1000) for _ in range(count)])


async def at_once_median(proxy: int, port: int, count: int = 20) -> float:
    return statistics.median(await asyncio.gather(*(fetch(proxy, port, 5000) for _ in range(count))))


async def download_rate(proxy: int, port: int, size: int) -> float:
    return size / await fetch(proxy, port, size)


async def upload_rate(proxy: int, port: int, size: int) -> float:
    return size / await push(proxy, port, size)


async def cpu_share(pid: int, seconds: float) -> float:
    before = cpu_seconds(pid)
    await asyncio.sleep(seconds)
    return (cpu_seconds(pid) - before) / seconds
