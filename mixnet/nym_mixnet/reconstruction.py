"""Puts fragments back together (docs/protocol/02 §9), with bounds wherever the reference has none.

Everything that arrives is somebody else's bytes: open sets, buffered bytes, link chains and the memory of
finished sets are all limited, oldest untouched first out. Pure: `now` is monotonic seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from nym_sphinx import Fragment, MalformedMessage, unpad

INCOMPLETE_TIMEOUT_SECONDS = 30 * 60.0
FINISHED_MEMORY_SECONDS = 15 * 60.0
PURGE_INTERVAL_SECONDS = 10.0
MAX_BUFFERED_BYTES = 64 * 1024 * 1024
MAX_OPEN_SETS = 8192
MAX_FINISHED_IDS = 200_000
MAX_LINKED_SETS = 128  # 128 sets of 255 regular packets are 52 MB in one message
FULL_SET_FRAGMENTS = 255


@dataclass(slots=True)
class _OpenSet:
    total: int
    slots: list[bytes | None]
    touched_at: float
    received: int = 0
    size_bytes: int = 0
    previous_id: int | None = None
    next_id: int | None = None

    @property
    def full(self) -> bool:
        return self.received == self.total


@dataclass(slots=True)
class ReconstructionStats:
    """Counters for metrics; all since start."""

    duplicates: int = 0
    conflicting: int = 0
    expired_sets: int = 0
    evicted_sets: int = 0
    unpadded_failures: int = 0


@dataclass(slots=True)
class Reconstructor:
    """Buffer of incomplete messages."""

    max_buffered_bytes: int = MAX_BUFFERED_BYTES
    max_open_sets: int = MAX_OPEN_SETS
    stats: ReconstructionStats = field(default_factory=ReconstructionStats)
    _open: OrderedDict[int, _OpenSet] = field(default_factory=OrderedDict)
    _finished: OrderedDict[int, float] = field(default_factory=OrderedDict)
    _buffered: int = 0
    _purged_at: float = float("-inf")

    @property
    def buffered_bytes(self) -> int:
        """Payload bytes of incomplete messages held now."""
        return self._buffered

    @property
    def open_sets(self) -> int:
        return len(self._open)

    def insert(self, fragment: Fragment, now: float) -> bytes | None:
        """Add a fragment; returns the whole unpadded message when this one completed it.

        Raises MalformedMessage when a complete message has no valid padding (its set ids stay used).
        """
        if now - self._purged_at > PURGE_INTERVAL_SECONDS:
            self.purge(now)
        if fragment.set_id in self._finished:
            self.stats.duplicates += 1
            return None
        entry = self._open.get(fragment.set_id)
        if entry is None:
            entry = _OpenSet(fragment.total, [None] * fragment.total, now)
            self._open[fragment.set_id] = entry
        elif entry.total != fragment.total:
            # The reference indexes out of range here; an honest sender never does it.
            self.stats.conflicting += 1
            return None
        entry.touched_at = now
        self._open.move_to_end(fragment.set_id)
        if entry.slots[fragment.current - 1] is not None:
            self.stats.duplicates += 1
            return None
        entry.slots[fragment.current - 1] = fragment.payload
        entry.received += 1
        entry.size_bytes += len(fragment.payload)
        self._buffered += len(fragment.payload)
        if fragment.previous_id is not None:
            entry.previous_id = fragment.previous_id
        if fragment.next_id is not None:
            entry.next_id = fragment.next_id
        message = self._complete(fragment.set_id, now) if entry.full else None
        self._enforce_bounds()
        return message

    def purge(self, now: float) -> None:
        """Drop incomplete sets nobody added to for 30 minutes and forget finished ids after 15."""
        self._purged_at = now
        while self._open:
            set_id, entry = next(iter(self._open.items()))
            if now - entry.touched_at <= INCOMPLETE_TIMEOUT_SECONDS:
                break
            self._discard(set_id)
            self.stats.expired_sets += 1
        while self._finished:
            set_id, finished_at = next(iter(self._finished.items()))
            if now - finished_at <= FINISHED_MEMORY_SECONDS and len(self._finished) <= MAX_FINISHED_IDS:
                break
            del self._finished[set_id]

    def _complete(self, set_id: int, now: float) -> bytes | None:
        chain = self._chain(set_id)
        if chain is None:
            return None
        parts: list[bytes] = []
        for member in chain:
            parts.extend(slot for slot in self._open[member].slots if slot is not None)
        for member in chain:
            self._discard(member)
            self._finished[member] = now
        try:
            return unpad(b"".join(parts))
        except MalformedMessage:
            self.stats.unpadded_failures += 1
            raise

    def _chain(self, set_id: int) -> list[int] | None:
        """Ids of the whole message in order, or None while a set is missing, unlinked or incomplete."""
        chain = [set_id]
        first = self._open[set_id]
        while (previous_id := first.previous_id) is not None:
            before = self._open.get(previous_id)
            if before is None or not before.full or before.next_id != chain[0]:
                return None
            if previous_id in chain or len(chain) >= MAX_LINKED_SETS:
                return None
            chain.insert(0, previous_id)
            first = before
        last = self._open[set_id]
        while (next_id := last.next_id) is not None:
            after = self._open.get(next_id)
            if after is None or not after.full or after.previous_id != chain[-1]:
                return None
            if next_id in chain or len(chain) >= MAX_LINKED_SETS:
                return None
            chain.append(next_id)
            last = after
        return chain

    def _discard(self, set_id: int) -> None:
        entry = self._open.pop(set_id)
        self._buffered -= entry.size_bytes

    def _enforce_bounds(self) -> None:
        while self._open and (
            self._buffered > self.max_buffered_bytes or len(self._open) > self.max_open_sets
        ):
            self._discard(next(iter(self._open)))
            self.stats.evicted_sets += 1
        while len(self._finished) > MAX_FINISHED_IDS:
            self._finished.popitem(last=False)
