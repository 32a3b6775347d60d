"""How many bytes of a stream fill a whole number of packets (docs/protocol/02 §4, 05 §4.2).

A message is padded up to full packets, so one byte too many costs a whole packet. These sizes are computed
from the packet format, for the three ways a stream's messages travel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from nym_exit.codec import DATA_OVERHEAD_BYTES
from nym_sphinx.messages import repliable_data_capacity
from nym_sphinx.sizes import PacketSize

_FRAGMENT_HEADER_BYTES: Final = 7
#: Bytes of a message that one packet of the default size carries.
PACKET_BYTES: Final = PacketSize.REGULAR.fragment_space - _FRAGMENT_HEADER_BYTES
_PADDING_MARKER_BYTES: Final = 1
_PLAIN_HEADER_BYTES: Final = 1  # kind
_REPLY_HEADER_BYTES: Final = 2  # kind, content tag


@dataclass(frozen=True, slots=True)
class Chunking:
    """Sizes of a stream's messages.

    ``overhead_bytes`` is everything in a message that is not stream data, the ``surbs`` reply SURBs that go
    with it included.
    """

    overhead_bytes: int
    surbs: int = 0

    def capacity(self, packets: int) -> int:
        """Stream bytes that fill exactly ``packets`` packets; never negative."""
        return max(0, packets * PACKET_BYTES - self.overhead_bytes)

    def packets(self, data_bytes: int) -> int:
        """Packets that a message with so many stream bytes takes."""
        return -(-(data_bytes + self.overhead_bytes) // PACKET_BYTES)


@lru_cache(maxsize=64)
def anonymous_chunking(surbs: int, *, overhead_bytes: int = DATA_OVERHEAD_BYTES) -> Chunking:
    """For Sends that carry ``surbs`` reply SURBs."""
    packets = 1 + surbs // 3  # three fit a packet; the overhead is the same for any number that is enough
    fits = repliable_data_capacity(packets, surbs)
    return Chunking(packets * PACKET_BYTES - fits + overhead_bytes, surbs)


#: For Sends to an exit that knows our address.
OWN_ADDRESS_CHUNKING: Final = Chunking(_PLAIN_HEADER_BYTES + _PADDING_MARKER_BYTES + DATA_OVERHEAD_BYTES)

#: For an exit's answers over reply SURBs, one for each packet.
REPLY_CHUNKING: Final = Chunking(_REPLY_HEADER_BYTES + _PADDING_MARKER_BYTES + DATA_OVERHEAD_BYTES)
