"""Packets that wait: each is released at its own instant, counted from when it was received.

One heap and one timer per node instead of a timer per packet: releasing everything that is due in one turn
of the event loop lets the links write it in one piece.
"""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from typing import Final

from nym_localnet.peers_io import PeerLink

MAX_WAITING: Final = 20_000
"""packets; at 2,413 bytes each about 48 MB"""
TIMER_SLACK_SECONDS: Final = 0.0005
"""what is due within half the clock tick of the event loop's timers is released now"""


class DelayQueue:
    """A heap of (deadline, frame, link)."""

    __slots__ = ("_armed_for", "_closed", "_heap", "_loop", "_number", "_timer")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, bytes, PeerLink]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._armed_for = 0.0
        self._closed = False

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, deadline: float, frame: bytes, link: PeerLink) -> bool:
        """Send `frame` over `link` at `deadline` (event loop time); False when too many wait already."""
        heap = self._heap
        if len(heap) >= MAX_WAITING or self._closed:
            return False
        self._number += 1
        heappush(heap, (deadline, self._number, frame, link))
        if self._timer is None:
            self._arm(deadline)
        elif deadline < self._armed_for:
            self._timer.cancel()
            self._arm(deadline)
        return True

    def close(self) -> None:
        """Forget everything that waits."""
        self._closed = True
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, deadline: float) -> None:
        self._armed_for = deadline
        self._timer = self._loop.call_at(deadline, self._release)

    def _release(self) -> None:
        self._timer = None
        heap = self._heap
        due = self._loop.time() + TIMER_SLACK_SECONDS
        while heap and heap[0][0] <= due:
            _, _, frame, link = heappop(heap)
            link.send(frame)
        if heap:
            self._arm(heap[0][0])
