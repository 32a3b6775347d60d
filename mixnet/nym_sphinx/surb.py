"""Single-use reply blocks (docs/protocol/01 §9, 02 §8).

A header made in advance, with the keys for its payload.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from blake3 import blake3

from nym_sphinx.addressing import NodeAddress
from nym_sphinx.base58 import b58encode
from nym_sphinx.constants import (
    ADDRESS_BYTES,
    HEADER_BYTES,
    MAX_HOPS,
    NO_IDENTIFIER,
    PAYLOAD_KEY_BYTES,
    SEED_BYTES,
    V258,
    V259,
)
from nym_sphinx.errors import MalformedAddress, MalformedSurb
from nym_sphinx.header import Hop, build_header
from nym_sphinx.kdf import PAYLOAD_KEY, PAYLOAD_SEED, payload_key_from_seed
from nym_sphinx.payload import seal_payload
from nym_sphinx.rng import SYSTEM_RNG
from nym_sphinx.sizes import PacketSize

REPLY_KEY_BYTES: Final = 16
SURB_FIXED_BYTES: Final = HEADER_BYTES + ADDRESS_BYTES
"""A SURB without its key material."""


@dataclass(frozen=True, slots=True)
class Surb:
    """A header, where to send it first, and its payload keys.

    Whoever holds it can send one packet without knowing where it goes.
    """

    header: bytes
    first_hop: NodeAddress
    key_material: bytes = field(repr=False)
    """In route order: 192 bytes a hop (version 258), or seeds of 16 bytes (version 259)."""

    def __post_init__(self) -> None:
        material = len(self.key_material)
        unit = SEED_BYTES if material < PAYLOAD_KEY_BYTES else PAYLOAD_KEY_BYTES
        if len(self.header) != HEADER_BYTES or not material or material % unit or material > MAX_HOPS * unit:
            raise MalformedSurb("a SURB has a header of 348 bytes and one to five payload keys or seeds")

    @property
    def version(self) -> int:
        """258 or 259, told by the kind of its key material."""
        return V259 if len(self.key_material) < PAYLOAD_KEY_BYTES else V258

    @property
    def hops(self) -> int:
        """How many nodes are on its route."""
        return len(self.key_material) // (SEED_BYTES if self.version == V259 else PAYLOAD_KEY_BYTES)

    def encode(self) -> bytes:
        """380 bytes and the key material: 444 in all for 4 hops of version 259, 1148 for 258."""
        return b"".join((self.header, self.first_hop.encode_padded(), self.key_material))

    @classmethod
    def decode(cls, data: bytes) -> Surb:
        """From exactly one SURB. Raises ``MalformedSurb``."""
        try:
            first_hop = NodeAddress.decode(data[HEADER_BYTES:SURB_FIXED_BYTES])
        except MalformedAddress as error:
            raise MalformedSurb("a SURB too short, or without a valid first hop") from error
        return cls(data[:HEADER_BYTES], first_hop, data[SURB_FIXED_BYTES:])

    def payload_keys(self) -> list[bytes]:
        """The payload keys of 192 bytes, in route order."""
        material = self.key_material
        if self.version == V259:
            seeds = range(0, len(material), SEED_BYTES)
            return [payload_key_from_seed(material[at : at + SEED_BYTES]) for at in seeds]
        keys = range(0, len(material), PAYLOAD_KEY_BYTES)
        return [material[at : at + PAYLOAD_KEY_BYTES] for at in keys]

    def seal(self, plaintext: bytes, size: PacketSize) -> bytes:
        """The whole packet with this payload, to be sent to ``first_hop``. Use a SURB once only.

        Raises ``PayloadTooLong``.
        """
        return self.header + seal_payload(self.payload_keys(), plaintext, size.payload_bytes)


def build_surb(
    route: Sequence[Hop],
    delays_ns: Sequence[int],
    destination: bytes,
    *,
    version: int = V259,
    identifier: bytes = NO_IDENTIFIER,
    rng: random.Random = SYSTEM_RNG,
    shortcut: bool = True,
) -> Surb:
    """A SURB that leads to ourselves.

    ``route`` ends at our gateway, ``destination`` is our identity key. Raises ``BadRoute``.
    """
    header, expanded = build_header(
        route, delays_ns, destination, identifier, version, rng=rng, shortcut=shortcut
    )
    kept = PAYLOAD_KEY if version == V258 else PAYLOAD_SEED
    return Surb(header, route[0].address, b"".join([material[kept] for material in expanded]))


@dataclass(frozen=True, slots=True)
class ReplySurb:
    """A SURB with the key that encrypts the reply's content, as it travels to the replier."""

    key: bytes = field(repr=False)
    surb: Surb

    def __post_init__(self) -> None:
        if len(self.key) != REPLY_KEY_BYTES:
            raise MalformedSurb(f"a reply key has {REPLY_KEY_BYTES} bytes, not {len(self.key)}")

    def to_base58(self) -> str:
        """The text form. It holds the key, so it is not what ``str`` gives."""
        return b58encode(self.encode())

    @property
    def digest(self) -> bytes:
        """32 bytes by which the creator finds the key again when the reply comes in."""
        return reply_key_digest(self.key)

    def encode(self) -> bytes:
        """The key and the SURB: 460 bytes for 4 hops of version 259, 1164 for 258."""
        return self.key + self.surb.encode()

    @classmethod
    def decode(cls, data: bytes) -> ReplySurb:
        """From exactly one reply SURB. Raises ``MalformedSurb``."""
        return cls(data[:REPLY_KEY_BYTES], Surb.decode(data[REPLY_KEY_BYTES:]))


def build_reply_surb(
    route: Sequence[Hop],
    delays_ns: Sequence[int],
    destination: bytes,
    *,
    version: int = V259,
    rng: random.Random = SYSTEM_RNG,
    shortcut: bool = True,
) -> ReplySurb:
    """A reply SURB with a fresh key; keep ``digest -> key`` until the reply came or the SURB is too old.

    Raises ``BadRoute``.
    """
    surb = build_surb(route, delays_ns, destination, version=version, rng=rng, shortcut=shortcut)
    return ReplySurb(rng.randbytes(REPLY_KEY_BYTES), surb)


def reply_key_digest(key: bytes) -> bytes:
    """BLAKE3 of a reply key, 32 bytes (docs/protocol/02 §8)."""
    return blake3(key).digest()
