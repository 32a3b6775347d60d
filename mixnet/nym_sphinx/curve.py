"""X25519, and the shortcut that builds a route's shared secrets with one call a hop.

In a header every hop's secret is a *chain* of X25519 calls: the sender's secret and then each earlier hop's
blinding factor, applied one after another (docs/protocol/01 §5), 1 + 2 + 3 + 4 calls for four hops. Each call
multiplies by its *clamped* scalar, so on the curve the chain multiplies by a product of integers that are all
divisible by 8. On a point of the curve that product may be reduced modulo the order ``L`` of the prime-order
subgroup, provided the result is again a multiple of 8 (which removes the part of small order in the same way
as the chain does). One ordinary X25519 call can then do all of it: ``representative`` finds a scalar that
clamping leaves as it is and that is congruent to plus or minus the product (both signs have the same
u-coordinate).

This does not hold for a point on the curve's twist, whose group has another order. ``is_on_curve`` tells,
once per node key; for other keys the chain is used. Both ways give the same bytes.

Timing: products and reductions run on Python integers and are not constant-time. They touch only secrets that
are drawn fresh for one packet and never used again.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from nacl.bindings import crypto_scalarmult as x25519
from nacl.bindings import crypto_scalarmult_base as x25519_base
from nacl.exceptions import CryptoError

# libsodium reads 32 bytes without asking how many there are: callers check lengths.
__all__ = ["CryptoError", "clamped", "is_on_curve", "reduced", "representative", "x25519", "x25519_base"]

_P: Final = 2**255 - 19
_A: Final = 486662
ORDER: Final = 2**252 + 27742317777372353535851937790883648493
"""L, the order of the prime-order subgroup."""
_CLAMP_MASK: Final = 2**254 - 8
_CLAMP_BIT: Final = 2**254
_U_MASK: Final = 2**255 - 1
_NODE_KEYS_REMEMBERED: Final = 8192


def clamped(scalar: bytes) -> int:
    """The integer that X25519 multiplies by when given these 32 bytes."""
    return int.from_bytes(scalar, "little") & _CLAMP_MASK | _CLAMP_BIT


def reduced(scalar: bytes) -> int:
    """The integer modulo ``L``, as packets of versions 1 and 257 use scalars."""
    return int.from_bytes(scalar, "little") % ORDER


def representative(product: int) -> bytes | None:
    """32 scalar bytes with which one X25519 call multiplies by plus or minus ``product`` (0 <= product < L).

    ``None`` when there are none (probability about 2^-125): use the chain.
    """
    # product + m*L must be a multiple of 8; L = 5 mod 8 and -1/5 = 3 mod 8.
    multiple = product * 3 & 7
    if multiple < 4:
        product = ORDER - product
        multiple = 7 - multiple
    scalar = product + multiple * ORDER
    if scalar >> 254 != 1:
        return None
    return scalar.to_bytes(32, "little")


@lru_cache(maxsize=_NODE_KEYS_REMEMBERED)
def is_on_curve(public_key: bytes) -> bool:
    """True if these 32 bytes are the u-coordinate of a point of Curve25519 itself, false if of its twist."""
    u = (int.from_bytes(public_key, "little") & _U_MASK) % _P
    square = u * (u * (u + _A) + 1) % _P
    return pow(square, (_P - 1) // 2, _P) != _P - 1
