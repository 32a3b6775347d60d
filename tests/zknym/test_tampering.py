"""Whatever is changed in a request, a share, a public set or a payment, it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zknym.ecash_world import ENCODED_EXPIRATION, SPEND_DATE, TYPE, WORLD
from zknym import (
    AggregationVerification,
    BlindedSignature,
    CoinIndicesSignatureVerification,
    EcashError,
    ExpirationDateSignatureVerification,
    IssuanceError,
    Payment,
    PaymentRejected,
    ReceivedPayment,
    SpendSignaturesVerification,
    SpendZkProofVerification,
    UserSecretKey,
    WithdrawalRequest,
    aggregate_coin_indices,
    aggregate_expiration_date,
    aggregate_wallet,
    unblind,
    verify_blinded_signature,
    verify_coin_indices,
    verify_expiration_date,
    verify_payment,
    verify_payments,
    verify_wallet,
)
from zknym.constants import GROUP_ORDER
from zknym.curve import G1, G1_GENERATOR, G1_IDENTITY, G2, G2_GENERATOR, G2_IDENTITY

BYTE_EXAMPLES = 60

PAYMENT, PAY_INFO = WORLD.pay(tickets=2)
SINGLE, SINGLE_INFO = WORLD.pay(spent=2)


def altered(value: Any) -> Iterator[tuple[str, Any]]:
    """Every variant of a message with exactly one leaf changed: shifted, zeroed, swapped, dropped or doubled."""
    if is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            if field.init:
                for where, changed in altered(getattr(value, field.name)):
                    yield f"{field.name}{where}", replace(value, **{field.name: changed})
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            for where, changed in altered(item):
                yield f"[{i}]{where}", (*value[:i], changed, *value[i + 1 :])
        if len(value) > 1 and value[0] != value[1]:
            yield " swapped", (value[1], value[0], *value[2:])
        yield " short", value[:-1]
        yield " long", (*value, *value[-1:])
        yield " empty", ()
    elif isinstance(value, G1):
        yield " shifted", value + G1_GENERATOR
        yield " negated", -value
        yield " at infinity", G1_IDENTITY
    elif isinstance(value, G2):
        yield " shifted", value + G2_GENERATOR
        yield " negated", -value
        yield " at infinity", G2_IDENTITY
    elif isinstance(value, int):
        yield " +1", (value + 1) % GROUP_ORDER
        if value:
            yield " zero", 0
    elif isinstance(value, bytes):
        yield " flipped", bytes([value[0] ^ 1]) + value[1:]
    else:
        raise AssertionError(f"no way to alter a {type(value)}")


def variants(value: Any) -> list[Any]:
    found = [(name, changed) for name, changed in altered(value) if changed != value]
    assert found
    return [pytest.param(changed, id=name.strip()) for name, changed in found]


def fixed_size(value: Any) -> list[Any]:
    """Without those whose lists have another length: the decoder cannot make them, so the types exclude them."""
    return [item for item in variants(value) if not str(item.id).endswith(("short", "long", "empty"))]


def test_the_untouched_is_accepted():
    WORLD.request.verify(WORLD.user.public_key(), ENCODED_EXPIRATION, TYPE)
    verify_payment(PAYMENT, PAY_INFO, SPEND_DATE, WORLD.master)
    verify_payment(SINGLE, SINGLE_INFO, SPEND_DATE, WORLD.master)
    verify_coin_indices(WORLD.coins, WORLD.master)
    verify_expiration_date(WORLD.dates, ENCODED_EXPIRATION, WORLD.master)


@pytest.mark.parametrize("request_", fixed_size(WORLD.request))
def test_altered_request(request_: WithdrawalRequest):
    with pytest.raises(IssuanceError):
        request_.verify(WORLD.user.public_key(), ENCODED_EXPIRATION, TYPE)


@pytest.mark.parametrize("blinded", fixed_size(WORLD.blinded[1]))
def test_altered_answer_of_a_signer(blinded: BlindedSignature):
    signer = WORLD.signers[0]
    with pytest.raises(IssuanceError):
        unblind(blinded, WORLD.info, WORLD.user, signer.verification, signer.index)
    with pytest.raises(IssuanceError):
        verify_blinded_signature(
            blinded, WORLD.request.attribute_commitments, ENCODED_EXPIRATION, TYPE, signer.verification
        )


# The opening of the joined commitment plays no part after the request.
@pytest.mark.parametrize(
    "info", [item for item in fixed_size(WORLD.info) if not str(item.id).startswith("opening ")]
)
def test_altered_secrets_of_a_request(info):
    signer = WORLD.signers[0]
    with pytest.raises(IssuanceError):
        unblind(WORLD.blinded[1], info, WORLD.user, signer.verification, signer.index)


@pytest.mark.parametrize("share", fixed_size(WORLD.shares[0]))
def test_altered_share(share):
    with pytest.raises(EcashError):
        aggregate_wallet([share, WORLD.shares[1]], WORLD.user, WORLD.master)


@pytest.mark.parametrize("wallet", fixed_size(WORLD.wallet))
def test_altered_wallet(wallet):
    with pytest.raises(IssuanceError):
        verify_wallet(wallet, WORLD.user, WORLD.master)


def test_too_few_shares_and_another_user():
    with pytest.raises(AggregationVerification):
        aggregate_wallet(WORLD.shares[:1], WORLD.user, WORLD.master)
    with pytest.raises(AggregationVerification):
        aggregate_wallet(WORLD.shares, UserSecretKey.generate(), WORLD.master)


def set_variants(signatures: Any) -> Iterator[Any]:
    last = len(signatures) - 1
    for i in (0, 1, last // 2, last):
        for name, changed in altered(signatures[i]):
            variant = (*signatures[:i], changed, *signatures[i + 1 :])
            if variant != signatures:
                yield pytest.param(variant, id=f"[{i}] {name}")
    yield pytest.param(signatures[:-1], id="short")
    yield pytest.param((*signatures, signatures[-1]), id="long")
    yield pytest.param((signatures[1], signatures[0], *signatures[2:]), id="swapped")
    yield pytest.param((), id="empty")


@pytest.mark.parametrize("coins", list(set_variants(WORLD.coins)))
def test_altered_coin_index_signatures(coins):
    with pytest.raises(CoinIndicesSignatureVerification):
        verify_coin_indices(coins, WORLD.master)


@pytest.mark.parametrize("dates", list(set_variants(WORLD.dates)))
def test_altered_date_signatures(dates):
    with pytest.raises(ExpirationDateSignatureVerification):
        verify_expiration_date(dates, ENCODED_EXPIRATION, WORLD.master)


def cancelling(first: Any, second: Any) -> tuple[Any, Any]:
    """Two wrong signatures whose errors cancel out in a product without weights."""
    return (
        replace(first, signature=replace(first.signature, s=first.signature.s + G1_GENERATOR)),
        replace(second, signature=replace(second.signature, s=second.signature.s - G1_GENERATOR)),
    )


def test_errors_do_not_cancel_out_in_sets():
    with pytest.raises(CoinIndicesSignatureVerification):
        verify_coin_indices((*cancelling(*WORLD.coins[:2]), *WORLD.coins[2:]), WORLD.master)
    with pytest.raises(ExpirationDateSignatureVerification):
        verify_expiration_date(
            (*cancelling(*WORLD.dates[:2]), *WORLD.dates[2:]), ENCODED_EXPIRATION, WORLD.master
        )


def test_shares_of_sets_are_checked_before_they_are_combined():
    first, second = WORLD.signers[:2]
    with pytest.raises(CoinIndicesSignatureVerification):
        aggregate_coin_indices(
            [(s.index, s.verification, WORLD.coins) for s in (first, second)], WORLD.master
        )
    with pytest.raises(ExpirationDateSignatureVerification):
        aggregate_expiration_date(
            [(s.index, s.verification, WORLD.dates) for s in (first, second)],
            ENCODED_EXPIRATION,
            WORLD.master,
        )


@pytest.mark.parametrize("payment", variants(PAYMENT))
def test_altered_payment(payment: Payment):
    with pytest.raises(PaymentRejected):
        verify_payment(payment, PAY_INFO, SPEND_DATE, WORLD.master)


@pytest.mark.parametrize("pay_info", variants(PAY_INFO))
def test_altered_pay_info(pay_info):
    with pytest.raises(SpendZkProofVerification):
        verify_payment(PAYMENT, pay_info, SPEND_DATE, WORLD.master)


@pytest.mark.parametrize("spend_date", [SPEND_DATE - 86_400, SPEND_DATE + 1, SPEND_DATE + 86_400])
def test_another_day(spend_date):
    with pytest.raises(PaymentRejected):
        verify_payment(PAYMENT, PAY_INFO, spend_date, WORLD.master)


def test_another_key():
    with pytest.raises(SpendZkProofVerification):
        verify_payment(PAYMENT, PAY_INFO, SPEND_DATE, WORLD.signers[0].verification)


def test_errors_do_not_cancel_out_in_payments():
    first, second = PAYMENT.coin_signatures
    forged = (replace(first, s=first.s + G1_GENERATOR), replace(second, s=second.s - G1_GENERATOR))
    with pytest.raises(SpendSignaturesVerification):
        verify_payment(replace(PAYMENT, coin_signatures=forged), PAY_INFO, SPEND_DATE, WORLD.master)


def test_a_bad_payment_does_not_harm_its_batch():
    bad = replace(SINGLE, signature=replace(SINGLE.signature, s=SINGLE.signature.s + G1_GENERATOR))
    received = [
        ReceivedPayment(PAYMENT, PAY_INFO, SPEND_DATE),
        ReceivedPayment(bad, SINGLE_INFO, SPEND_DATE),
        ReceivedPayment(SINGLE, SINGLE_INFO, SPEND_DATE),
        ReceivedPayment(SINGLE, PAY_INFO, SPEND_DATE),
    ]
    verdicts = verify_payments(received, WORLD.master)
    assert [verdict is None for verdict in verdicts] == [True, False, True, False]
    assert isinstance(verdicts[3], SpendZkProofVerification)


def flip(data: bytes, bit: int) -> bytes:
    position, shift = divmod(bit % (8 * len(data)), 8)
    return data[:position] + bytes([data[position] ^ 1 << shift]) + data[position + 1 :]


@settings(max_examples=BYTE_EXAMPLES, deadline=None)
@given(st.integers(0, 8 * len(SINGLE.encode()) - 1))
def test_any_flipped_bit_of_a_payment(bit):
    with pytest.raises(EcashError):
        verify_payment(Payment.decode(flip(SINGLE.encode(), bit)), SINGLE_INFO, SPEND_DATE, WORLD.master)


@settings(max_examples=BYTE_EXAMPLES, deadline=None)
@given(st.integers(0, 8 * len(WORLD.request.encode()) - 1))
def test_any_flipped_bit_of_a_request(bit):
    with pytest.raises(EcashError):
        WithdrawalRequest.decode(flip(WORLD.request.encode(), bit)).verify(
            WORLD.user.public_key(), ENCODED_EXPIRATION, TYPE
        )


@settings(max_examples=BYTE_EXAMPLES, deadline=None)
@given(st.integers(0, 8 * 96 - 1))
def test_any_flipped_bit_of_a_signers_answer(bit):
    signer = WORLD.signers[0]
    with pytest.raises(EcashError):
        unblind(
            BlindedSignature.decode(flip(WORLD.blinded[1].encode(), bit)),
            WORLD.info,
            WORLD.user,
            signer.verification,
            signer.index,
        )
