"""The public points that all parties share, prepared for many products (docs/protocol/07 §3).

`GAMMA` is 0-based: GAMMA[0] is γ1 (user secret), GAMMA[1] is γ2 (wallet secret), then expiration date and
ticket type. Wherever the spend proof says "γ", it means γ2.
"""

from __future__ import annotations

from typing import Final

from zknym.curve import G1, G1_GENERATOR, G2, G2_GENERATOR, encode_g1, encode_g2
from zknym.fixed_base import FixedBase, fixed_g1, fixed_g2
from zknym.hashing import hash_to_g1

BASE_G1: Final[FixedBase[G1]] = fixed_g1(G1_GENERATOR)
BASE_G2: Final[FixedBase[G2]] = fixed_g2(G2_GENERATOR)
GAMMA: Final[tuple[FixedBase[G1], ...]] = tuple(
    fixed_g1(hash_to_g1(f"gamma{i}".encode())) for i in range(1, 5)
)
DELTA: Final[FixedBase[G1]] = fixed_g1(hash_to_g1(b"delta"))

ENCODED_BASE_G1: Final = encode_g1(G1_GENERATOR)
ENCODED_BASE_G2: Final = encode_g2(G2_GENERATOR)
ENCODED_GAMMAS: Final = b"".join(encode_g1(gamma.point) for gamma in GAMMA)
