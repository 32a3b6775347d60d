"""What every answer of a gateway means for the ticket (docs/protocol/03 §9.4), against answers of real gateways."""

from __future__ import annotations

import pytest

from nym_credentials.store.records import Settlement
from nym_credentials.tickets.answers import ANSWERS, UNKNOWN_ANSWER, Cause, answer_for
from nym_mixnet.gateway_session import ticket_outcome
from nym_mixnet.tickets import TicketOutcome

SPEC_TEXTS = {
    "Provided binary request was malformed - the received encrypted data was malformed": Cause.LINK,
    "Provided binary request was malformed - failed to either encrypt or decrypt provided message": Cause.LINK,
    "provided unknown ticketbook type": Cause.TICKET,
    "the received payment contained more than a single ticket. that's currently not supported": Cause.TICKET,
    "the provided credential has an invalid spending date. got 2026-11-23 but expected 2026-11-22": Cause.CLOCK,
    "the provided bandwidth credential has already been spent before at this gateway": Cause.REPLAY,
    "the DKG threshold value for epoch 6 is currently unavailable. we're probably mid-epoch transition": (
        Cause.GATEWAY
    ),
    "the provided key share hasn't been verified": Cause.GATEWAY,
    "provided payinfo's public key does not match provider's": Cause.TICKET,
    "provided payinfo's timestamp is invalid": Cause.CLOCK,
    "received payinfo is a duplicate": Cause.REPLAY,
    "the provided ticket failed to get verified": Cause.TICKET,
    "failed to verify provided ticket due to invalid expiration date signatures": Cause.TICKET,
}


@pytest.mark.parametrize("text", list(SPEC_TEXTS))
def test_every_text_of_the_protocol(text):
    answer = answer_for(text)
    assert answer.cause is SPEC_TEXTS[text]
    assert answer.settlement is (Settlement.SPENT if "already been spent" in text else Settlement.REFUSED)
    assert answer.resend is (answer.cause in (Cause.LINK, Cause.GATEWAY))


@pytest.mark.parametrize("text", list(SPEC_TEXTS))
def test_the_client_knows_the_same_texts(text):
    assert ticket_outcome(text) is not TicketOutcome.UNKNOWN


def test_every_row_is_needed():
    for row in ANSWERS:
        assert answer_for(f"… {row.text} …") is row


def test_nothing_but_never_sent_lets_a_ticket_be_made_out_again():
    assert Settlement.UNSENT not in {row.settlement for row in (*ANSWERS, UNKNOWN_ANSWER)}
    assert Settlement.ACCEPTED not in {row.settlement for row in (*ANSWERS, UNKNOWN_ANSWER)}


@pytest.mark.parametrize("text", ["", "whatever", "internal server error"])
def test_unknown_texts_count_as_spent(text):
    answer = answer_for(text)
    assert answer is UNKNOWN_ANSWER
    assert answer.settlement is Settlement.UNKNOWN


def test_advice_is_for_people():
    for row in ANSWERS:
        assert row.settlement is None or row.advice.endswith(".")
