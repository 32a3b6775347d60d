"""Purchases as they are stored, and the table of their life."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.purchase.records import (
    Deposit,
    Issuance,
    Purchase,
    PurchaseUnreadable,
    SignedPayment,
    SignerShare,
)
from nym_credentials.purchase.states import (
    FINISHED,
    PAID,
    TRANSITIONS,
    PurchaseEvent,
    PurchaseState,
    next_state,
)
from tests.zknym.ecash_world import ENCODED_EXPIRATION, EPOCH, EXPIRATION, TYPE, World
from zknym import UserSecretKey, request_withdrawal

S, E = PurchaseState, PurchaseEvent


def planned() -> Purchase:
    return Purchase(
        id=uuid.UUID(int=7),
        ticket_type=TYPE,
        network="mini",
        contract="n1contract",
        account="n1account",
        price=75_000_000,
        denom="unym",
        created_unix=1_780_000_000,
        identity_seed=bytes(range(32)),
        user=UserSecretKey(12345),
    )


def life() -> dict[PurchaseState, Purchase]:
    """One purchase in each state."""
    world = World()
    start = planned()
    signed = start.signed(SignedPayment(b"bytes of the transaction", "AB" * 32, 1, 2, 160_000, 4_000, "nyx"))
    broadcast = signed.sending()
    deposited = broadcast.deposited(Deposit(1234, 100))
    request, info = request_withdrawal(start.user, ENCODED_EXPIRATION, TYPE)
    requesting = deposited.requesting(Issuance(EPOCH, EXPIRATION, request, info))
    for index, blinded in world.blinded.items():
        requesting = requesting.answered(SignerShare(EPOCH, index, blinded))
    states = [
        start,
        signed,
        broadcast,
        deposited,
        requesting,
        requesting.issued(),
        start.given_up("no money"),
    ]
    return {purchase.state: purchase for purchase in states}


LIFE = life()


def test_every_state_is_stored_and_read():
    assert set(LIFE) == set(PurchaseState)
    for purchase in LIFE.values():
        read = Purchase.from_bytes(purchase.to_bytes(), version=3)
        assert read == replace(purchase, version=3)


def test_secrets_are_not_shown():
    for purchase in LIFE.values():
        text = repr(purchase)
        assert "12345" not in text
        assert repr(purchase.identity_seed) not in text
        assert "bytes of the transaction" not in text
        if purchase.issuance:
            assert str(purchase.issuance.info.wallet_secret) not in text


def test_the_request_is_the_same_at_every_attempt():
    purchase = LIFE[S.REQUESTING]
    again = Purchase.from_bytes(purchase.to_bytes(), version=1)
    assert purchase.sign_request().to_json() == again.sign_request().to_json()
    purchase.sign_request().verify(purchase.identity_key)


def test_a_second_answer_of_a_signer_replaces_the_first():
    purchase = LIFE[S.REQUESTING]
    assert len(purchase.answered(purchase.shares[0]).shares) == len(purchase.shares)


def test_another_request_forgets_the_answers_to_the_first():
    purchase = LIFE[S.REQUESTING]
    assert purchase.requesting(purchase.issuance).shares == ()


def test_what_comes_too_early_is_refused():
    with pytest.raises(ValueError, match="nothing to ask"):
        LIFE[S.SIGNED].sign_request()
    with pytest.raises(ValueError, match="no transaction"):
        LIFE[S.PLANNED].signed_deposit()


@pytest.mark.parametrize("state", PurchaseState)
@pytest.mark.parametrize("event", PurchaseEvent)
def test_the_table_is_the_whole_truth(state, event):
    if (state, event) in TRANSITIONS:
        assert next_state(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(ValueError, match="cannot"):
            next_state(state, event)


def test_what_is_paid_ends_only_as_a_book():
    for (state, _), after in TRANSITIONS.items():
        assert state not in FINISHED
        if state in PAID:
            assert after in PAID
    reachable = {S.PLANNED}
    while more := {after for (state, _), after in TRANSITIONS.items() if state in reachable} - reachable:
        reachable |= more
    assert reachable == set(PurchaseState)


@given(st.data())
def test_damaged_bytes_are_named_as_such(data):
    raw = LIFE[data.draw(st.sampled_from(list(LIFE)))].to_bytes()
    at = data.draw(st.integers(0, len(raw) - 1))
    damaged = raw[:at] + bytes([data.draw(st.integers(0, 255))]) + raw[at + 1 :]
    said = ""
    try:
        Purchase.from_bytes(damaged, version=1)
    except PurchaseUnreadable as error:
        said = str(error)
    assert LIFE[S.PLANNED].identity_seed.hex() not in said
    with pytest.raises(PurchaseUnreadable):
        Purchase.from_bytes(raw[:at], version=1)


@pytest.mark.parametrize(
    "change",
    [
        {"revision": 2},
        {"identity_seed": "00"},
        {"price": -1},
        {"price": True},
        {"state": "lost"},
        {"user": "ff" * 32},
        {"shares": [{}]},
        {"network": 7},
    ],
)
def test_values_that_cannot_be(change):
    value = json.loads(LIFE[S.REQUESTING].to_bytes()) | change
    with pytest.raises(PurchaseUnreadable):
        Purchase.from_bytes(json.dumps(value).encode(), version=1)
