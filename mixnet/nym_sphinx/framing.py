"""The stream of packets between two nodes (docs/protocol/02 §2.1).

Frames of version 7 (three header bytes) and 8 (four: with the key rotation) follow each other without
separators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nym_sphinx.errors import MalformedFrame, MalformedPacket
from nym_sphinx.sizes import KeyRotation, PacketSize, PacketType

FRAME_VERSION_7: Final = 7
"""What upstream's nodes write by default; loses the key rotation."""
FRAME_VERSION_8: Final = 8

_V7_HEADER_BYTES: Final = 3
_V8_HEADER_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Frame:
    """One packet as it came from another node."""

    packet: bytes
    size: PacketSize
    rotation: KeyRotation
    version: int
    packet_type: PacketType


def encode_frame(
    packet: bytes,
    *,
    rotation: KeyRotation = KeyRotation.UNKNOWN,
    version: int = FRAME_VERSION_7,
    packet_type: PacketType = PacketType.MIX,
) -> bytes:
    """Put the frame header before a whole packet.

    Raises ``MalformedFrame`` for another length or frame version.
    """
    try:
        size = PacketSize.from_packet_length(len(packet))
    except MalformedPacket as error:
        raise MalformedFrame(f"no frame can carry this packet: {error}") from error
    if version == FRAME_VERSION_7:
        return bytes((version, size, packet_type)) + packet
    if version == FRAME_VERSION_8:
        return bytes((version, size, packet_type, rotation)) + packet
    raise MalformedFrame(f"frames of version {version} are not written, only 7 and 8")


class FrameDecoder:
    """Cuts a stream into frames. Holds at most one incomplete frame between two calls.

    After the first corruption every call raises the same ``MalformedFrame``: nothing behind it can be
    trusted.
    """

    __slots__ = ("_buffer", "_failure")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._failure: str | None = None

    @property
    def corrupted(self) -> bool:
        """True once the stream cannot be read any further; close the connection."""
        return self._failure is not None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes.

        Raises ``MalformedFrame`` if the stream is corrupted, unless frames before the corruption are to be
        delivered first: then ``corrupted`` is set and the next call raises.
        """
        frames: list[Frame] = []
        if self._failure is None:
            buffer = self._buffer
            buffer += data
            at = 0
            try:
                while (parsed := _parse(buffer, at)) is not None:
                    frame, at = parsed
                    frames.append(frame)
                del buffer[:at]
            except MalformedFrame as error:
                self._failure = str(error)
                buffer.clear()
        if self._failure is not None and not frames:
            raise MalformedFrame(self._failure)
        return frames


def _parse(buffer: bytearray, at: int) -> tuple[Frame, int] | None:
    """The frame that starts at ``at`` and where it ends; ``None`` while it is incomplete."""
    available = len(buffer) - at
    if available < _V7_HEADER_BYTES:
        return None
    version = buffer[at]
    if version == FRAME_VERSION_8:
        if available < _V8_HEADER_BYTES:
            return None
        header_bytes = _V8_HEADER_BYTES
    elif version == FRAME_VERSION_7:
        header_bytes = _V7_HEADER_BYTES
    else:
        raise MalformedFrame(
            f"a frame of version {version}: the stream is corrupted or the node is too old or new"
        )
    try:
        size = PacketSize(buffer[at + 1])
        packet_type = PacketType(buffer[at + 2])
        rotation = KeyRotation(buffer[at + 3]) if version == FRAME_VERSION_8 else KeyRotation.UNKNOWN
    except ValueError as error:
        raise MalformedFrame(f"the stream is corrupted: {error}") from None
    start = at + header_bytes
    end = start + size.packet_bytes
    if len(buffer) < end:
        return None
    return Frame(bytes(buffer[start:end]), size, rotation, version, packet_type), end
