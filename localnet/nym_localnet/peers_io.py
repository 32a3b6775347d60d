"""Outgoing links of a node: one persistent TCP connection per next hop, opened when first needed.

docs/protocol/02 §2.1: frames follow each other on the connection, nothing comes back. A link that cannot be
written to keeps a bounded queue and drops what does not fit, counted: a mix node never waits for another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final, cast

from nym_localnet.addresses import PeerFilter
from nym_localnet.counters import MixCounters
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import MalformedAddress, NodeAddress

logger = logging.getLogger(__name__)

QUEUE_BYTES: Final = 8 * 1024 * 1024
"""per link: about 3,400 regular packets"""
WRITE_HIGH_WATER_BYTES: Final = 512 * 1024
MAX_LINKS: Final = 512
CONNECT_TIMEOUT_SECONDS: Final = 5.0
FIRST_RETRY_SECONDS: Final = 0.02
LAST_RETRY_SECONDS: Final = 1.0
GIVE_UP_SECONDS: Final = 30.0
"""a peer that cannot be reached for this long loses what was queued for it"""


class PeerLink(asyncio.Protocol):
    """Frames to one next hop, in order, without waiting."""

    def __init__(self, address: NodeAddress, counters: MixCounters, tasks: TaskSet) -> None:
        self.address = address
        self._counters = counters
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._transport: asyncio.Transport | None = None
        self._connecting = False
        self._paused = False
        self._flush_due = False
        self._closed = False

    @property
    def idle(self) -> bool:
        """True when nothing waits to be written."""
        return not self._queue

    def send(self, frame: bytes) -> bool:
        """Queue a frame and count it; False when the queue is full and the frame was dropped."""
        if self._queued_bytes + len(frame) > QUEUE_BYTES or self._closed:
            self._counters.dropped_queue_full += 1
            return False
        self._counters.forwarded += 1
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        if self._transport is None:
            self._connect()
        elif not self._flush_due and not self._paused:
            # One write for everything that the current turn of the event loop releases.
            self._flush_due = True
            self._loop.call_soon(self._flush)
        return True

    def close(self) -> None:
        """Drop what is queued and close the connection."""
        self._closed = True
        self._drop_queue()
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def _drop_queue(self) -> None:
        self._counters.dropped_unreachable += len(self._queue)
        self._queue.clear()
        self._queued_bytes = 0

    def _flush(self) -> None:
        self._flush_due = False
        if self._transport is None or self._paused or not self._queue:
            return
        data = self._queue[0] if len(self._queue) == 1 else b"".join(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        self._transport.write(data)

    def _connect(self) -> None:
        if not self._connecting and not self._closed:
            self._connecting = True
            self._tasks.spawn(self._keep_trying(), name=f"link to {self.address}")

    async def _keep_trying(self) -> None:
        """Connect with growing pauses until it works or there is nothing left to send."""
        pause = FIRST_RETRY_SECONDS
        give_up_at = self._loop.time() + GIVE_UP_SECONDS
        try:
            while self._queue and not self._closed:
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                        await self._loop.create_connection(
                            lambda: self, str(self.address.ip), self.address.port
                        )
                    if self._transport is not None:
                        return
                except OSError as error:  # includes TimeoutError
                    if self._loop.time() >= give_up_at:
                        logger.warning(
                            "%s cannot be reached, its packets are dropped: %s", self.address, error
                        )
                        self._drop_queue()
                        return
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, LAST_RETRY_SECONDS)
        finally:
            self._connecting = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        link = cast("asyncio.Transport", transport)  # uvloop's class is no subclass
        if self._closed:
            link.abort()
            return
        link.set_write_buffer_limits(high=WRITE_HIGH_WATER_BYTES)
        self._transport = link
        self._paused = False
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._paused = False
        if self._queue and not self._closed:
            self._connect()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Nothing is ever said in this direction; whatever comes is ignored."""


class PeerPool:
    """All links of a node, found by the 32-byte address of a Sphinx header or by `NodeAddress`."""

    def __init__(self, allowed: PeerFilter, counters: MixCounters, tasks: TaskSet) -> None:
        self._allowed = allowed
        self._counters = counters
        self._tasks = tasks
        self._by_wire: dict[bytes, PeerLink] = {}
        self._by_address: dict[NodeAddress, PeerLink] = {}

    def by_wire(self, next_address: bytes) -> PeerLink | None:
        """The link to a padded address out of a header; None when it is no address of this network."""
        link = self._by_wire.get(next_address)
        if link is not None:
            return link
        try:
            address = NodeAddress.decode(next_address)
        except MalformedAddress:
            return None
        link = self.by_address(address)
        if link is not None:
            if len(self._by_wire) >= 2 * MAX_LINKS:  # several paddings can name one address
                self._by_wire.clear()
            self._by_wire[next_address] = link
        return link

    def by_address(self, address: NodeAddress) -> PeerLink | None:
        """The link to an address; None when it is no address of this network or there are too many links."""
        link = self._by_address.get(address)
        if link is not None:
            return link
        if not self._allowed.allows(address):
            return None
        if len(self._by_address) >= MAX_LINKS and not self._forget_one_idle():
            return None
        link = self._by_address[address] = PeerLink(address, self._counters, self._tasks)
        return link

    def close(self) -> None:
        """Close every link."""
        for link in self._by_address.values():
            link.close()
        self._by_address.clear()
        self._by_wire.clear()

    def _forget_one_idle(self) -> bool:
        for address, link in self._by_address.items():
            if link.idle:
                link.close()
                del self._by_address[address]
                self._by_wire = {wire: other for wire, other in self._by_wire.items() if other is not link}
                return True
        return False
