"""What coin-index and expiration-date signatures have in common (docs/protocol/07 §7, §8).

Both are public sets whose i-th member signs i steps along one line: its key point is
`constant + slope·step`. That turns the check of a whole set into three pairings.
"""

from __future__ import annotations

from collections.abc import Sequence

from zknym.curve import G1, G2, G2_GENERATOR, g1_sum, pairings_cancel
from zknym.randomness import random_weight
from zknym.signatures import Signature
from zknym.threshold import lagrange_at_origin


def verify_line(
    hashes: Sequence[G1], signatures: Sequence[Signature], constant: G2, slope: G2, steps: Sequence[int]
) -> bool:
    """Whether each signature carries its own hash and verifies under constant + slope·step.

    All equations are checked at once, each under a fresh random weight of 128 bits.
    """
    if [signature.h for signature in signatures] != list(hashes):
        return False
    weights = [random_weight() for _ in signatures]
    return pairings_cancel(
        [
            (g1_sum(list(zip(hashes, weights, strict=True))), constant),
            (g1_sum([(h, w * k) for h, w, k in zip(hashes, weights, steps, strict=True)]), slope),
            (-g1_sum([(sig.s, w) for sig, w in zip(signatures, weights, strict=True)]), G2_GENERATOR),
        ]
    )


def combine(
    indices: Sequence[int], hashes: Sequence[G1], shares: Sequence[Sequence[Signature]]
) -> list[Signature]:
    """The signatures of the epoch's key out of those of a threshold of signers (verified before)."""
    factors = lagrange_at_origin(indices)
    return [
        Signature(h, g1_sum([(sig.s, factor) for sig, factor in zip(column, factors, strict=True)]))
        for h, column in zip(hashes, zip(*shares, strict=True), strict=True)
    ]
