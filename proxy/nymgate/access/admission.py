"""Who may open a stream now, who waits, and whose turn it is: caps and a fair queue, without input or output.

A stream counts against three caps: of the whole proxy, of its caller (a user, or else a client address) and of its
destination. Where one is reached the opening waits in its caller's queue, and each stream that ends lets the next one
in: callers take turns, whoever has asked for more, so that a download of a hundred parts does not hold up a login.
"""

from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """Streams at once, and openings that wait. A cap of 0 is none."""

    total: int = 1000
    per_caller: int = 0
    per_destination: int = 0
    queue_per_caller: int = 0
    """Openings that wait for one caller; further ones are refused at once."""
    queue_total: int = 1024


@dataclass(slots=True, eq=False)
class Waiter:
    """An opening in the queue."""

    who: Hashable = field(repr=False)
    where: Hashable = field(repr=False)
    most: int
    granted: Callable[[], None] = field(repr=False)
    """Called once, when it is its turn; it counts as a stream from then on."""


class Admission:
    """The streams there are and the openings that wait, of one proxy."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self.streams = 0
        """Let in and not gone yet."""
        self.waiting = 0
        """Openings in all queues."""
        self._of_caller: dict[Hashable, int] = {}
        self._to_destination: dict[Hashable, int] = {}
        self._queues: dict[Hashable, deque[Waiter]] = {}
        self._turns: deque[Hashable] = deque()
        """Callers with a queue; whose turn is next stands first."""

    def enter(self, who: Hashable, where: Hashable, most: int = 0) -> bool:
        """Let a stream in if there is room now. ``most``: the caller's own cap, 0 for the general one.

        Whoever waits does so because of a cap that binds a newcomer of that kind too, so nobody is overtaken.
        """
        if not self._room(who, where, most):
            return False
        self._count(who, where)
        return True

    def wait(
        self, who: Hashable, where: Hashable, granted: Callable[[], None], most: int = 0
    ) -> Waiter | None:
        """Queue an opening that had no room; None where the queue is full too."""
        queue = self._queues.get(who)
        if self.waiting >= self.limits.queue_total:
            return None
        if (len(queue) if queue is not None else 0) >= self.limits.queue_per_caller:
            return None
        if queue is None:
            queue = self._queues[who] = deque()
            self._turns.append(who)
        waiter = Waiter(who, where, most, granted)
        queue.append(waiter)
        self.waiting += 1
        return waiter

    def withdraw(self, waiter: Waiter) -> bool:
        """Take an opening out of the queue; False if it was let in meanwhile, so that it has to leave."""
        queue = self._queues.get(waiter.who)
        if queue is None or waiter not in queue:
            return False
        queue.remove(waiter)
        self._left_queue(waiter.who, queue)
        return True

    def leave(self, who: Hashable, where: Hashable) -> None:
        """A stream has ended: others may come in."""
        self.streams -= 1
        _decrease(self._of_caller, who)
        _decrease(self._to_destination, where)
        if self.waiting:
            self._let_in()

    def change(self, limits: AdmissionLimits) -> None:
        """Other caps from now on; streams beyond them stay."""
        self.limits = limits
        self._let_in()

    def _room(self, who: Hashable, where: Hashable, most: int) -> bool:
        limits = self.limits
        most = most or limits.per_caller
        return (
            self.streams < limits.total
            and (not most or self._of_caller.get(who, 0) < most)
            and (not limits.per_destination or self._to_destination.get(where, 0) < limits.per_destination)
        )

    def _count(self, who: Hashable, where: Hashable) -> None:
        self.streams += 1
        self._of_caller[who] = self._of_caller.get(who, 0) + 1
        self._to_destination[where] = self._to_destination.get(where, 0) + 1

    def _let_in(self) -> None:
        passed_over = 0
        while self.streams < self.limits.total and passed_over < len(self._turns):
            who = self._turns[0]
            queue = self._queues[who]
            waiter = next((w for w in queue if self._room(w.who, w.where, w.most)), None)
            self._turns.rotate(-1)
            if waiter is None:
                passed_over += 1
                continue
            passed_over = 0
            queue.remove(waiter)
            self._left_queue(who, queue)
            self._count(waiter.who, waiter.where)
            waiter.granted()

    def _left_queue(self, who: Hashable, queue: deque[Waiter]) -> None:
        self.waiting -= 1
        if not queue:
            del self._queues[who]
            self._turns.remove(who)


def _decrease(counter: dict[Hashable, int], key: Hashable) -> None:
    count = counter[key]
    if count > 1:
        counter[key] = count - 1
    else:
        del counter[key]  # keys are callers and destinations: nothing is kept of those who are gone
