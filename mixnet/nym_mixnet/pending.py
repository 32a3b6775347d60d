"""Packets sent and not yet acknowledged, and when to send them again (docs/protocol/04 §2.7)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from .outgoing import Outgoing

ACK_WAIT_MULTIPLIER = 1.5
ACK_WAIT_ADDITION_SECONDS = 1.5


@dataclass(slots=True, eq=False)
class Pending:
    """One unacknowledged packet; `expected_seconds` is the sum of mix delays of the packet and its ack."""

    item: Outgoing
    expected_seconds: float
    sent_at: float
    deadline: float
    live: bool = True


@dataclass(slots=True)
class PendingAcks:
    """Unacknowledged packets by fragment id, with a heap of their deadlines."""

    multiplier: float = ACK_WAIT_MULTIPLIER
    addition_seconds: float = ACK_WAIT_ADDITION_SECONDS
    _by_id: dict[bytes, Pending] = field(default_factory=dict)
    _by_lane: dict[int, dict[bytes, Pending]] = field(default_factory=dict)
    _heap: list[tuple[float, int, Pending]] = field(default_factory=list)
    _counter: int = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def sent(self, item: Outgoing, expected_seconds: float, now: float) -> None:
        """Start the timer of a packet that goes to the gateway now."""
        wait = expected_seconds * self.multiplier + self.addition_seconds
        pending = Pending(item, expected_seconds, now, now + wait)
        self._by_id[item.fragment_id] = pending
        self._by_lane.setdefault(item.lane, {})[item.fragment_id] = pending
        self._push(pending)

    def acked(self, fragment_id: bytes) -> Pending | None:
        """The packet an ack belongs to, done with; None for unknown ids (duplicates, forgotten lanes)."""
        pending = self._by_id.pop(fragment_id, None)
        if pending is not None:
            self._forget(pending)
        return pending

    def expired(self, now: float) -> list[Pending]:
        """Packets whose time is up; they are no longer pending."""
        out: list[Pending] = []
        while self._heap and self._heap[0][0] <= now:
            pending = heapq.heappop(self._heap)[2]
            if pending.live:
                del self._by_id[pending.item.fragment_id]
                self._forget(pending)
                out.append(pending)
        return out

    def next_deadline(self) -> float | None:
        while self._heap and not self._heap[0][2].live:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def drop_lane(self, lane: int) -> list[Outgoing]:
        """Forget every packet of a lane; their acks will be ignored."""
        dropped = list(self._by_lane.get(lane, {}).values())
        for pending in dropped:
            del self._by_id[pending.item.fragment_id]
            self._forget(pending)
        return [pending.item for pending in dropped]

    def restart_timers(self, now: float, spread_seconds: float) -> None:
        """After an outage of the link: nothing could be acknowledged, so the clocks start anew, spread out."""
        live = list(self._by_id.values())
        self._heap.clear()
        for position, pending in enumerate(live):
            wait = pending.expected_seconds * self.multiplier + self.addition_seconds
            pending.deadline = now + wait + spread_seconds * position / max(1, len(live))
            self._push(pending)

    def _push(self, pending: Pending) -> None:
        self._counter += 1
        heapq.heappush(self._heap, (pending.deadline, self._counter, pending))

    def _forget(self, pending: Pending) -> None:
        pending.live = False
        lane = self._by_lane.get(pending.item.lane)
        if lane is not None:
            lane.pop(pending.item.fragment_id, None)
            if not lane:
                del self._by_lane[pending.item.lane]
