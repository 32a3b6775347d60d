"""Loop cover: packets to ourselves that look like data packets (docs/protocol/02 §10)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from nym_sphinx.acks import build_surb_ack
from nym_sphinx.constants import V259
from nym_sphinx.envelope import seal_for
from nym_sphinx.fragments import COVER_FRAGMENT_ID
from nym_sphinx.header import Hop
from nym_sphinx.mix_packet import MixPacket
from nym_sphinx.packet import prepare_packet
from nym_sphinx.rng import SYSTEM_RNG
from nym_sphinx.sizes import KeyRotation, PacketSize

COVER_MARKER: Final = b"The cake is a lie!"
"""No fragment begins with it: the first bit of a fragment is 1."""


def cover_content(size: PacketSize) -> bytes:
    """What a cover packet carries instead of a fragment."""
    return (COVER_MARKER + b"\x01").ljust(size.fragment_space, b"\0")


def is_cover(content: bytes) -> bool:
    """Whether a decrypted fragment is cover."""
    return content.startswith(COVER_MARKER)


def build_cover(
    *,
    route: Sequence[Hop],
    ack_route: Sequence[Hop],
    delays_ns: Sequence[int],
    ack_delays_ns: Sequence[int],
    identity: bytes,
    encryption_key: bytes,
    ack_key: bytes,
    size: PacketSize = PacketSize.REGULAR,
    version: int = V259,
    rotation: KeyRotation = KeyRotation.UNKNOWN,
    rng: random.Random = SYSTEM_RNG,
    shortcut: bool = True,
    envelope: bytes | None = None,
) -> MixPacket:
    """One cover packet, ready for the gateway.

    Both routes end at our own gateway; the keys are our own public ones. ``envelope``: use this one, from
    ``decoy_envelope``, and leave it to the caller to know it again; otherwise what is inside says that it is cover.

    Raises ``BadRoute``, ``MalformedRecipient`` or ``MalformedAck``.
    """
    ack = build_surb_ack(
        ack_key,
        COVER_FRAGMENT_ID,
        ack_route,
        ack_delays_ns,
        identity,
        version=version,
        rng=rng,
        shortcut=shortcut,
    )
    content = seal_for(encryption_key, cover_content(size), rng=rng) if envelope is None else envelope
    prepared = prepare_packet(route, delays_ns, identity, version=version, rng=rng, shortcut=shortcut)
    return MixPacket(prepared.first_hop, prepared.seal(ack.encode() + content, size), rotation)
