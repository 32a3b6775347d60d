"""Paying with a book: how much, when, and with what (docs/protocol/07 §10)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.zknym.ecash_world import ENCODED_EXPIRATION, EXPIRATION, SPEND_DATE, TYPE, WORLD
from zknym import (
    InsufficientNumberOfExpirationSignatures,
    InsufficientNumberOfIndexSignatures,
    PayInfo,
    SpendDateTooEarly,
    SpendDateTooLate,
    SpendExceedsAllowance,
    SpendZkProofVerification,
    UnluckiestDraw,
    VerificationKey,
    VerificationKeyTooShort,
    Wallet,
    encode_date,
    sign_expiration_date,
    spend,
    spend_from_wallet,
    verify_payment,
)
from zknym.constants import GROUP_ORDER
from zknym.payment import Payment
from zknym.randomness import random_scalar
from zknym.spend_proof import Statement
from zknym.spending import Witness, _coin, prove, state

INFO = PayInfo(bytes(32), SPEND_DATE, bytes(32))


def pay(**changes):
    arguments = {
        "spent": 0,
        "spend_date": SPEND_DATE,
        "date_signatures": WORLD.dates,
        "coin_signatures": WORLD.coins,
    }
    return spend(WORLD.wallet, WORLD.user, WORLD.master, INFO, **(arguments | changes))


@pytest.mark.parametrize("day", range(7))
def test_a_book_can_be_spent_on_seven_days(day):
    spend_date = encode_date(EXPIRATION - timedelta(days=day))
    verify_payment(pay(spend_date=spend_date), INFO, spend_date, WORLD.master)


def test_not_on_the_day_before_or_after():
    with pytest.raises(SpendDateTooEarly):
        pay(spend_date=encode_date(EXPIRATION - timedelta(days=7)))
    with pytest.raises(SpendDateTooLate):
        pay(spend_date=encode_date(EXPIRATION + timedelta(days=1)))


@pytest.mark.parametrize(("spent", "tickets"), [(0, 1), (0, 3), (13, 2), (49, 1)])
def test_amounts(spent, tickets):
    payment = pay(spent=spent, tickets=tickets)
    assert payment.spend_value == tickets == len(payment.serial_numbers)
    assert payment.ticket_type == TYPE
    assert len(payment.encode()) == 683 + 474 * tickets
    assert len(payment.encoded_serial_number()) == 48 * tickets
    verify_payment(payment, INFO, SPEND_DATE, WORLD.master)


def test_the_whole_book_at_once():
    payment = pay(tickets=50)
    verify_payment(payment, INFO, SPEND_DATE, WORLD.master)
    assert Payment.decode(payment.encode()) == payment


@pytest.mark.parametrize(("spent", "tickets", "left"), [(0, 51, 50), (49, 2, 1), (50, 1, 0), (60, 1, 0)])
def test_no_more_than_is_left(spent, tickets, left):
    with pytest.raises(SpendExceedsAllowance) as caught:
        pay(spent=spent, tickets=tickets)
    assert (caught.value.spending, caught.value.remaining) == (tickets, left)


def test_wallets_count():
    payment, wallet = spend_from_wallet(
        Wallet(WORLD.wallet, 48),
        WORLD.user,
        WORLD.master,
        INFO,
        spend_date=SPEND_DATE,
        date_signatures=WORLD.dates,
        coin_signatures=WORLD.coins,
        tickets=2,
    )
    assert wallet == Wallet(WORLD.wallet, 50)
    assert payment.serial_numbers == pay(spent=48, tickets=2).serial_numbers


@pytest.mark.parametrize(
    "dates",
    [
        (),
        WORLD.dates[1:],
        WORLD.dates[::-1],
        sign_expiration_date(WORLD.signers[0].secret, ENCODED_EXPIRATION + 86_400),
    ],
    ids=["none", "six", "reversed", "another date"],
)
def test_date_signatures_that_do_not_serve(dates):
    """A payment made with them would be refused, and its ticket lost."""
    with pytest.raises(InsufficientNumberOfExpirationSignatures):
        pay(date_signatures=dates)


@pytest.mark.parametrize(
    "coins", [(), WORLD.coins[1:], WORLD.coins[::-1]], ids=["none", "too few", "reversed"]
)
def test_coin_signatures_that_do_not_serve(coins):
    with pytest.raises(InsufficientNumberOfIndexSignatures):
        pay(coin_signatures=coins)


def test_several_threads_share_a_key():
    """Tables are filled by whoever comes first; nobody sees half of one."""
    key = VerificationKey.decode(WORLD.master.encode())

    def pay_and_verify(spent: int) -> Payment:
        payment = spend(
            WORLD.wallet,
            WORLD.user,
            key,
            INFO,
            spent=spent,
            spend_date=SPEND_DATE,
            date_signatures=WORLD.dates,
            coin_signatures=WORLD.coins,
        )
        verify_payment(payment, INFO, SPEND_DATE, key)
        return payment

    with ThreadPoolExecutor(4) as threads:
        payments = list(threads.map(pay_and_verify, range(16)))
    assert len({payment.encoded_serial_number() for payment in payments}) == 16


def test_a_key_that_is_too_short():
    short = VerificationKey(WORLD.master.alpha, WORLD.master.beta_g1[:3], WORLD.master.beta_g2[:3])
    with pytest.raises(VerificationKeyTooShort):
        spend(
            WORLD.wallet,
            WORLD.user,
            short,
            INFO,
            spent=0,
            spend_date=SPEND_DATE,
            date_signatures=WORLD.dates,
            coin_signatures=WORLD.coins,
        )
    with pytest.raises(VerificationKeyTooShort):
        verify_payment(pay(), INFO, SPEND_DATE, short)


def test_a_ticket_without_a_serial_number():
    wallet = replace(WORLD.wallet, wallet_secret=GROUP_ORDER - 8)
    with pytest.raises(UnluckiestDraw):
        spend(
            wallet,
            WORLD.user,
            WORLD.master,
            INFO,
            spent=7,
            spend_date=SPEND_DATE,
            date_signatures=WORLD.dates,
            coin_signatures=WORLD.coins,
        )


def proving_everything(tickets: int) -> tuple[Payment, Witness]:
    """A payment that also proves what is in κk, as the paper has it and the deployed provers do not."""
    payment = pay(tickets=tickets)
    key = WORLD.master.prepared
    signature, r = WORLD.wallet.signature.randomised(random_scalar)
    today = next(date for date in WORLD.dates if date.spend_date == SPEND_DATE)
    date_signature, re = today.signature.randomised(random_scalar)
    oc, v = random_scalar(), WORLD.wallet.wallet_secret
    coins = tuple(_coin(k, INFO.factor(k), v, oc, WORLD.coins, key, random_scalar) for k in range(tickets))
    witness = Witness(
        WORLD.user.scalar, v, ENCODED_EXPIRATION, r, re, oc, coins, tuple(coin.rk for coin in coins)
    )
    statement = state(witness, key)
    return (
        replace(
            payment,
            kappa=statement.kappa,
            kappa_e=statement.kappa_e,
            signature=signature,
            date_signature=date_signature,
            kappa_k=statement.kappa_k,
            coin_signatures=tuple(coin.signature for coin in coins),
            commitments_a=statement.commitments_a,
            commitment_c=statement.commitment_c,
            proof=prove(witness, statement, WORLD.master, INFO, random_scalar),
        ),
        witness,
    )


@pytest.mark.parametrize("tickets", [1, 2])
def test_payments_that_prove_more_are_accepted_too(tickets):
    payment, witness = proving_everything(tickets)
    assert len(payment.proof.responses_rk) == tickets
    assert Statement.of(payment) == state(witness, WORLD.master.prepared)
    verify_payment(payment, INFO, SPEND_DATE, WORLD.master)
    verify_payment(Payment.decode(payment.encode()), INFO, SPEND_DATE, WORLD.master)
    for responses in (payment.proof.responses_rk[1:], (1,) * tickets, (*payment.proof.responses_rk, 1)):
        proof = replace(payment.proof, responses_rk=responses)
        with pytest.raises(SpendZkProofVerification):
            verify_payment(replace(payment, proof=proof), INFO, SPEND_DATE, WORLD.master)


def test_payments_look_like_those_of_everybody_else():
    assert pay().proof.responses_rk == ()
