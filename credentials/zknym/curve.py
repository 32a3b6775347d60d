"""The groups of BLS12-381: the border to the library that computes in them (docs/protocol/07 §2).

Scalars are plain Python integers modulo the group order everywhere else in this package; points are the
library's types under the names `G1` and `G2`. Everything that enters from outside passes `decode_g1`,
`decode_g2` or `decode_scalar`, which accept exactly one encoding of each value and only points of the
prime-order subgroup. The library itself also reads odd forms of the point at infinity; these are refused
here.

Nothing in this module runs in constant time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from py_arkworks_bls12381 import GT, G1Point, G2Point, Scalar

from zknym.constants import G1_BYTES, G2_BYTES, GROUP_ORDER, SCALAR_BYTES
from zknym.errors import MalformedPoint, MalformedScalar

G1: TypeAlias = G1Point
G2: TypeAlias = G2Point

G1_GENERATOR: Final = G1Point()
G2_GENERATOR: Final = G2Point()
G1_IDENTITY: Final = G1Point.identity()
G2_IDENTITY: Final = G2Point.identity()

_INFINITY_FLAG = 0x40
_G1_INFINITY: Final = b"\xc0" + bytes(G1_BYTES - 1)
_G2_INFINITY: Final = b"\xc0" + bytes(G2_BYTES - 1)


def native(value: int) -> Scalar:
    """`value` modulo the group order in the library's form (its own constructor is ten times slower)."""
    return Scalar.from_le_bytes((value % GROUP_ORDER).to_bytes(SCALAR_BYTES, "little"))


def invert(value: int) -> int:
    """The inverse modulo the group order of a value that is not zero."""
    return int(native(value).inverse())


def g1_sum(terms: Sequence[tuple[G1, int]]) -> G1:
    """Σ point·scalar. One call into the library, which lets go of the interpreter lock meanwhile."""
    return G1Point.multiexp_unchecked([point for point, _ in terms], [native(k) for _, k in terms])


def g2_sum(terms: Sequence[tuple[G2, int]]) -> G2:
    """Σ point·scalar. One call into the library, which lets go of the interpreter lock meanwhile."""
    return G2Point.multiexp_unchecked([point for point, _ in terms], [native(k) for _, k in terms])


def pairings_cancel(pairs: Sequence[tuple[G1, G2]]) -> bool:
    """Whether Π e(P_i, Q_i) is 1: n Miller loops and one final exponentiation."""
    return GT.pairing_check([p for p, _ in pairs], [q for _, q in pairs])


def encode_scalar(value: int) -> bytes:
    """32 bytes, little-endian."""
    return value.to_bytes(SCALAR_BYTES, "little")


def encode_g1(point: G1) -> bytes:
    """48 bytes, compressed."""
    return point.to_compressed_bytes()


def encode_g2(point: G2) -> bytes:
    """96 bytes, compressed."""
    return point.to_compressed_bytes()


def decode_scalar(data: bytes) -> int:
    """The inverse of `encode_scalar`. Raises `MalformedScalar` unless `data` is the canonical form."""
    value = int.from_bytes(data, "little")
    if len(data) != SCALAR_BYTES or value >= GROUP_ORDER:
        raise MalformedScalar("a scalar is 32 little-endian bytes below the group order")
    return value


def decode_g1(data: bytes) -> G1:
    """The inverse of `encode_g1`; the identity is accepted. Raises `MalformedPoint`."""
    if len(data) != G1_BYTES:
        raise MalformedPoint(f"a compressed G1 point has {G1_BYTES} bytes, not {len(data)}")
    if data[0] & _INFINITY_FLAG and data != _G1_INFINITY:
        raise MalformedPoint("an odd encoding of the G1 point at infinity")
    try:
        return G1Point.from_compressed_bytes(data)
    except ValueError as error:
        raise MalformedPoint("not a compressed point of the prime-order subgroup of G1") from error


def decode_g2(data: bytes) -> G2:
    """The inverse of `encode_g2`; the identity is accepted. Raises `MalformedPoint`."""
    if len(data) != G2_BYTES:
        raise MalformedPoint(f"a compressed G2 point has {G2_BYTES} bytes, not {len(data)}")
    if data[0] & _INFINITY_FLAG and data != _G2_INFINITY:
        raise MalformedPoint("an odd encoding of the G2 point at infinity")
    try:
        return G2Point.from_compressed_bytes(data)
    except ValueError as error:
        raise MalformedPoint("not a compressed point of the prime-order subgroup of G2") from error
