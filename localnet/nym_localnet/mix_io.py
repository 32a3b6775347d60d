"""The mix listener: what every node does with frames from other nodes.

docs/protocol/01 §8 and 02 §2.1: decode v7 and v8 frames, open the packet with the key that the rotation
byte names, drop what was seen before, hold what is to be forwarded for the delay in its header (counted
from its receipt, 10 s at most), send it on. A packet whose last hop this is goes to `on_final`, which
gateways have and mix nodes do not.

This is the hot path of the whole network: one read hands over up to 64 KiB of frames, one heap holds the
delays.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, cast

from nym_localnet.addresses import PeerFilter
from nym_localnet.counters import Faults, MixCounters
from nym_localnet.delays_io import DelayQueue
from nym_localnet.peers_io import PeerPool
from nym_localnet.sphinx_keys import KeyRing
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import (
    SYSTEM_RNG,
    FinalHop,
    ForwardHop,
    Frame,
    FrameDecoder,
    HeaderMacMismatch,
    KeyRotation,
    MalformedFrame,
    NodeAddress,
    PacketSize,
    PacketType,
    ReplayedPacket,
    SphinxError,
    encode_frame,
    unwrap,
)

logger = logging.getLogger(__name__)

READ_BUFFER_BYTES: Final = 64 * 1024
MAX_DELAY_SECONDS: Final = 10.0
"""docs/protocol/01 §8: what upstream's nodes clamp a packet's delay to"""
CLOSING_TURNS: Final = 3
CURRENT_FRAME_VERSION: Final = 8
LEGACY_FRAME_VERSION: Final = 7

FinalHandler = Callable[[FinalHop, Frame], None]


@dataclass(frozen=True, slots=True)
class MixSettings:
    """What may differ from node to node."""

    legacy_frames: bool = False
    """write v7 frames, without a rotation byte, as upstream's nodes do by default"""
    replay_protection: bool = True
    max_delay_seconds: float = MAX_DELAY_SECONDS


class MixNode:
    """One node's packet side. Create it, `start` it, `close` it; a restarted node is a new object."""

    def __init__(
        self,
        keys: KeyRing,
        tasks: TaskSet,
        *,
        allowed: PeerFilter | None = None,
        settings: MixSettings | None = None,
        faults: Faults | None = None,
        counters: MixCounters | None = None,
        on_final: FinalHandler | None = None,
        rng: random.Random = SYSTEM_RNG,
    ) -> None:
        self.keys = keys
        self.settings = settings or MixSettings()
        self.faults = faults or Faults()
        self.counters = counters or MixCounters()
        self.on_final = on_final
        self._rng = rng
        self._loop = asyncio.get_running_loop()
        self._peers = PeerPool(allowed or PeerFilter(), self.counters, tasks)
        self._delays = DelayQueue()
        self._frame_version = LEGACY_FRAME_VERSION if self.settings.legacy_frames else CURRENT_FRAME_VERSION
        self._server: asyncio.Server | None = None
        self._incoming: set[MixConnection] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (chosen by the system when 0 was asked for)."""
        self._server = await self._loop.create_server(lambda: MixConnection(self), host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def close(self) -> None:
        """Stop listening and cut all connections; packets that wait are lost, as in a crash."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in list(self._incoming):
            connection.abort()
        self._delays.close()
        self._peers.close()
        if server is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await server.wait_closed()
        for _ in range(CLOSING_TURNS):  # the event loop reports aborted connections in its next turns
            await asyncio.sleep(0)

    def set_stall(self, stalled: bool) -> None:
        """Stop or resume reading from all incoming connections; they stay open."""
        self.faults.stall = stalled
        for connection in self._incoming:
            connection.set_reading(not stalled)

    def forward(
        self,
        address: NodeAddress,
        packet: bytes,
        rotation: KeyRotation,
        packet_type: PacketType = PacketType.MIX,
    ) -> bool:
        """Send a packet to a first hop at once: a client's packet, or an ack that a gateway releases."""
        link = self._peers.by_address(address)
        if link is None:
            self.counters.dropped_no_route += 1
            return False
        version = self._frame_version
        return link.send(encode_frame(packet, rotation=rotation, version=version, packet_type=packet_type))

    def receive(self, frame: Frame, received_at: float) -> None:
        """Handle one frame that was read at `received_at` (event loop time)."""
        counters = self.counters
        counters.received += 1
        if frame.size is PacketSize.ACK:
            counters.received_acks += 1
        else:
            counters.received_data += 1
        faults = self.faults
        if faults.loss and self._rng.random() < faults.loss:
            counters.dropped_lost += 1
            return
        if frame.packet_type is not PacketType.MIX:
            counters.dropped_unsupported += 1
            return
        hop = self._open(frame)
        if hop is None:
            return
        if isinstance(hop, ForwardHop):
            link = self._peers.by_wire(hop.next_address)
            if link is None:
                counters.dropped_no_route += 1
                return
            delay = hop.delay_ns * 1e-9
            if delay > self.settings.max_delay_seconds:
                delay = self.settings.max_delay_seconds
            onward = encode_frame(hop.packet, rotation=frame.rotation, version=self._frame_version)
            if not self._delays.push(received_at + delay + faults.extra_delay_seconds, onward, link):
                counters.dropped_queue_full += 1
        elif self.on_final is not None:
            counters.final += 1
            self.on_final(hop, frame)
        else:
            counters.dropped_no_route += 1

    def _open(self, frame: Frame) -> ForwardHop | FinalHop | None:
        counters = self.counters
        keys = self.keys.candidates(frame.rotation)
        if not keys:
            counters.dropped_expired_key += 1
            return None
        protected = self.settings.replay_protection
        for key in keys:
            try:
                return unwrap(frame.packet, key.private, seen=key.replay.seen if protected else None)
            except HeaderMacMismatch:
                continue  # rotation unknown: perhaps it was made for the previous key
            except ReplayedPacket:
                counters.dropped_replayed += 1
                return None
            except SphinxError as error:
                logger.debug("packet dropped: %s", error)
                counters.dropped_malformed += 1
                return None
        counters.dropped_malformed += 1
        return None

    # Called by the connections.

    def opened(self, connection: MixConnection) -> None:
        """A peer has connected."""
        self.counters.connections_in += 1
        self._incoming.add(connection)
        if self.faults.stall:
            # Not now: uvloop begins to read after this call, whatever was said in it.
            self._loop.call_soon(self._obey_stall, connection)

    def _obey_stall(self, connection: MixConnection) -> None:
        connection.set_reading(not self.faults.stall)

    def closed(self, connection: MixConnection) -> None:
        """A peer has gone."""
        self._incoming.discard(connection)


class MixConnection(asyncio.BufferedProtocol):
    """Frames from one other node; a framing error ends the connection (docs/protocol/02 §2.1)."""

    def __init__(self, node: MixNode) -> None:
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._decoder = FrameDecoder()
        self._buffer = bytearray(READ_BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class is no subclass
        self._node.opened(self)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        received_at = self._loop.time()
        receive = self._node.receive
        try:
            for frame in self._decoder.feed(bytes(self._view[:nbytes])):
                receive(frame, received_at)
        except MalformedFrame as error:
            logger.info("connection of a peer closed: %s", error)
        if self._decoder.corrupted:
            self._node.counters.connections_corrupted += 1
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._node.closed(self)

    def set_reading(self, wanted: bool) -> None:
        """Pause or resume; idempotent."""
        if self._transport is None or self._transport.is_closing():
            return
        if wanted and not self._transport.is_reading():
            self._transport.resume_reading()
        elif not wanted and self._transport.is_reading():
            self._transport.pause_reading()

    def abort(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()
