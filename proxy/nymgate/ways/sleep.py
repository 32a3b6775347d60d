"""When to sleep: a pure core. Without open streams for ``sleep_after`` the client stops sending; a stream
wakes it.

States and events::

    AWAKE  ──opened──► BUSY      BUSY ──last closed──► AWAKE (the clock starts)
    AWAKE  ──time is up──► ASLEEP                      ASLEEP ──opened──► BUSY (wake first)

Why at all: cover traffic costs tickets around the clock, and an application is used a few hours a day. What
an observer learns from it is said in the documentation of ``mixnet.sleep_after``.
"""

import math
from enum import Enum, auto


class Rest(Enum):
    """What the client is doing."""

    AWAKE = auto()  # no streams, still sending cover
    BUSY = auto()
    ASLEEP = auto()


class SleepCore:
    """Counts streams and tells when to sleep. ``now`` is monotonic seconds."""

    __slots__ = ("_idle_since", "_streams", "sleep_after_seconds", "state")

    def __init__(self, sleep_after_seconds: float, now: float) -> None:
        self.sleep_after_seconds = sleep_after_seconds
        self.state = Rest.AWAKE
        self._streams = 0
        self._idle_since = now

    def opened(self) -> bool:
        """A stream is wanted. True if the client has to be woken for it."""
        self._streams += 1
        was, self.state = self.state, Rest.BUSY
        return was is Rest.ASLEEP

    def closed(self, now: float) -> None:
        """A stream has ended, or never came up."""
        if self._streams == 0:
            raise ValueError("more streams closed than opened")
        self._streams -= 1
        if self._streams == 0:
            self.state = Rest.AWAKE
            self._idle_since = now

    def timer(self) -> float | None:
        """When to call :meth:`due` next, or None while streams are open or there is nothing to wait for."""
        if self.state is not Rest.AWAKE or math.isinf(self.sleep_after_seconds):
            return None
        return self._idle_since + self.sleep_after_seconds

    def due(self, now: float) -> bool:
        """Whether to go to sleep now; if so the state says so from here on."""
        deadline = self.timer()
        if deadline is None or now < deadline:
            return False
        self.state = Rest.ASLEEP
        return True
