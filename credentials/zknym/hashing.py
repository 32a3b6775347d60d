"""Hashes onto the curve and into the scalars, and the Fiat–Shamir challenge (docs/protocol/07 §3)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from zknym.constants import GROUP_ORDER
from zknym.curve import G1

_G1_DOMAIN: Final = b"NYMECASH-V01-CS02-with-BLS12381G1_XMD:SHA-256_SSWU_RO_"
_SCALAR_DOMAIN: Final = b"NYMECASH-V01-CS02-with-expander-SHA256"
_SHA256_BYTES: Final = 32
_SHA256_BLOCK_BYTES: Final = 64
_FIELD_BYTES: Final = 48
"""Bytes expanded per scalar: 128 bits more than the order has, so that the reduction leaves no bias."""


def hash_to_g1(message: bytes) -> G1:
    """H1: RFC 9380 hash_to_curve with suite BLS12381G1_XMD:SHA-256_SSWU_RO_ and the scheme's own tag."""
    return G1.hash_to_curve(message, _G1_DOMAIN)


def hash_to_scalar(message: bytes) -> int:
    """Hs: RFC 9380 hash_to_field with one output element."""
    return int.from_bytes(_expand(message, _FIELD_BYTES), "big") % GROUP_ORDER


def challenge(chunks: Iterable[bytes]) -> int:
    """FS: the challenge of a proof over the plain concatenation of `chunks`."""
    digest = hashlib.sha256(b"".join(chunks)).digest()
    return (int.from_bytes(digest, "little") << 8 * _SHA256_BYTES) % GROUP_ORDER


def _expand(message: bytes, length: int) -> bytes:
    """expand_message_xmd of RFC 9380 §5.3.1 over SHA-256, for up to 255 blocks of output."""
    tag = _SCALAR_DOMAIN + bytes([len(_SCALAR_DOMAIN)])
    start = bytes(_SHA256_BLOCK_BYTES) + message + length.to_bytes(2, "big") + b"\0" + tag
    first = hashlib.sha256(start).digest()
    block = hashlib.sha256(first + b"\1" + tag).digest()
    output = block
    for counter in range(2, -(-length // _SHA256_BYTES) + 1):
        mixed = (int.from_bytes(first, "big") ^ int.from_bytes(block, "big")).to_bytes(_SHA256_BYTES, "big")
        block = hashlib.sha256(mixed + bytes([counter]) + tag).digest()
        output += block
    return output[:length]
