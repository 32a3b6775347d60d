"""Users of a whole network: a mixnet client with an exit client, and targets for it on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from nym_exit.client_io import ExitClient
from nym_exit.facade_io import AsyncStream
from nym_exit.options import ExitOptions
from nym_localnet import Localnet, LocalnetOptions
from nym_mixnet.client_io import MixnetClient
from nym_mixnet.profiles import UNCOVERED, TrafficProfile
from nym_mixnet.store_io import MemoryStore
from nym_mixnet.topology_io import NymApiSource
from nym_sphinx import Recipient
from tests.localnet.harness import LOOPBACK

# Mixes that do not wait: what is tested here is not the mixing.
SWIFT = TrafficProfile(
    name="swift",
    summary="no delays, no cover",
    observer="sees everything",
    packet_delay_seconds=0.0,
    ack_delay_seconds=0.0,
    message_interval_seconds=None,
    cover_interval_seconds=None,
)


@asynccontextmanager
async def mixnet_client(
    net: Localnet, profile: TrafficProfile = UNCOVERED, **options: Any
) -> AsyncIterator[MixnetClient]:
    source = NymApiSource([net.nym_api_url])
    store = options.pop("store", None) or MemoryStore()
    async with MixnetClient(source=source, store=store, profile=profile, **options) as client:
        yield client


@asynccontextmanager
async def exit_user(
    net: Localnet, options: ExitOptions | None = None, profile: TrafficProfile = SWIFT
) -> AsyncIterator[ExitClient]:
    async with (
        mixnet_client(net, profile) as client,
        ExitClient(client, Recipient.parse(net.exit_address), options) as user,
    ):
        yield user


@asynccontextmanager
async def world(
    options: ExitOptions | None = None, **network: Any
) -> AsyncIterator[tuple[Localnet, ExitClient]]:
    """A network and a user of its exit."""
    async with Localnet(LocalnetOptions(**network)) as net, exit_user(net, options) as user:
        yield net, user


async def fetch(
    user: ExitClient, port: int, request: bytes, *, host: str = LOOPBACK, end: bool = True
) -> bytes:
    """Send a request, end our side, read to the end."""
    async with AsyncStream(await user.open(host, port)) as stream:
        await stream.write(request)
        if end:
            await stream.write_eof()
        answer = await read_all(stream)
        if not end:
            stream.stream.abort()  # rather than wait for a closing message that is sent late on purpose
        return answer


async def read_all(stream: AsyncStream) -> bytes:
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def target(serve: Serve) -> AsyncIterator[int]:
    """A TCP server on this machine; yields its port. Each connection is closed when `serve` returns."""
    tasks: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with suppress(ConnectionError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()
            tasks.discard(task)

    server = await asyncio.start_server(handle, LOOPBACK, 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Return what comes, and end when the other side does."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def answer_at_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read to the end of the request, then answer with it reversed."""
    request = await reader.read()
    writer.write(request[::-1])
    await writer.drain()
