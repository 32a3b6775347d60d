"""Spending twice reveals the user, spending once reveals nothing, and a book gives no more than it has."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.zknym.ecash_world import (
    GATEWAY,
    NOW_UNIX,
    SPEND_DATE,
    TODAY,
    WORLD,
    World,
)
from zknym import (
    TICKETS_PER_BOOK,
    DoubleSpender,
    InvalidArgument,
    MultipleTickets,
    NotADuplicate,
    PayInfo,
    PayInfoRejected,
    SamePayment,
    SpendDateNotToday,
    SpendExceedsAllowance,
    SpendingCredential,
    SpendZkProofVerification,
    UnknownTicketType,
    Wallet,
    identify,
    spend,
    spend_from_wallet,
    verify_payment,
)
from zknym.curve import encode_g1

TICKET = st.integers(0, TICKETS_PER_BOOK - 1)


@settings(max_examples=8, deadline=None)
@given(TICKET)
def test_spending_a_ticket_twice_reveals_the_user(ticket):
    first, second = WORLD.pay(spent=ticket), WORLD.pay(spent=ticket)
    assert identify(*first, *second) == DoubleSpender(WORLD.user.public_key())
    assert identify(*second, *first) == DoubleSpender(WORLD.user.public_key())


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 46), st.integers(1, 3), st.integers(0, 46), st.integers(1, 3))
def test_payments_that_overlap_reveal_the_user_and_others_do_not(start, count, other_start, other_count):
    first, second = (
        WORLD.pay(spent=start, tickets=count),
        WORLD.pay(spent=other_start, tickets=other_count),
    )
    overlap = set(range(start, start + count)) & set(range(other_start, other_start + other_count))
    expected = DoubleSpender(WORLD.user.public_key()) if overlap else NotADuplicate()
    assert identify(*first, *second) == expected


def test_the_same_payment_twice_proves_nothing():
    payment, info = WORLD.pay()
    assert identify(payment, info, payment, info) == SamePayment(info)
    again, _ = WORLD.pay(pay_info=info)
    assert again != payment
    assert identify(payment, info, again, info) == SamePayment(info), "the tag is a point, not a line"
    assert again.tags == payment.tags


def test_payments_of_different_users_have_nothing_in_common():
    other = World()
    assert identify(*WORLD.pay(), *other.pay()) == NotADuplicate()


def test_one_payment_reveals_nothing():
    """No value of two payments of one book recurs, and none is the user's key, the wallet's or a signature's."""
    (first, _), (second, _) = WORLD.pay(spent=0), WORLD.pay(spent=1)
    seen = [leaves(first.to_json()), leaves(second.to_json())]
    assert all(len(values) > 20 for values in seen)
    assert not seen[0] & seen[1]
    known = leaves(WORLD.wallet.to_json()) | {
        WORLD.user.encode().hex(),
        WORLD.user.public_key().encode().hex(),
    }
    known |= leaves([item.to_json() for item in (*WORLD.coins, *WORLD.dates, WORLD.request)])
    assert not known & (seen[0] | seen[1])


def test_only_the_serial_number_tells_payments_of_one_ticket():
    (first, _), (second, _) = WORLD.pay(spent=5), WORLD.pay(spent=5)
    assert first.encoded_serial_number() == second.encoded_serial_number()
    assert leaves(first.to_json()) & leaves(second.to_json()) == {encode_g1(first.serial_numbers[0]).hex()}


def leaves(value: object) -> set[str]:
    """All hex strings of a JSON form."""
    if isinstance(value, dict):
        return set().union(*map(leaves, value.values()))
    if isinstance(value, list):
        return set().union(*map(leaves, value))
    return {value} if isinstance(value, str) else set()


def test_secrets_are_not_printed():
    secrets = [WORLD.user.scalar, WORLD.wallet.wallet_secret, WORLD.info.opening, *WORLD.info.openings]
    secrets += [WORLD.signers[0].secret.x, *WORLD.signers[0].secret.ys]
    shown = repr(
        (WORLD.user, WORLD.wallet, WORLD.info, WORLD.shares, WORLD.signers, WORLD.book, Wallet(WORLD.wallet))
    )
    for secret in secrets:
        assert str(secret) not in shown
        assert f"{secret:x}" not in shown


@pytest.mark.parametrize("y_values", [4, 5])
def test_a_whole_book(y_values):
    """First and last ticket, in one payment of several and alone, with keys of either length."""
    world = World(y_values)
    info = PayInfo.create(GATEWAY, NOW_UNIX)
    wallet = Wallet(world.wallet)
    serials: list[bytes] = []
    for tickets in (1, TICKETS_PER_BOOK - 2, 1):
        payment, wallet = spend_from_wallet(
            wallet,
            world.user,
            world.master,
            info,
            spend_date=SPEND_DATE,
            date_signatures=world.dates,
            coin_signatures=world.coins,
            tickets=tickets,
        )
        verify_payment(payment, info, SPEND_DATE, world.master)
        serials += map(encode_g1, payment.serial_numbers)
    assert len(set(serials)) == TICKETS_PER_BOOK == wallet.tickets_spent
    with pytest.raises(SpendExceedsAllowance) as caught:
        spend_from_wallet(
            wallet,
            world.user,
            world.master,
            info,
            spend_date=SPEND_DATE,
            date_signatures=world.dates,
            coin_signatures=world.coins,
        )
    assert (caught.value.spending, caught.value.remaining) == (1, 0)


@pytest.mark.parametrize(("spent", "tickets"), [(0, 0), (0, -1), (-1, 1)])
def test_nothing_but_whole_tickets(spent, tickets):
    with pytest.raises(InvalidArgument):
        WORLD.pay(spent=spent, tickets=tickets)


def test_a_book_spends_with_data_of_its_own_epoch_only():
    credential, rest = WORLD.book.pay(
        PayInfo.create(GATEWAY, NOW_UNIX), TODAY, WORLD.epoch_key, WORLD.coin_set, WORLD.date_set
    )
    credential.verify(WORLD.master)
    assert rest == replace(WORLD.book, spent_tickets=1)
    with pytest.raises(InvalidArgument):
        WORLD.book.pay(
            PayInfo.create(GATEWAY, NOW_UNIX),
            TODAY,
            replace(WORLD.epoch_key, epoch_id=WORLD.epoch_key.epoch_id + 1),
            WORLD.coin_set,
            WORLD.date_set,
        )


def test_sets_must_be_in_order():
    payment_of = {"spent": 0, "spend_date": SPEND_DATE}
    info = PayInfo.create(GATEWAY, NOW_UNIX)
    for coins, dates in ((WORLD.coins[::-1], WORLD.dates), (WORLD.coins, WORLD.dates[::-1])):
        with pytest.raises(ValueError, match="in order"):
            spend(
                WORLD.wallet,
                WORLD.user,
                WORLD.master,
                info,
                coin_signatures=coins,
                date_signatures=dates,
                **payment_of,
            )


def test_what_a_gateway_checks_without_a_key():
    payment, info = WORLD.pay()
    credential = SpendingCredential(payment, info, TODAY, 12)
    assert credential.check_at_gateway(GATEWAY, NOW_UNIX + 30, TODAY) == WORLD.book.ticket_type
    assert credential.check_at_gateway(GATEWAY, NOW_UNIX - 30, TODAY) == WORLD.book.ticket_type
    for seconds in (-31, 31):
        with pytest.raises(PayInfoRejected):
            credential.check_at_gateway(GATEWAY, NOW_UNIX + seconds, TODAY)
    with pytest.raises(PayInfoRejected):
        credential.check_at_gateway(bytes(32), NOW_UNIX, TODAY)
    with pytest.raises(SpendDateNotToday):
        credential.check_at_gateway(GATEWAY, NOW_UNIX, TODAY.replace(day=TODAY.day + 1))
    with pytest.raises(MultipleTickets):
        replace(credential, payment=WORLD.pay(tickets=2)[0]).check_at_gateway(GATEWAY, NOW_UNIX, TODAY)
    with pytest.raises(UnknownTicketType):
        replace(credential, payment=replace(payment, ticket_type=4)).check_at_gateway(
            GATEWAY, NOW_UNIX, TODAY
        )


def test_a_proof_with_made_up_extra_responses_is_refused():
    payment, info = WORLD.pay()
    extended = replace(payment, proof=replace(payment.proof, responses_rk=(1,)))
    with pytest.raises(SpendZkProofVerification):
        verify_payment(extended, info, SPEND_DATE, WORLD.master)


def test_a_payment_of_no_ticket_is_refused():
    payment, info = WORLD.pay()
    nothing = dict.fromkeys(("kappa_k", "coin_signatures", "serial_numbers", "tags", "commitments_a"), ())
    proof = replace(payment.proof, responses_l=(), responses_oa=(), responses_m=(), responses_om=())
    with pytest.raises(SpendZkProofVerification):
        verify_payment(
            replace(payment, spend_value=0, proof=proof, **nothing), info, SPEND_DATE, WORLD.master
        )
