"""Two ends of a stream on a virtual clock, with a network between them that reorders, repeats and loses."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from nym_exit.chunking import Chunking, anonymous_chunking
from nym_exit.stream import Outbound, StreamCore

CHUNKING = anonymous_chunking(0)


@dataclass
class Network:
    """How messages travel. A message in ``swallowed`` is acknowledged and never delivered."""

    rng: random.Random
    delay: tuple[float, float] = (0.05, 0.4)
    retransmission: float = 1.6
    loss: float = 0.0
    duplicates: float = 0.0
    swallowed: Callable[[str, Outbound], bool] = lambda name, message: False

    def arrivals(self, name: str, message: Outbound) -> tuple[list[float], float]:
        """Delays until each copy arrives, and until the acknowledgement does."""
        wait = 0.0
        while self.rng.random() < self.loss:
            wait += self.retransmission
        first = wait + self.rng.uniform(*self.delay)
        copies = [] if self.swallowed(name, message) else [first]
        while copies and self.rng.random() < self.duplicates:
            copies.append(first + self.rng.uniform(0, 3))
        return copies, first + self.rng.uniform(*self.delay)


@dataclass
class End:
    """One side: its core, what was written and read there, and everything it sent."""

    name: str
    core: StreamCore
    written: bytearray = field(default_factory=bytearray)
    read: bytearray = field(default_factory=bytearray)
    sent: list[Outbound] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    unacked: set[int] = field(default_factory=set)
    arrived: dict[int, float] = field(default_factory=dict)
    eof_at: float | None = None
    ended_at: float | None = None
    reading: bool = True
    queued_packets: int = 0
    most_waiting_bytes: int = 0


class World:
    """Runs two ends against each other until both have ended, or to a horizon."""

    def __init__(
        self, left: StreamCore, right: StreamCore, network: Network, *, slot_seconds: float = 0.0
    ) -> None:
        self.now = 0.0
        self.network = network
        self.slot_seconds = slot_seconds
        self.left = End("left", left)
        self.right = End("right", right)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = 0

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something at a time of the virtual clock."""
        self._counter += 1
        heapq.heappush(self._events, (when, self._counter, action))

    def other(self, end: End) -> End:
        return self.right if end is self.left else self.left

    # ---- what applications do

    def write(self, end: End, data: bytes) -> None:
        if not end.core.local_eof and not end.core.ended and end.core.error is None:
            end.core.write(data)
            end.written += data

    def write_at(self, when: float, end: End, data: bytes) -> None:
        self.at(when, lambda: self.write(end, data))

    def eof_at(self, when: float, end: End) -> None:
        self.at(when, lambda: end.core.write_eof(self.now))

    def close_at(self, when: float, end: End) -> None:
        self.at(when, lambda: end.core.close(self.now))

    def abort_at(self, when: float, end: End) -> None:
        self.at(when, lambda: end.core.abort(self.now))

    # ---- the loop

    def run(self, horizon: float = 5000.0) -> None:
        for end in (self.left, self.right):
            self._settle(end)
        while self.now < horizon:
            times = [end.core.get_timer() for end in (self.left, self.right)]
            timer = min((at for at in times if at is not None), default=None)
            event = self._events[0][0] if self._events else None
            candidates = [at for at in (timer, event) if at is not None]
            if not candidates:
                return
            # nothing may ask for the past again and again
            assert min(candidates) >= self.now - 1e-9
            self.now = max(self.now, min(candidates))
            if self.now > horizon:
                return
            while self._events and self._events[0][0] <= self.now:  # one moment, one turn
                heapq.heappop(self._events)[2]()
            for end in (self.left, self.right):
                at = end.core.get_timer()
                if at is not None and at <= self.now:
                    end.core.handle_timer(self.now)
                    after = end.core.get_timer()
                    if after is not None:
                        assert after > self.now, "a timer that fires for ever"
                self._settle(end)

    def _settle(self, end: End) -> None:
        core = end.core
        while end.reading and core.readable_bytes:
            end.read += core.read(7000)
        end.most_waiting_bytes = max(end.most_waiting_bytes, core.waiting_bytes)
        if core.at_eof and end.eof_at is None:
            end.eof_at = self.now
        while (message := core.next_message(self.now, end.queued_packets, CHUNKING)) is not None:
            self._send(end, message)
        if core.ended and end.ended_at is None:
            end.ended_at = self.now

    def _send(self, end: End, message: Outbound) -> None:
        assert message.seq == len(end.sent)
        assert not any(earlier.data for earlier in end.sent if earlier.closed and message.data)
        if end.unacked and message.data:
            assert message.seq - min(end.unacked) <= end.core.options.window_messages
        end.sent.append(message)
        end.sent_at.append(self.now)
        end.unacked.add(message.seq)
        packets = CHUNKING.packets(len(message.data))
        start = self.now
        if self.slot_seconds:
            end.queued_packets += packets
            start += end.queued_packets * self.slot_seconds
            self.at(start, lambda: self._slots_used(end, packets))
        copies, acknowledged = self.network.arrivals(end.name, message)
        other = self.other(end)
        for delay in copies:
            self.at(start + delay, lambda: self._arrive(other, message))
        self.at(start + acknowledged, lambda: self._acknowledge(end, message.seq))

    def _slots_used(self, end: End, packets: int) -> None:
        end.queued_packets -= packets

    def _arrive(self, end: End, message: Outbound) -> None:
        end.arrived.setdefault(message.seq, self.now)
        end.core.receive(message.seq, message.data, message.closed, self.now)

    def _acknowledge(self, end: End, seq: int) -> None:
        end.unacked.discard(seq)
        end.core.acknowledged(seq)


def pair(
    network: Network,
    *,
    half_close: bool = True,
    options: object = None,
    slot_seconds: float = 0.0,
    chunking: Chunking = CHUNKING,
) -> World:
    """A client (left) and an exit (right) that both are this code."""
    left = StreamCore(0.0, options, half_close=half_close, opener=True)
    right = StreamCore(0.0, options, announce=True, half_close=True)
    return World(left, right, network, slot_seconds=slot_seconds)
