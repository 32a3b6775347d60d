"""Pieces for tests of single nodes: mix nodes on real sockets, packets made by hand, sinks for frames."""

from __future__ import annotations

import asyncio
import random
import shlex
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from nym_localnet.counters import Faults
from nym_localnet.mix_io import FinalHandler, MixNode, MixSettings
from nym_localnet.sphinx_keys import KeyRing
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import (
    FinalHop,
    Frame,
    FrameDecoder,
    Hop,
    KeyRotation,
    NodeAddress,
    PacketSize,
    encode_frame,
    prepare_packet,
)

LOOPBACK = "127.0.0.1"
ROTATION = 7


def loopback(port: int) -> NodeAddress:
    return NodeAddress(IPv4Address(LOOPBACK), port)


async def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Wait for something that other tasks bring about."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what is waited for is deep inside other objects
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError(f"never happened: {what}") from None


@dataclass
class Node:
    """A mix node under test with what its last hop delivered."""

    mix: MixNode
    port: int
    delivered: list[tuple[FinalHop, Frame]] = field(default_factory=list)

    @property
    def hop(self) -> Hop:
        return Hop(loopback(self.port), self.mix.keys.primary.public)


@asynccontextmanager
async def node(
    *,
    final: bool = False,
    settings: MixSettings | None = None,
    faults: Faults | None = None,
    seed: int = 1,
    rotation: int = ROTATION,
    on_final: FinalHandler | None = None,
) -> AsyncIterator[Node]:
    """One running node; with `final` it keeps what ends at it."""
    async with TaskSet("test node") as tasks:
        mix = MixNode(
            KeyRing(bytes([seed]) * 32, rotation),
            tasks,
            settings=settings,
            faults=faults,
            rng=random.Random(seed),
        )
        running = Node(mix, await mix.start(LOOPBACK, 0))
        if final:
            mix.on_final = lambda hop, frame: running.delivered.append((hop, frame))
        elif on_final is not None:
            mix.on_final = on_final
        try:
            yield running
        finally:
            await mix.close()


def make_packet(
    route: list[Node],
    content: bytes = b"content",
    *,
    delays_ns: list[int] | None = None,
    destination: bytes = bytes(32),
    size: PacketSize = PacketSize.REGULAR,
    seed: int | None = None,
) -> bytes:
    rng = random.Random(seed) if seed is not None else random.Random()
    hops = [each.hop for each in route]
    prepared = prepare_packet(hops, delays_ns or [0] * len(hops), destination, rng=rng)
    return prepared.seal(content, size)


class FrameWriter:
    """A peer that writes frames to one node."""

    def __init__(self, writer: asyncio.StreamWriter, reader: asyncio.StreamReader) -> None:
        self.writer = writer
        self.reader = reader

    async def send(self, packet: bytes, rotation: KeyRotation = KeyRotation.ODD, version: int = 8) -> None:
        self.writer.write(encode_frame(packet, rotation=rotation, version=version))
        await self.writer.drain()

    async def ended(self) -> bool:
        """True when the node closes the connection (waits for it)."""
        try:
            async with asyncio.timeout(60):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def peer_of(target: Node) -> AsyncIterator[FrameWriter]:
    reader, writer = await asyncio.open_connection(LOOPBACK, target.port)
    try:
        yield FrameWriter(writer, reader)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@dataclass
class Sink:
    """Collects the frames that nodes send to it."""

    port: int
    frames: list[Frame] = field(default_factory=list)


@asynccontextmanager
async def sink() -> AsyncIterator[Sink]:
    collected = Sink(0)

    async def collect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder()
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                collected.frames.extend(decoder.feed(data))
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(collect, LOOPBACK, 0)
    collected.port = server.sockets[0].getsockname()[1]
    try:
        yield collected
    finally:
        server.close()
        await asyncio.sleep(0.01)


def read_env(text: str) -> dict[str, str]:
    """The variables of an environment file, as a shell would read them."""
    lines = (line.partition("=") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: "".join(shlex.split(value)) for name, _, value in lines}
