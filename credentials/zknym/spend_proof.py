"""The challenge of a payment's proof: what prover and verifier both compute (docs/protocol/07 §10.1).

The prover forms commitments from random nonces, the verifier recomputes them from the responses; the
proof holds when both lead to the same challenge.

The deployed prover proves nothing about κk: its list of coin blinding factors is always empty. Payments
that do prove it are valid too, so `Commitments.kappa_k` may be filled, but spending leaves it empty like
everybody else: a payment must not tell which program made it.
"""

from __future__ import annotations

from dataclasses import dataclass

from zknym.bincode import g1_field, g2_field, vector
from zknym.curve import G1, G2, encode_g1, encode_g2
from zknym.generators import ENCODED_BASE_G1, ENCODED_BASE_G2, ENCODED_GAMMAS
from zknym.hashing import challenge
from zknym.pay_info import PayInfo
from zknym.payment import Payment
from zknym.signer_keys import VerificationKey

_COUNT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Commitments:
    """The points t of the proof; the lists have one element per ticket, `kappa_k` may be empty."""

    kappa: G2
    kappa_e: G2
    c: G1
    a: tuple[G1, ...]
    serial: tuple[G1, ...]
    kappa_k: tuple[G2, ...]
    gamma: tuple[G1, ...]
    tags: tuple[G1, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """The points of a payment that its proof is about."""

    kappa: G2
    kappa_e: G2
    kappa_k: tuple[G2, ...]
    serial_numbers: tuple[G1, ...]
    tags: tuple[G1, ...]
    commitments_a: tuple[G1, ...]
    commitment_c: G1

    @classmethod
    def of(cls, payment: Payment) -> Statement:
        """Those of `payment`."""
        return cls(
            payment.kappa,
            payment.kappa_e,
            payment.kappa_k,
            payment.serial_numbers,
            payment.tags,
            payment.commitments_a,
            payment.commitment_c,
        )

    def encode(self) -> bytes:
        """The bytes that are hashed (bincode). The order differs from that of the payment."""
        return (
            g2_field(self.kappa)
            + g1_field(self.commitment_c)
            + vector(self.commitments_a, g1_field)
            + vector(self.serial_numbers, g1_field)
            + vector(self.tags, g1_field)
            + vector(self.kappa_k, g2_field)
            + g2_field(self.kappa_e)
        )


def spend_challenge(
    master: VerificationKey, statement: Statement, commitments: Commitments, pay_info: PayInfo
) -> int:
    """The Fiat–Shamir challenge of a payment whose lists all have one element per ticket."""
    return challenge(
        [
            ENCODED_BASE_G1,
            ENCODED_BASE_G2,
            ENCODED_GAMMAS,
            master.encode(),
            statement.encode(),
            encode_g2(commitments.kappa),
            encode_g2(commitments.kappa_e),
            encode_g1(commitments.c),
            *map(encode_g1, commitments.a),
            *map(encode_g1, commitments.serial),
            *map(encode_g2, commitments.kappa_k),
            *map(encode_g1, commitments.gamma),
            *map(encode_g1, commitments.tags),
            pay_info.encode(),
            len(statement.serial_numbers).to_bytes(_COUNT_BYTES, "little"),
        ]
    )
