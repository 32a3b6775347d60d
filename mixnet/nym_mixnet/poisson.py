"""Poisson send schedules (docs/protocol/04 §2.3, §2.5).

Deadlines are drawn from the previous deadline, not from "now", so a late wake-up does not thin the stream out.
Whatever the applications do, the times are the same process: the schedule never sees the queues.
"""

from __future__ import annotations

import random

MAX_MULTIPLIER = 6
STEP_UP_AFTER_SECONDS = 1.0
STEP_DOWN_AFTER_SECONDS = 2.0
# After a suspend or a stalled link the missed slots are not made up: a burst would show on the line.
MAX_LAG_SECONDS = 1.0


class PoissonSchedule:
    """Exponentially distributed send times with mean gap `mean_seconds` (times a back-pressure multiplier)."""

    def __init__(self, mean_seconds: float, rng: random.Random, now: float) -> None:
        if mean_seconds <= 0:
            raise ValueError("the mean gap must be positive")
        self.mean_seconds = mean_seconds
        self.multiplier = 1
        self._rng = rng
        self._deadline = now + self._gap()
        self._changed_at = now
        self._pressed_at = float("-inf")

    @property
    def deadline(self) -> float:
        """When the next packet leaves."""
        return self._deadline

    def take_due(self, now: float) -> bool:
        """True, and the schedule moves on by one, when a packet is due."""
        if self._deadline > now:
            return False
        if now - self._deadline > MAX_LAG_SECONDS:
            self._deadline = now
        self._deadline += self._gap()
        return True

    def note_link(self, now: float, *, congested: bool, full: bool) -> None:
        """Adapt to a gateway link that does not take packets as fast as they come."""
        if congested:
            self._pressed_at = now
        if full and now - self._changed_at > STEP_UP_AFTER_SECONDS:
            self._change(min(self.multiplier + 1, MAX_MULTIPLIER), now)
        elif (
            now - self._pressed_at > STEP_DOWN_AFTER_SECONDS
            and now - self._changed_at > STEP_DOWN_AFTER_SECONDS
        ):
            self._change(max(self.multiplier - 1, 1), now)

    def _change(self, multiplier: int, now: float) -> None:
        if multiplier != self.multiplier:
            self.multiplier = multiplier
            self._changed_at = now

    def _gap(self) -> float:
        gap_seconds = self._rng.expovariate(1 / (self.mean_seconds * self.multiplier))
        return round(gap_seconds, 9)  # whole nanoseconds, as the reference draws them
