"""Loop cover made ahead, and known again when it comes back (docs/protocol/02 §10)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from nym_sphinx import DIGEST_BYTES, MixPacket

from .packets import PacketBuilder

# An idle client is woken for every slot, and half the cost of one packet made then is that caches are cold.
BATCH_PACKETS = 16
MARKS_REMEMBERED = 4096  # more than a minute of cover; what comes back later is noise


@dataclass(slots=True)
class CoverStock:
    """Cover packets of one client: some to send, and the first bytes of those under way."""

    builder: PacketBuilder
    _made: list[tuple[MixPacket, bytes]] = field(default_factory=list)
    _under_way: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def take(self) -> MixPacket:
        """The next packet to send. Raises what `PacketBuilder.cover` raises when no route exists."""
        if not self._made:
            self._made = [self.builder.cover() for _ in range(BATCH_PACKETS)]
        packet, mark = self._made.pop()
        self._under_way[mark] = None
        if len(self._under_way) > MARKS_REMEMBERED:
            self._under_way.popitem(last=False)
        return packet

    def is_ours(self, frame: bytes) -> bool:
        """Whether a frame is cover that comes back; each is known once."""
        mark = frame[:DIGEST_BYTES]
        if mark not in self._under_way:
            return False
        del self._under_way[mark]
        return True

    def discard(self) -> None:
        """Routes changed: what is made would take old ones."""
        self._made.clear()

    @property
    def under_way(self) -> int:
        """Packets sent that have not come back yet, lost ones among them."""
        return len(self._under_way)
