"""A packet on its way from a client to its gateway (docs/protocol/02 §2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from nym_sphinx.addressing import NodeAddress
from nym_sphinx.errors import MalformedAddress, MalformedMixPacket, MalformedPacket
from nym_sphinx.sizes import KeyRotation, PacketSize, PacketType


@dataclass(frozen=True, slots=True)
class MixPacket:
    """A whole Sphinx packet with its first hop and the key rotation it was made for."""

    first_hop: NodeAddress
    packet: bytes
    rotation: KeyRotation = KeyRotation.UNKNOWN
    packet_type: PacketType = PacketType.MIX

    def encode_v1(self) -> bytes:
        """The older form, which leaves the rotation out."""
        return b"".join((bytes((self.packet_type,)), self.first_hop.encode(), self.packet))

    def encode_v2(self) -> bytes:
        """The form for gateways of protocol 5 and later."""
        return b"".join((bytes((self.packet_type, self.rotation)), self.first_hop.encode(), self.packet))

    @classmethod
    def decode_v1(cls, data: bytes) -> MixPacket:
        """Parse the older form; the rotation is unknown. Raises ``MalformedMixPacket``."""
        return cls._decode(data, 1, KeyRotation.UNKNOWN)

    @classmethod
    def decode_v2(cls, data: bytes) -> MixPacket:
        """Parse the newer form. Raises ``MalformedMixPacket``."""
        try:
            rotation = KeyRotation(data[1])
        except (IndexError, ValueError):
            raise MalformedMixPacket("a mix packet too short, or with an unknown key rotation") from None
        return cls._decode(data, 2, rotation)

    @classmethod
    def _decode(cls, data: bytes, start: int, rotation: KeyRotation) -> MixPacket:
        try:
            packet_type = PacketType(data[0])
        except (IndexError, ValueError):
            raise MalformedMixPacket("a mix packet without a known packet type") from None
        try:
            first_hop = NodeAddress.decode(data[start : start + 19])
            packet = data[start + len(first_hop.encode()) :]
            PacketSize.from_packet_length(len(packet))
        except (MalformedAddress, MalformedPacket) as error:
            raise MalformedMixPacket(f"a mix packet that cannot be sent on: {error}") from error
        return cls(first_hop, packet, rotation, packet_type)
