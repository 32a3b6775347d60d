"""Puts the messages of one direction of a connection back into order (docs/protocol/05 §3.3).

The mixnet reorders freely: dozens of later messages behind one hole are normal. Semantics are the
reference's, including the order of its checks; what it costs in memory is counted, so that callers can
bound it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nym_exit.errors import AlreadyReconstructed, OverwriteAttempt, SequenceTooLarge

#: How far ahead of the next expected message the reference's buffer accepts one.
REFERENCE_AHEAD_LIMIT: Final = 1000


@dataclass(frozen=True, slots=True)
class Contiguous:
    """Bytes that are in order; possibly empty (keep-alives)."""

    data: bytes
    last_sequence: int


class OrderedBuffer:
    """Messages by sequence number, read out contiguously from 0.

    Args:
        ahead_limit: a message further than this ahead of the next expected one is refused.
    """

    __slots__ = ("_ahead_limit", "_held", "held_bytes", "next_sequence")

    def __init__(self, ahead_limit: int = REFERENCE_AHEAD_LIMIT) -> None:
        self._ahead_limit = ahead_limit
        self._held: dict[int, bytes] = {}
        #: Payload bytes waiting behind a hole or for :meth:`read`.
        self.held_bytes = 0
        #: Sequence number of the next message to be read.
        self.next_sequence = 0

    @property
    def held_messages(self) -> int:
        """Messages waiting behind a hole or for :meth:`read`."""
        return len(self._held)

    def write(self, sequence: int, data: bytes) -> None:
        """Keep a message.

        Raises:
            SequenceTooLarge, OverwriteAttempt, AlreadyReconstructed: checked in this order; nothing changed.
        """
        if sequence > self.next_sequence + self._ahead_limit:
            raise SequenceTooLarge(
                f"message {sequence} is more than {self._ahead_limit} ahead of {self.next_sequence}"
            )
        if sequence in self._held:
            raise OverwriteAttempt(f"message {sequence} is here already")
        if sequence < self.next_sequence:
            raise AlreadyReconstructed(
                f"message {sequence} came before, the next one is {self.next_sequence}"
            )
        self._held[sequence] = data
        self.held_bytes += len(data)

    def read(self) -> Contiguous | None:
        """Take everything that is in order; None when the next message has not come."""
        held = self._held
        first = held.pop(self.next_sequence, None)
        if first is None:
            return None
        following = self.next_sequence + 1
        parts = [first]
        while (part := held.pop(following, None)) is not None:
            parts.append(part)
            following += 1
        data = first if len(parts) == 1 else b"".join(parts)
        self.next_sequence = following
        self.held_bytes -= len(data)
        return Contiguous(data, following - 1)

    def clear(self) -> None:
        """Drop what is held."""
        self._held.clear()
        self.held_bytes = 0
