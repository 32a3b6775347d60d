"""What a gateway or signer does with a payment (docs/protocol/07 §11).

The checks and the order in which they are reported follow the reference, with these additions: lists of
the wrong length and signatures at infinity are refused, and the signatures of all payments of a batch
are checked by one product of pairings, each equation under its own random weight of 128 bits.

Not checked here, since it takes a memory: that the serial number and the pay-info are new.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from zknym.curve import G1, G2, encode_g1
from zknym.dates import EncodedDate
from zknym.endomorphism import times_g1, times_g2
from zknym.errors import (
    ExpirationDateSignatureValidity,
    MultipleTickets,
    PaymentRejected,
    SpendDateNotToday,
    SpendDuplicateSerialNumber,
    SpendSignaturesValidity,
    SpendSignaturesVerification,
    SpendZkProofVerification,
)
from zknym.generators import BASE_G1, BASE_G2, DELTA, GAMMA
from zknym.pay_info import PayInfo
from zknym.payment import Payment
from zknym.prepared_key import PreparedKey
from zknym.signatures import Signature, verify_together
from zknym.signer_keys import VerificationKey
from zknym.spend_proof import Commitments, Statement, spend_challenge

_GAMMA = GAMMA[1]
_DISCLOSED_ATTRIBUTES = 3


@dataclass(frozen=True, slots=True)
class ReceivedPayment:
    """A payment with what it has to be valid for: its pay-info and the encoded date of its day."""

    payment: Payment
    pay_info: PayInfo
    spend_date: EncodedDate


@dataclass(frozen=True, slots=True)
class _Equation:
    """A signature that must verify under `key`, or else the payment is refused with `error`."""

    signature: Signature
    key: G2
    error: PaymentRejected

    def holds(self) -> bool:
        return not self.signature.at_infinity and self.signature.verifies(self.key)


def verify_payment(
    payment: Payment, pay_info: PayInfo, spend_date: EncodedDate, master: VerificationKey
) -> None:
    """Accepts a payment by returning.

    Raises a `PaymentRejected`, or `VerificationKeyTooShort` for a key that cannot verify any.
    """
    refusal = verify_payments([ReceivedPayment(payment, pay_info, spend_date)], master)[0]
    if refusal is not None:
        raise refusal


def verify_payments(
    received: Sequence[ReceivedPayment], master: VerificationKey
) -> list[PaymentRejected | None]:
    """One verdict per payment, in order: None is acceptance. All must be of the epoch of `master`.

    A batch costs less per payment than single calls. A wrong payment in it does not harm the others,
    but makes the signatures of all be checked a second time, payment by payment.
    """
    key = master.prepared
    key.type_point(0)  # refuses a key that could not verify any payment
    verdicts: list[PaymentRejected | None] = []
    pending: dict[int, list[_Equation]] = {}
    for position, item in enumerate(received):
        try:
            _check_proof(item.payment, item.pay_info, master, key)
        except PaymentRejected as refusal:
            verdicts.append(refusal)
        else:
            verdicts.append(None)
            pending[position] = _equations(item.payment, item.spend_date, key)
    if not _all_hold([equation for equations in pending.values() for equation in equations]):
        for position, equations in pending.items():
            if not _all_hold(equations):
                verdicts[position] = next(e.error for e in equations if not e.holds())
    return verdicts


def check_single_ticket(payment: Payment, spend_date: date, today: date) -> None:
    """What a gateway checks before the cryptography: one ticket, dated for its own UTC day.

    Raises `MultipleTickets`, `SpendDateNotToday`.
    """
    if payment.spend_value != 1:
        raise MultipleTickets("the payment contains more or less than one ticket: pay one at a time")
    if spend_date != today:
        raise SpendDateNotToday(f"the payment is dated {spend_date}, today is {today} (UTC)")


def _all_hold(equations: list[_Equation]) -> bool:
    if any(equation.signature.at_infinity for equation in equations):
        return False
    return verify_together((equation.signature, equation.key) for equation in equations)


def _equations(payment: Payment, spend_date: EncodedDate, key: PreparedKey) -> list[_Equation]:
    """In the order in which the reference checks them. Every κk has a signature here."""
    coin_error = SpendSignaturesVerification("a coin-index signature of the payment is wrong")
    return [
        _Equation(
            payment.signature,
            payment.kappa + key.type_point(payment.ticket_type),
            SpendSignaturesValidity("the wallet signature is wrong, or the ticket type was changed"),
        ),
        _Equation(
            payment.date_signature,
            payment.kappa_e + key.spend_date_point(spend_date),
            ExpirationDateSignatureValidity("the payment is not valid on this day"),
        ),
        *(
            _Equation(signature, kappa + key.coin_shift, coin_error)
            for signature, kappa in zip(payment.coin_signatures, payment.kappa_k, strict=True)
        ),
    ]


def _check_proof(payment: Payment, pay_info: PayInfo, master: VerificationKey, key: PreparedKey) -> None:
    serial_numbers = payment.serial_numbers
    if len(serial_numbers) > 1 and len(set(map(encode_g1, serial_numbers))) != len(serial_numbers):
        raise SpendDuplicateSerialNumber("the payment contains the same ticket twice")
    if not _has_one_of_each(payment):
        raise SpendZkProofVerification("the lists of the payment do not fit its number of tickets")
    commitments = _recompute(payment, pay_info, key)
    if spend_challenge(master, Statement.of(payment), commitments, pay_info) != payment.proof.challenge:
        raise SpendZkProofVerification("the proof is wrong: altered, or made for other pay-info or keys")
    if len(payment.coin_signatures) != payment.spend_value:
        raise SpendSignaturesVerification("a ticket of the payment has no coin-index signature")


def _has_one_of_each(payment: Payment) -> bool:
    """Everything but the coin-index signatures, whose absence the reference reports differently."""
    proof = payment.proof
    lists: tuple[Sequence[object], ...] = (
        payment.serial_numbers,
        payment.tags,
        payment.commitments_a,
        payment.kappa_k,
        proof.responses_l,
        proof.responses_oa,
        proof.responses_m,
        proof.responses_om,
    )
    return (
        payment.spend_value > 0
        and all(len(items) == payment.spend_value for items in lists)
        and len(proof.responses_attributes) == _DISCLOSED_ATTRIBUTES
        and len(proof.responses_rk) in (0, payment.spend_value)
    )


def _recompute(payment: Payment, pay_info: PayInfo, key: PreparedKey) -> Commitments:
    """The commitments that the responses stand for: response·base + challenge·point each time."""
    proof = payment.proof
    c = proof.challenge
    z_sk, z_v, z_date = proof.responses_attributes
    betas = key.betas
    # κ, κe and κk contain α once; only what exceeds it was blinded by the nonces.
    rest_of_alpha = key.alpha.times(1 - c)
    factors = [pay_info.factor(k) for k in range(payment.spend_value)]
    c_gamma = _GAMMA.times(c)
    shifted = payment.commitment_c + _GAMMA.point

    def serial(point: G1, z_m: int) -> G1:
        return DELTA.times(z_m) + times_g1(point, c)

    return Commitments(
        kappa=times_g2(payment.kappa, c)
        + rest_of_alpha
        + BASE_G2.times(proof.response_r)
        + betas[0].times(z_sk)
        + betas[1].times(z_v)
        + betas[2].times(z_date),
        kappa_e=times_g2(payment.kappa_e, c)
        + rest_of_alpha
        + BASE_G2.times(proof.response_re)
        + betas[0].times(z_date),
        c=BASE_G1.times(proof.response_oc) + _GAMMA.times(z_v) + times_g1(payment.commitment_c, c),
        a=tuple(
            BASE_G1.times(z_oa) + _GAMMA.times(z_l) + times_g1(point, c)
            for z_oa, z_l, point in zip(
                proof.responses_oa, proof.responses_l, payment.commitments_a, strict=True
            )
        ),
        serial=tuple(map(serial, payment.serial_numbers, proof.responses_m)),
        kappa_k=tuple(
            times_g2(point, c) + BASE_G2.times(z_rk) + rest_of_alpha + betas[0].times(z_l)
            for point, z_rk, z_l in zip(payment.kappa_k, proof.responses_rk, proof.responses_l, strict=False)
        ),
        gamma=tuple(
            times_g1(point + shifted, z_m) + BASE_G1.times(z_om) + c_gamma
            for point, z_m, z_om in zip(
                payment.commitments_a, proof.responses_m, proof.responses_om, strict=True
            )
        ),
        tags=tuple(
            BASE_G1.times(z_sk + factor * z_m) + times_g1(point, c)
            for factor, z_m, point in zip(factors, proof.responses_m, payment.tags, strict=True)
        ),
    )
