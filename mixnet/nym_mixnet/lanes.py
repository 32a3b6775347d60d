"""Transmission lanes: one FIFO per application connection, and a fair choice among them.

The reference picks at random among short lanes (docs/protocol/04 §2.2), so a one-packet request beside N busy
connections waits N slots on average. Packets of all lanes look alike on the wire, so the choice is ours: lanes
that have just become active are served first for a few packets, then all lanes take turns ("flow queueing" as
routers do it, RFC 8290 §4). Retransmissions hold whole streams up, so they get at least every third slot.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import ClassVar, Generic, Self, TypeVar

T = TypeVar("T")

NEW_LANE_QUANTUM_PACKETS = 4  # a login-sized exchange; more than that is bulk and takes its turn
RETRANSMISSION_SHARE = 3  # at least one slot of so many


class Lane(int):
    """Name of a lane: a connection id (u64), or one of the special lanes (negative)."""

    GENERAL: ClassVar[Lane]
    SURB_REQUEST: ClassVar[Lane]
    ADDITIONAL_SURBS: ClassVar[Lane]
    RETRANSMISSION: ClassVar[Lane]
    PROBE: ClassVar[Lane]

    @classmethod
    def connection(cls, connection_id: int) -> Self:
        """The lane of one proxied connection; ids are unsigned 64-bit."""
        if not 0 <= connection_id < 2**64:
            raise ValueError("a connection id is an unsigned 64-bit number")
        return cls(connection_id)


Lane.GENERAL = Lane(-1)
Lane.SURB_REQUEST = Lane(-2)
Lane.ADDITIONAL_SURBS = Lane(-3)
Lane.RETRANSMISSION = Lane(-4)
Lane.PROBE = Lane(-5)


class LaneQueues(Generic[T]):
    """FIFO per lane with a fair pick. Pure: no clock, no randomness."""

    def __init__(self) -> None:
        self._queues: dict[int, deque[T]] = {}
        self._fresh: OrderedDict[int, int] = OrderedDict()  # lane -> packets it may still send with priority
        self._settled: OrderedDict[int, None] = OrderedDict()  # lanes past their quantum, in turn order
        self._since_retransmission = 0
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def __bool__(self) -> bool:
        return self._total > 0

    def queued(self, lane: int) -> int:
        """Packets waiting on a lane."""
        queue = self._queues.get(lane)
        return len(queue) if queue else 0

    def lanes(self) -> list[int]:
        """Lanes with something to send."""
        return list(self._queues)

    def push(self, lane: int, item: T) -> None:
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = deque()
            # A lane that was just served and drained does not become "new" again at once: it would let
            # a connection that always has exactly one packet ready overtake everybody for ever.
            if lane not in self._settled and lane not in self._fresh:
                self._fresh[lane] = NEW_LANE_QUANTUM_PACKETS
        queue.append(item)
        self._total += 1

    def pop(self) -> tuple[int, T] | None:
        """The next packet in fair order with its lane, or None when every lane is empty."""
        if not self._total:
            # Everybody has been served: whoever comes next starts afresh.
            self._fresh.clear()
            self._settled.clear()
            return None
        lane = self._pick()
        queue = self._queues[lane]
        item = queue.popleft()
        self._total -= 1
        if not queue:
            del self._queues[lane]
        return lane, item

    def drop(self, lane: int, on_dropped: Callable[[T], None] | None = None) -> int:
        """Forget a lane and what waits on it; returns how many packets that were."""
        queue = self._queues.pop(lane, None)
        self._fresh.pop(lane, None)
        self._settled.pop(lane, None)
        if queue is None:
            return 0
        self._total -= len(queue)
        if on_dropped is not None:
            for item in queue:
                on_dropped(item)
        return len(queue)

    def _pick(self) -> int:
        retransmission = int(Lane.RETRANSMISSION)
        if retransmission in self._queues:
            self._since_retransmission += 1
            if self._since_retransmission >= RETRANSMISSION_SHARE or len(self._queues) == 1:
                self._since_retransmission = 0
                return retransmission
        while self._fresh:
            lane, quantum = next(iter(self._fresh.items()))
            if lane not in self._queues:
                # Drained within its quantum. It keeps a place among the settled, or it would be new at once.
                del self._fresh[lane]
                self._settled[lane] = None
                continue
            if quantum > 1:
                self._fresh[lane] = quantum - 1
                self._fresh.move_to_end(lane)
            else:
                del self._fresh[lane]
                self._settled[lane] = None
            return lane
        while True:
            lane, _ = self._settled.popitem(last=False)
            if lane in self._queues:
                self._settled[lane] = None
                return lane
            # An idle lane loses its place when its turn comes: its next packet makes it new again.
