"""The receiving half of a stream's end: order, the gap clock, and what waits for the local reader.

docs/protocol/05 §3.3 and §3.4. Pure: time is an argument (monotonic seconds).
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from nym_exit.byte_queue import ByteQueue
from nym_exit.controller import InboundHalf

#: Bookkeeping of one waiting message, counted against the receive limit beside its bytes.
_MESSAGE_COST_BYTES: Final = 64
#: Our own receiver takes messages this far ahead (the reference: 1000); the byte limit is the real bound.
_AHEAD_LIMIT: Final = 1_000_000


class Arrival(Enum):
    """What became of a message."""

    REFUSED = "a duplicate, or too far ahead"
    KEPT = "in order, or waiting for its turn"
    CLOSED = "with it, everything up to the peer's closing message is in order"


class ReceiveSide:
    """Messages of the peer on their way to the local reader.

    Args:
        gap_limit_seconds: how long later messages may wait behind a missing one without progress.
    """

    def __init__(self, gap_limit_seconds: float) -> None:
        #: The peer's closing message is in order.
        self.closed = False
        #: A second closing message came: the peer is gone altogether.
        self.reset = False
        self.bytes_received = 0
        self._gap_limit_seconds = gap_limit_seconds
        self._gap_since: float | None = None
        self._inbound = InboundHalf(_AHEAD_LIMIT)
        self._ready = ByteQueue()
        self._close_seq: int | None = None

    @property
    def readable_bytes(self) -> int:
        """Bytes in order that nobody has taken."""
        return len(self._ready)

    @property
    def waiting_bytes(self) -> int:
        """What the receive limit counts: readable bytes, and messages behind a gap with their bookkeeping."""
        buffer = self._inbound.buffer
        return len(self._ready) + buffer.held_bytes + _MESSAGE_COST_BYTES * buffer.held_messages

    @property
    def missing(self) -> int:
        """Sequence number of the next message in order."""
        return self._inbound.buffer.next_sequence

    @property
    def held_messages(self) -> int:
        """Messages behind a gap."""
        return self._inbound.buffer.held_messages

    @property
    def in_gap(self) -> bool:
        """Whether later messages wait behind a missing one."""
        return self._gap_since is not None

    @property
    def gap_deadline(self) -> float | None:
        """When waiting for the missing message ends."""
        return None if self._gap_since is None else self._gap_since + self._gap_limit_seconds

    def restart_gap_clock(self, now: float) -> None:
        """Give a gap its whole time again."""
        if self._gap_since is not None:
            self._gap_since = now

    def note_close(self, seq: int) -> None:
        """A closing message came, in order or not."""
        if self._close_seq is None:
            self._close_seq = seq
        elif self._close_seq != seq:
            self.reset = True

    def receive(self, seq: int, data: bytes, closed: bool, now: float) -> Arrival:
        """Take a message in."""
        inbound = self._inbound
        refused, expected = inbound.refused, self.missing
        delivery = inbound.receive(seq, data, closed)
        if not self.held_messages:
            self._gap_since = None
        elif self._gap_since is None or self.missing != expected:
            self._gap_since = now
        if delivery is not None:
            self.bytes_received += len(delivery.data)
            self._ready.append(delivery.data)
            if delivery.closed:
                self.closed = True
                self._drop_held()
                return Arrival.CLOSED
        return Arrival.KEPT if inbound.refused == refused else Arrival.REFUSED

    def read(self, limit: int | None) -> bytes:
        """Take bytes in order."""
        return self._ready.take(len(self._ready) if limit is None else limit)

    def drop(self) -> None:
        """Nobody reads any more."""
        self._ready.clear()
        self._drop_held()

    def _drop_held(self) -> None:
        self._inbound.buffer.clear()
        self._gap_since = None
