"""What applications say to each other: plain, repliable and reply messages (docs/protocol/02 §4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

from nym_sphinx.addressing import RECIPIENT_BYTES, Recipient
from nym_sphinx.constants import MAX_HOPS, PAYLOAD_KEY_BYTES, SEED_BYTES, V258, V259
from nym_sphinx.errors import MalformedMessage, MalformedRecipient, MalformedSurb, PayloadTooLong
from nym_sphinx.fragments import LINKED_HEADER_BYTES, MAX_FRAGMENTS, UNLINKED_HEADER_BYTES
from nym_sphinx.sizes import KeyRotation, PacketSize
from nym_sphinx.surb import REPLY_KEY_BYTES, SURB_FIXED_BYTES, ReplySurb

SENDER_TAG_BYTES: Final = 16
WIRE_V1: Final = 1
"""SURB lists of version-258 SURBs with four hops each, without a key rotation."""
WIRE_V2: Final = 2
"""SURB lists of version-259 SURBs."""

_PLAIN: Final = 0
_REPLIABLE: Final = 1
_REPLY: Final = 2
_DATA_TAGS: Final = {WIRE_V1: 0, WIRE_V2: 3}
_ADDITIONAL_TAGS: Final = {WIRE_V1: 1, WIRE_V2: 4}
_HEARTBEAT_TAGS: Final = {WIRE_V1: 2, WIRE_V2: 5}
_HIGHEST_V1_TAG: Final = 2
_REPLY_DATA_TAG: Final = 0
_SURB_REQUEST_TAG: Final = 1

_LIST_HEAD_BYTES: Final = 4
"""Count u32 in version 1; count u16, hops and rotation in version 2."""
_ITEM_FIXED_BYTES: Final = REPLY_KEY_BYTES + SURB_FIXED_BYTES
_V1_HOPS: Final = 4
_V1_ITEM_BYTES: Final = _ITEM_FIXED_BYTES + _V1_HOPS * PAYLOAD_KEY_BYTES
_REPLIABLE_FIXED_BYTES: Final = 1 + SENDER_TAG_BYTES + 1 + _LIST_HEAD_BYTES
_U16_MAX: Final = 0xFFFF
_U32_MAX: Final = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class PlainMessage:
    """Data without any means to answer."""

    data: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Kind and data."""
        return bytes((_PLAIN,)) + self.data


@dataclass(frozen=True, slots=True)
class RepliableData:
    """Data with SURBs to answer it."""

    data: bytes = field(repr=False)
    surbs: tuple[ReplySurb, ...] = ()
    rotation: KeyRotation = KeyRotation.UNKNOWN
    """In which all of the SURBs were made. Wire version 1 has no room for it: there it arrives as unknown."""
    wire_version: int = WIRE_V2
    """1 for SURBs of version 258, 2 for 259."""

    def encode(self) -> bytes:
        """Content tag, SURB list, data.

        Raises ``MalformedMessage`` for SURBs that the wire version cannot carry.
        """
        return _encode_surbs(_DATA_TAGS, self.surbs, self.rotation, self.wire_version) + self.data


@dataclass(frozen=True, slots=True)
class AdditionalSurbs:
    """SURBs alone: asked for, or supplied ahead."""

    surbs: tuple[ReplySurb, ...]
    rotation: KeyRotation = KeyRotation.UNKNOWN
    wire_version: int = WIRE_V2

    def encode(self) -> bytes:
        """Content tag and SURB list.

        Raises ``MalformedMessage`` for SURBs that the wire version cannot carry.
        """
        return _encode_surbs(_ADDITIONAL_TAGS, self.surbs, self.rotation, self.wire_version)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """SURBs under a tag of their own that nobody sends today; a receiver keeps the SURBs."""

    surbs: tuple[ReplySurb, ...]
    rotation: KeyRotation = KeyRotation.UNKNOWN
    wire_version: int = WIRE_V2

    def encode(self) -> bytes:
        """Content tag and SURB list.

        Raises ``MalformedMessage`` for SURBs that the wire version cannot carry.
        """
        return _encode_surbs(_HEARTBEAT_TAGS, self.surbs, self.rotation, self.wire_version)


@dataclass(frozen=True, slots=True)
class RepliableMessage:
    """For somebody whose address is known; answers go "to the tag" over the SURBs that came with it."""

    sender_tag: bytes
    """16 bytes that the sender picked for this recipient."""
    content: RepliableData | AdditionalSurbs | Heartbeat

    def __post_init__(self) -> None:
        if len(self.sender_tag) != SENDER_TAG_BYTES:
            raise MalformedMessage(f"a sender tag has {SENDER_TAG_BYTES} bytes, not {len(self.sender_tag)}")

    def encode(self) -> bytes:
        """Kind, sender tag and content. Raises ``MalformedMessage``."""
        return bytes((_REPLIABLE,)) + self.sender_tag + self.content.encode()


@dataclass(frozen=True, slots=True)
class ReplyData:
    """The data of an answer: at least one byte."""

    data: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Content tag and data. Raises ``MalformedMessage`` for no data, which every receiver refuses."""
        if not self.data:
            raise MalformedMessage("a reply needs at least one byte of data")
        return bytes((_REPLY_DATA_TAG,)) + self.data


@dataclass(frozen=True, slots=True)
class SurbRequest:
    """A replier's request for more SURBs, to be sent to its address."""

    recipient: Recipient
    amount: int

    def encode(self) -> bytes:
        """Content tag, address and amount (u32). Raises ``MalformedMessage`` if the amount does not fit."""
        if not 0 <= self.amount <= _U32_MAX:
            raise MalformedMessage("a request asks for 0 to 2^32-1 SURBs")
        return bytes((_SURB_REQUEST_TAG,)) + self.recipient.encode() + self.amount.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class ReplyMessage:
    """For somebody whose address is unknown: travels over SURBs."""

    content: ReplyData | SurbRequest

    def encode(self) -> bytes:
        """Kind and content. Raises ``MalformedMessage``."""
        return bytes((_REPLY,)) + self.content.encode()


NymMessage: TypeAlias = PlainMessage | RepliableMessage | ReplyMessage


def decode_message(data: bytes) -> NymMessage:
    """The message that ``data``, without its padding, is. Raises ``MalformedMessage``."""
    kind = data[:1]
    if kind == b"\x00":
        return PlainMessage(data[1:])
    if kind == b"\x01":
        tag_end = 1 + SENDER_TAG_BYTES
        return RepliableMessage(data[1:tag_end], _decode_repliable(data[tag_end:]))
    if kind == b"\x02":
        return ReplyMessage(_decode_reply(data[1:]))
    raise MalformedMessage("a message of unknown kind")


def repliable_data_capacity(
    packets: int, surbs: int, *, hops: int = 4, size: PacketSize = PacketSize.REGULAR
) -> int:
    """Bytes of data with which a repliable message of wire version 2 fills so many packets exactly.

    One byte more costs another packet (docs/protocol/02 §4). Raises ``PayloadTooLong`` if the SURBs alone do
    not fit.
    """
    sets = -(-packets // MAX_FRAGMENTS)
    # Two linked fragments where one set meets the next.
    links = 2 * (sets - 1) * (LINKED_HEADER_BYTES - UNLINKED_HEADER_BYTES)
    room = packets * (size.fragment_space - UNLINKED_HEADER_BYTES) - links
    capacity = room - 1 - _REPLIABLE_FIXED_BYTES - surbs * (_ITEM_FIXED_BYTES + hops * SEED_BYTES)
    if packets < 1 or capacity < 0:
        raise PayloadTooLong(f"{surbs} SURBs do not fit {packets} packets")
    return capacity


def _encode_surbs(
    tags: dict[int, int], surbs: tuple[ReplySurb, ...], rotation: KeyRotation, wire_version: int
) -> bytes:
    if wire_version not in tags:
        raise MalformedMessage(f"SURB lists have wire version 1 or 2, not {wire_version}")
    if wire_version == WIRE_V1:
        version, hops, most = V258, _V1_HOPS, _U32_MAX
        head = len(surbs).to_bytes(4, "big")
    else:
        version, hops, most = V259, surbs[0].surb.hops if surbs else 0, _U16_MAX
        head = (len(surbs) & _U16_MAX).to_bytes(2, "big") + bytes((hops, rotation if surbs else 0))
    if len(surbs) > most or any(item.surb.version != version or item.surb.hops != hops for item in surbs):
        raise MalformedMessage(
            "SURBs that one message cannot carry: wire version 1 takes those of version 258 with 4 hops, "
            "wire version 2 up to 65535 of version 259 with the same number of hops"
        )
    return b"".join((bytes((tags[wire_version],)), head, *(item.encode() for item in surbs)))


def _decode_repliable(content: bytes) -> RepliableData | AdditionalSurbs | Heartbeat:
    if len(content) < 1 + _LIST_HEAD_BYTES:
        raise MalformedMessage("a repliable message too short for its SURB list")
    tag = content[0]
    wire_version = WIRE_V1 if tag <= _HIGHEST_V1_TAG else WIRE_V2
    if tag == _DATA_TAGS[wire_version]:
        surbs, rotation, end = _decode_surbs(content, wire_version)
        return RepliableData(content[end:], surbs, rotation, wire_version)
    if tag == _ADDITIONAL_TAGS[wire_version]:
        surbs, rotation, _ = _decode_surbs(content, wire_version)
        return AdditionalSurbs(surbs, rotation, wire_version)
    if tag == _HEARTBEAT_TAGS[wire_version]:
        surbs, rotation, _ = _decode_surbs(content, wire_version)
        return Heartbeat(surbs, rotation, wire_version)
    raise MalformedMessage("a repliable message with an unknown content tag")


def _decode_surbs(content: bytes, wire_version: int) -> tuple[tuple[ReplySurb, ...], KeyRotation, int]:
    """The SURB list behind the content tag, its rotation, and where it ends."""
    start = 1 + _LIST_HEAD_BYTES
    rotation = KeyRotation.UNKNOWN
    item_bytes = _V1_ITEM_BYTES
    if wire_version == WIRE_V1:
        count = int.from_bytes(content[1:start], "big")
    else:
        count = int.from_bytes(content[1:3], "big")
        hops = content[3]
        item_bytes = _ITEM_FIXED_BYTES + hops * SEED_BYTES
        try:
            rotation = KeyRotation(content[4])
        except ValueError:
            raise MalformedMessage("SURBs of an unknown key rotation") from None
        if count and not 1 <= hops <= MAX_HOPS:
            raise MalformedMessage(f"SURBs of {hops} hops")
    end = start + count * item_bytes
    if end > len(content):
        raise MalformedMessage(f"a message that announces {count} SURBs and is too short for them")
    try:
        surbs = tuple(
            [ReplySurb.decode(content[at : at + item_bytes]) for at in range(start, end, item_bytes)]
        )
    except MalformedSurb as error:
        raise MalformedMessage(f"a message with a SURB that cannot be used: {error}") from error
    return surbs, rotation, end


def _decode_reply(content: bytes) -> ReplyData | SurbRequest:
    tag = content[:1]
    if tag == b"\x00" and len(content) > 1:
        return ReplyData(content[1:])
    if tag == b"\x01" and len(content) == 1 + RECIPIENT_BYTES + 4:
        try:
            recipient = Recipient.decode(content[1:-4])
        except MalformedRecipient as error:
            raise MalformedMessage(f"a request for SURBs to no valid address: {error}") from error
        return SurbRequest(recipient, int.from_bytes(content[-4:], "big"))
    raise MalformedMessage("a reply of unknown kind, or of the wrong length")
