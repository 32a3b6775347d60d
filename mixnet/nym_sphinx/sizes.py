"""Packet sizes, packet types and the key-rotation marker (docs/protocol/02 §1, §2.1)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from nym_sphinx.constants import HEADER_BYTES, PAYLOAD_OVERHEAD_BYTES
from nym_sphinx.errors import MalformedPacket

SURB_ACK_BYTES: Final = 405
"""What every data packet carries in front for its acknowledgement: address 19 + packet 386."""
ENVELOPE_KEY_BYTES: Final = 32
"""Ephemeral public key or reply-key digest in front of the encrypted fragment."""

_U32_MAX: Final = 0xFFFF_FFFF


class PacketType(IntEnum):
    """The type byte of frames and mix packets. Only ``MIX`` (Sphinx) is built here."""

    MIX = 0
    OUTFOX = 2


class PacketSize(IntEnum):
    """The size classes of Sphinx packets; the value is the tag on the wire."""

    REGULAR = 1
    ACK = 2
    EXTENDED32 = 3
    EXTENDED8 = 4
    EXTENDED16 = 5

    @property
    def plaintext_bytes(self) -> int:
        """What the sender may put in, and the last hop takes out."""
        return _PLAINTEXT_BYTES[self]

    @property
    def payload_bytes(self) -> int:
        """Plaintext with its padding: what the payload cipher works on."""
        return _PLAINTEXT_BYTES[self] + PAYLOAD_OVERHEAD_BYTES

    @property
    def packet_bytes(self) -> int:
        """The whole packet with its header."""
        return _PLAINTEXT_BYTES[self] + PAYLOAD_OVERHEAD_BYTES + HEADER_BYTES

    @property
    def message_bytes(self) -> int:
        """What the receiving client gets: the plaintext without the SURB-ack.

        21 for ``ACK``, which carries none.
        """
        if self is PacketSize.ACK:
            return _PLAINTEXT_BYTES[self]
        return _PLAINTEXT_BYTES[self] - SURB_ACK_BYTES

    @property
    def fragment_space(self) -> int:
        """Bytes for one fragment with its header (``M`` of docs/protocol/02 §1).

        ``ACK`` carries no fragments: 0.
        """
        if self is PacketSize.ACK:
            return 0
        return _PLAINTEXT_BYTES[self] - SURB_ACK_BYTES - ENVELOPE_KEY_BYTES

    @classmethod
    def from_packet_length(cls, length: int) -> PacketSize:
        """The size class of a whole packet. Raises ``MalformedPacket`` for any other length."""
        try:
            return _BY_PACKET_BYTES[length]
        except KeyError:
            raise MalformedPacket(f"no packet size has {length} bytes") from None


_PLAINTEXT_BYTES: Final = {
    PacketSize.REGULAR: 2048,
    PacketSize.ACK: 21,
    PacketSize.EXTENDED32: 32768,
    PacketSize.EXTENDED8: 8192,
    PacketSize.EXTENDED16: 16384,
}
_BY_PACKET_BYTES: Final = {size.packet_bytes: size for size in PacketSize}


class KeyRotation(IntEnum):
    """Which of a node's Sphinx keys a packet was made for, as carried beside packets."""

    UNKNOWN = 0
    ODD = 1
    EVEN = 2

    @classmethod
    def from_id(cls, rotation_id: int) -> KeyRotation:
        """The marker of a network-wide rotation id (u32; 0 and 2^32-1 mean "unknown")."""
        if rotation_id in (0, _U32_MAX):
            return cls.UNKNOWN
        return cls.ODD if rotation_id % 2 else cls.EVEN
