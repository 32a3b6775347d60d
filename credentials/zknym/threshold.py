"""Sharing one key among signers: interpolation, aggregation, and keys from one trusted party.

On the network the signers make their keys together (distributed key generation); `generate_signers`
serves local networks and tests (docs/protocol/07 §4.1, §5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zknym.constants import DEPLOYED_KEY_LENGTH, GROUP_ORDER, MAX_U64, TRUSTED_PARTY_KEY_LENGTH
from zknym.curve import g1_sum, g2_sum, invert
from zknym.errors import (
    AggregationDuplicateIndices,
    AggregationEmptySet,
    AggregationSizeMismatch,
    InvalidArgument,
    KeygenParameters,
)
from zknym.randomness import Draw, random_scalar
from zknym.signer_keys import SignerSecretKey, VerificationKey


@dataclass(frozen=True, slots=True)
class SignerKeys:
    """One signer of an epoch: its index (from 1) and both halves of its key."""

    index: int
    secret: SignerSecretKey
    verification: VerificationKey


def lagrange_at_origin(indices: Sequence[int]) -> tuple[int, ...]:
    """The factors λ by which values at `indices` are combined into the value at 0.

    Raises `AggregationEmptySet`, `AggregationDuplicateIndices`, and `InvalidArgument` for an index that
    no signer has: index 0 would make one signer's value count as everybody's.
    """
    if not indices:
        raise AggregationEmptySet("nothing to aggregate: at least one share is needed")
    if len(set(indices)) != len(indices):
        raise AggregationDuplicateIndices("a signer occurs twice among the shares")
    if not all(0 < index <= MAX_U64 for index in indices):
        raise InvalidArgument("signers are numbered from 1")
    factors = []
    for i in indices:
        numerator = denominator = 1
        for j in indices:
            if j != i:
                numerator = numerator * -j % GROUP_ORDER
                denominator = denominator * (i - j) % GROUP_ORDER
        factors.append(numerator * invert(denominator) % GROUP_ORDER)
    return tuple(factors)


def aggregate_verification_keys(shares: Sequence[tuple[int, VerificationKey]]) -> VerificationKey:
    """The master key out of (index, key) of any threshold of signers; more give the same key.

    Raises `AggregationSizeMismatch` when the keys differ in length, else as `lagrange_at_origin`.
    """
    factors = lagrange_at_origin([index for index, _ in shares])
    keys = [key for _, key in shares]
    lengths = {len(key.beta_g1) for key in keys}
    if len(lengths) > 1:
        raise AggregationSizeMismatch("the signers' keys have different numbers of y values")
    return VerificationKey(
        alpha=g2_sum([(key.alpha, factor) for key, factor in zip(keys, factors, strict=True)]),
        beta_g1=tuple(
            g1_sum(list(zip(column, factors, strict=True)))
            for column in zip(*(key.beta_g1 for key in keys), strict=True)
        ),
        beta_g2=tuple(
            g2_sum(list(zip(column, factors, strict=True)))
            for column in zip(*(key.beta_g2 for key in keys), strict=True)
        ),
    )


def generate_signers(
    threshold: int, signers: int, *, y_values: int = DEPLOYED_KEY_LENGTH, draw: Draw = random_scalar
) -> tuple[SignerKeys, ...]:
    """Keys for `signers` signers, any `threshold` of which can issue.

    `y_values` is 4 as on the network, or 5 as the reference's trusted party makes them.
    Raises `KeygenParameters` unless 1 ≤ threshold ≤ signers.
    """
    if not 1 <= threshold <= signers:
        raise KeygenParameters("the threshold must be at least 1 and at most the number of signers")
    if y_values not in (DEPLOYED_KEY_LENGTH, TRUSTED_PARTY_KEY_LENGTH):
        raise KeygenParameters("a signer's key has 4 or 5 y values")
    # The reference always draws the fifth polynomial; so do we, to keep its recorded draws in step.
    polynomials = [[draw() for _ in range(threshold)] for _ in range(1 + TRUSTED_PARTY_KEY_LENGTH)]
    keys = []
    for index in range(1, signers + 1):
        x, *ys = (_evaluate(polynomial, index) for polynomial in polynomials)
        secret = SignerSecretKey(x, tuple(ys[:y_values]))
        keys.append(SignerKeys(index, secret, secret.verification_key()))
    return tuple(keys)


def _evaluate(coefficients: Sequence[int], at: int) -> int:
    """Horner's rule; the constant comes first."""
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * at + coefficient) % GROUP_ORDER
    return value
