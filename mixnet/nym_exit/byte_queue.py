"""Two small pieces of a stream's end: bytes in order, and the window of unacknowledged messages."""

from __future__ import annotations

from collections import OrderedDict, deque


class ByteQueue:
    """Bytes in the order they came, taken out in pieces of any size without copying the rest."""

    __slots__ = ("_parts", "_size")

    def __init__(self) -> None:
        self._parts: deque[bytes | memoryview] = deque()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Put bytes at the end."""
        if data:
            self._parts.append(data)
            self._size += len(data)

    def take(self, limit: int) -> bytes:
        """Take at most ``limit`` bytes from the front."""
        parts = self._parts
        taken: list[bytes | memoryview] = []
        room = limit
        while parts and room > 0:
            part = parts.popleft()
            if len(part) > room:
                view = memoryview(part)
                taken.append(view[:room])
                parts.appendleft(view[room:])
                room = 0
            else:
                taken.append(part)
                room -= len(part)
        self._size -= limit - room
        return bytes(taken[0]) if len(taken) == 1 else b"".join(taken)

    def clear(self) -> None:
        """Drop everything."""
        self._parts.clear()
        self._size = 0


class SendWindow:
    """Sequence numbers given out, and which of them are not acknowledged yet.

    The other side refuses a message far ahead of what it has in order (docs/protocol/05 §3.3). One lost packet
    holds its order up while hundreds of later messages are acknowledged, so what has to be bounded is
    the distance to the oldest unacknowledged message, not their number.
    """

    __slots__ = ("_limit", "_next", "_unacked")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._next = 0
        self._unacked: OrderedDict[int, None] = OrderedDict()

    @property
    def open(self) -> bool:
        """Whether one more message stays within the limit."""
        if not self._unacked:
            return True
        return self._next - next(iter(self._unacked)) < self._limit

    def number(self) -> int:
        """The sequence number of a message that goes out now."""
        number = self._next
        self._next += 1
        self._unacked[number] = None
        return number

    def acknowledged(self, number: int) -> None:
        """A message arrived."""
        self._unacked.pop(number, None)

    def clear(self) -> None:
        """Wait for nothing any more."""
        self._unacked.clear()
