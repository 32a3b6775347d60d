"""How many unacknowledged packets may be under way when no Poisson schedule limits the rate.

Mix nodes have no flow control: a client that sends as fast as it can fills their queues until acks come later
than their timers and everything is sent twice. The expected delay of every packet is known to its sender, so
what an ack takes beyond it is queueing and network; the window aims at a fixed extra delay, as LEDBAT does
(RFC 6817). Losses alone do not shrink it: mixnet loss is rarely congestion, and the delay tells them apart.
"""

from __future__ import annotations

# Every stream waits in this queue, a login beside a download four times: it must stay well below a round trip.
TARGET_QUEUEING_SECONDS = 0.08
DROWNED_SECONDS = 0.2  # a time-out that comes with so much queueing is congestion, not a lost packet
MIN_WINDOW_PACKETS = 48.0
MAX_WINDOW_PACKETS = 2048.0
BASE_WINDOW_SECONDS = 20.0
SILENCE_SECONDS = 3.0  # no ack at all for so long: the path is dead or drowned
_SMOOTHING = 1 / 8
_SLOW_SMOOTHING = 1 / 64


class CongestionWindow:
    """Window in packets. Feed it acks with `beyond_seconds` = measured time minus the packet's own mix delays."""

    def __init__(self, now: float) -> None:
        self.window_packets = MIN_WINDOW_PACKETS * 2
        self._slow_start = True
        self._base = float("inf")
        self._previous_base = float("inf")
        self._base_since = now
        self._smoothed: float | None = None
        self._deviation = 0.0
        self._last_ack = now
        self._last_cut = now

    @property
    def queueing_seconds(self) -> float:
        """Estimated queueing on the path."""
        base = min(self._base, self._previous_base)
        if self._smoothed is None or base == float("inf"):
            return 0.0
        return max(0.0, self._smoothed - base)

    def allows(self, in_flight: int) -> bool:
        return in_flight < self.window_packets

    def on_ack(self, now: float, beyond_seconds: float) -> None:
        self._last_ack = now
        if now - self._base_since > BASE_WINDOW_SECONDS:
            self._previous_base, self._base, self._base_since = self._base, beyond_seconds, now
        self._base = min(self._base, beyond_seconds)
        if self._smoothed is None:
            self._smoothed = beyond_seconds
        else:
            off = beyond_seconds - self._smoothed
            self._smoothed += off * _SMOOTHING
            self._deviation += (abs(off) - self._deviation) * _SLOW_SMOOTHING
        # The base is the quickest ack of all; what ordinary ones take beyond it is jitter, not a queue.
        target = TARGET_QUEUEING_SECONDS + self._deviation
        off_target = (target - self.queueing_seconds) / target
        if off_target < 0:
            self._slow_start = False
        if self._slow_start:
            step = 1.0
        elif off_target > 0.5:
            # Far from full, yet past slow start: lost packets, which stay in the window until they time out, fill it.
            step = 0.1 * off_target
        else:
            step = max(off_target, -1.0) * 4 / self.window_packets
        self.window_packets = min(max(self.window_packets + step, MIN_WINDOW_PACKETS), MAX_WINDOW_PACKETS)

    def on_timeout(self, now: float) -> None:
        """A packet was not acknowledged in time; only silence or standing queues make that congestion."""
        silent = now - self._last_ack > SILENCE_SECONDS
        drowned = self.queueing_seconds > DROWNED_SECONDS
        if (silent or drowned) and now - self._last_cut > 1.0:
            self._last_cut = now
            self._slow_start = False
            self.window_packets = max(self.window_packets / 2, MIN_WINDOW_PACKETS)
