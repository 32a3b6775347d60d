"""Which connection a message belongs to, and in what order its bytes come out (docs/protocol/05 §3.4).

Two parts, because an exit and a client need them in different company:

* :class:`InboundHalf` puts one direction of one connection in order and says when it has closed;
* :class:`ConnectionTable` finds the connection of a message, keeps messages that overtook their Connect,
  and remembers ids that are gone, so that stragglers are dropped instead of kept.

Together they behave exactly like the reference's controller, except that nothing grows without bound.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, ItemsView, ValuesView
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from nym_exit.errors import SequenceError
from nym_exit.ordered_buffer import REFERENCE_AHEAD_LIMIT, OrderedBuffer

DEFAULT_PENDING_CONNECTIONS: Final = 1024
DEFAULT_PENDING_BYTES: Final = 8 * 1024 * 1024
DEFAULT_REMEMBERED_CLOSED: Final = 8192

#: What a waiting message costs beside its data, counted so that empty ones are bounded as well.
MESSAGE_COST_BYTES: Final = 128


@dataclass(frozen=True, slots=True)
class Delivery:
    """Bytes for the local socket; ``closed`` once the other side's closing message is in order."""

    data: bytes
    closed: bool


class InboundHalf:
    """One direction of one connection, put back in order."""

    __slots__ = ("_closed_at", "buffer", "closed", "refused")

    def __init__(self, ahead_limit: int = REFERENCE_AHEAD_LIMIT) -> None:
        self.buffer = OrderedBuffer(ahead_limit)
        self.closed = False
        #: Messages the buffer would not take: duplicates, and ones too far ahead.
        self.refused = 0
        self._closed_at: int | None = None

    def receive(self, sequence: int, data: bytes, closed: bool) -> Delivery | None:
        """Take a message in; return what came into order by it. None: nothing, or only keep-alives."""
        if closed:
            # remembered even when the buffer refuses the message: the close is told by its number alone
            self._closed_at = sequence
        try:
            self.buffer.write(sequence, data)
        except SequenceError:
            self.refused += 1
        contiguous = self.buffer.read()
        if contiguous is None:
            return None
        if self._closed_at is not None and contiguous.last_sequence >= self._closed_at:
            self.closed = True
        if not contiguous.data and not self.closed:
            return None
        return Delivery(contiguous.data, self.closed)


class StreamMessage(Protocol):
    """A Send or a NetworkData."""

    @property
    def connection_id(self) -> int: ...
    @property
    def data(self) -> bytes: ...


E = TypeVar("E")
M = TypeVar("M", bound=StreamMessage)


class ConnectionTable(Generic[E, M]):
    """Entries ``E`` by connection id, with the messages ``M`` that arrived before their Connect.

    Args:
        close_lane: called with the id by every :meth:`remove` (also of an unknown id), so that the sending
            side drops what is still queued for it.
        pending_connections: ids that may have messages waiting; the oldest is dropped for a new one.
        pending_bytes: bytes that may wait in total, each message counted with :data:`MESSAGE_COST_BYTES`.
        remembered_closed: ids remembered as gone, the oldest forgotten first.
    """

    def __init__(
        self,
        close_lane: Callable[[int], None] | None = None,
        *,
        pending_connections: int = DEFAULT_PENDING_CONNECTIONS,
        pending_bytes: int = DEFAULT_PENDING_BYTES,
        remembered_closed: int = DEFAULT_REMEMBERED_CLOSED,
    ) -> None:
        self._close_lane = close_lane
        self._max_connections = pending_connections
        self._max_bytes = pending_bytes
        self._max_closed = remembered_closed
        self._active: dict[int, E] = {}
        self._pending: OrderedDict[int, list[M]] = OrderedDict()
        self._pending_cost = 0
        self._recently_closed: OrderedDict[int, None] = OrderedDict()
        #: Messages for ids that are gone.
        self.late_messages = 0
        #: Messages dropped because too many waited for a Connect.
        self.overflowed_messages = 0

    def __contains__(self, connection_id: int) -> bool:
        return connection_id in self._active

    def __len__(self) -> int:
        return len(self._active)

    def get(self, connection_id: int) -> E | None:
        """The active entry of an id."""
        return self._active.get(connection_id)

    def entries(self) -> ValuesView[E]:
        """All active entries (a live view: copy before changing the table)."""
        return self._active.values()

    def items(self) -> ItemsView[int, E]:
        """All active ids and entries (a live view)."""
        return self._active.items()

    @property
    def pending_messages(self) -> int:
        """Messages waiting for their Connect."""
        return sum(len(messages) for messages in self._pending.values())

    def recently_closed(self, connection_id: int) -> bool:
        """Whether the id was removed and is still remembered."""
        return connection_id in self._recently_closed

    def insert(self, connection_id: int, entry: E) -> list[M]:
        """Make an id active; the caller feeds the returned messages to ``entry``, in this order.

        An id that is active already gets the new entry and no messages, as in the reference. An exit that
        does not want that asks ``in`` first.
        """
        replaced = connection_id in self._active
        self._active[connection_id] = entry
        return [] if replaced else self._take_pending(connection_id)

    def route(self, message: M) -> E | None:
        """The entry that ``message`` is for; None when it was kept for a Connect to come, or dropped."""
        connection_id = message.connection_id
        entry = self._active.get(connection_id)
        if entry is not None:
            return entry
        if connection_id in self._recently_closed:
            self.late_messages += 1
        else:
            self._keep(message)
        return None

    def remove(self, connection_id: int) -> E | None:
        """Forget an entry, remember its id as gone, and have its lane dropped."""
        entry = self._active.pop(connection_id, None)
        self.remember_closed(connection_id)
        if self._close_lane is not None:
            self._close_lane(connection_id)
        return entry

    def remember_closed(self, connection_id: int) -> None:
        """Drop stragglers of this id from now on, and what waited for it."""
        self._take_pending(connection_id)
        self._recently_closed[connection_id] = None
        self._recently_closed.move_to_end(connection_id)
        while len(self._recently_closed) > self._max_closed:
            self._recently_closed.popitem(last=False)

    def _keep(self, message: M) -> None:
        cost = len(message.data) + MESSAGE_COST_BYTES
        if cost > self._max_bytes or self._max_connections < 1:
            self.overflowed_messages += 1
            return
        messages = self._pending.setdefault(message.connection_id, [])
        messages.append(message)
        self._pending_cost += cost
        while len(self._pending) > self._max_connections or self._pending_cost > self._max_bytes:
            oldest = next(iter(self._pending))
            if oldest == message.connection_id and len(self._pending) == 1:
                # one sender fills the room alone: its newest message goes, the start of its stream stays
                self._pending[oldest].pop()
                self._pending_cost -= cost
                self.overflowed_messages += 1
                return
            self.overflowed_messages += len(self._take_pending(oldest))

    def _take_pending(self, connection_id: int) -> list[M]:
        messages = self._pending.pop(connection_id, [])
        self._pending_cost -= sum(len(message.data) + MESSAGE_COST_BYTES for message in messages)
        return messages
