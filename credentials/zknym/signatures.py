"""Pointcheval–Sanders signatures: pairs of G1 points checked with a pairing (docs/protocol/07 §6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from zknym.base58 import Base58Text
from zknym.bincode import Reader, g1_field
from zknym.constants import G1_BYTES
from zknym.curve import (
    G1,
    G1_IDENTITY,
    G2,
    G2_GENERATOR,
    decode_g1,
    encode_g1,
    g1_sum,
    native,
    pairings_cancel,
)
from zknym.errors import WrongLength
from zknym.json_fields import Json, JsonObject, g1, member
from zknym.randomness import Draw, random_weight

SIGNATURE_BYTES = 2 * G1_BYTES


def _split(data: bytes) -> tuple[G1, G1]:
    if len(data) != SIGNATURE_BYTES:
        raise WrongLength(f"a signature has {SIGNATURE_BYTES} bytes, not {len(data)}")
    return decode_g1(data[:G1_BYTES]), decode_g1(data[G1_BYTES:])


@dataclass(frozen=True, slots=True)
class Signature(Base58Text):
    """(h, s): valid under the key point X when e(h, X) = e(s, g2)."""

    h: G1
    s: G1

    def encode(self) -> bytes:
        """96 bytes."""
        return encode_g1(self.h) + encode_g1(self.s)

    @classmethod
    def decode(cls, data: bytes) -> Signature:
        """The inverse of `encode`. Raises `WrongLength`, `MalformedPoint`."""
        return cls(*_split(data))

    def to_json(self) -> JsonObject:
        """{"h", "s"}."""
        return {"h": encode_g1(self.h).hex(), "s": encode_g1(self.s).hex()}

    @classmethod
    def from_json(cls, value: Json) -> Signature:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(g1(member(value, "h")), g1(member(value, "s")))

    def field(self) -> bytes:
        """The form inside of bincode structures: 98 bytes."""
        return g1_field(self.h) + g1_field(self.s)

    @classmethod
    def read(cls, reader: Reader) -> Signature:
        """The inverse of `field`. Raises `MalformedBincode`."""
        return cls(reader.g1(), reader.g1())

    @property
    def at_infinity(self) -> bool:
        """Whether a component is the identity: such a pair satisfies equations that it should not."""
        return G1_IDENTITY in (self.h, self.s)

    def verifies(self, key: G2) -> bool:
        """Whether e(h, key) = e(s, g2). The caller checks `at_infinity` where it matters."""
        return pairings_cancel([(self.h, key), (-self.s, G2_GENERATOR)])

    def randomised(self, draw: Draw) -> tuple[Signature, int]:
        """An unlinkable signature, and the factor r by which its key point has to be blinded: X + g2·r."""
        blinding, factor = draw(), draw()
        h = self.h * native(factor)
        return Signature(h, self.s * native(factor) + h * native(blinding)), blinding


@dataclass(frozen=True, slots=True)
class BlindedSignature(Base58Text):
    """A signer's answer to a withdrawal request: (h, c), where c hides the signature from everybody else."""

    h: G1
    c: G1

    def encode(self) -> bytes:
        """96 bytes."""
        return encode_g1(self.h) + encode_g1(self.c)

    @classmethod
    def decode(cls, data: bytes) -> BlindedSignature:
        """The inverse of `encode`. Raises `WrongLength`, `MalformedPoint`."""
        return cls(*_split(data))

    def to_json(self) -> JsonObject:
        """{"h", "c"}."""
        return {"h": encode_g1(self.h).hex(), "c": encode_g1(self.c).hex()}

    @classmethod
    def from_json(cls, value: Json) -> BlindedSignature:
        """The inverse of `to_json`. Raises `MalformedData`."""
        return cls(g1(member(value, "h")), g1(member(value, "c")))


def verify_together(items: Iterable[tuple[Signature, G2]]) -> bool:
    """Whether every signature verifies under its key point: n + 1 pairings instead of 2n.

    Each equation is multiplied by a fresh random weight of 128 bits, so that errors of different
    signatures cannot cancel out. (The reference multiplies the bare equations.)
    """
    weighted = [(signature, key, random_weight()) for signature, key in items]
    pairs = [(signature.h * native(weight), key) for signature, key, weight in weighted]
    total = g1_sum([(signature.s, weight) for signature, _, weight in weighted])
    return pairings_cancel([*pairs, (-total, G2_GENERATOR)])
