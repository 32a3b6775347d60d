"""Gateways that credit too little or charge too much are found out, honest ones are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.errors import GatewayOvercharges
from nym_credentials.tickets.charges import BALANCE_DAYS_SECONDS, PATIENCE_SECONDS, ChargeWatch, Meter

TICKET = 200_000_000
PACKET = 2_413


def accepted(watch, total, meter, now, before=None):
    """Nothing was sent between the ticket and its answer, unless `before` says so."""
    return watch.accepted(total, meter, now, before=before or meter)


@given(
    st.sampled_from([1_000, 500_000, 5_000_000, TICKET]),
    st.lists(
        st.tuples(
            st.integers(0, 80_000), st.integers(0, 80_000), st.integers(0, 80_000), st.integers(0, 200)
        ),
        max_size=20,
    ),
)
def test_honest_gateways_are_never_accused(ticket_bytes, rounds):
    """Whatever was sent, whatever is on the way at any moment, and though a gateway forgets its last packets.

    What it says in answer to packets may be long out of date; a ticket is taken up after the packets before it.
    """
    watch, balance, charged = ChargeWatch(ticket_bytes), 0, 0
    for packets, on_the_way, meanwhile, forgotten in rounds:
        sent = packets * PACKET
        charged += sent
        balance += forgotten - sent
        watch.check(Meter(balance + min(on_the_way * PACKET, sent), charged), 1.0)
        assert watch.missing <= watch.slack
        balance += ticket_bytes
        before = Meter(balance - ticket_bytes, charged)
        total = balance  # what comes after the ticket is not in it
        charged += meanwhile * PACKET
        balance -= meanwhile * PACKET
        assert accepted(watch, total, Meter(total, charged), 1.0, before)


def test_packets_on_their_way_at_one_ticket_are_not_missing_at_the_next():
    ticket = 8_000_000
    watch = ChargeWatch(ticket)
    watch.check(Meter(0, 0), 0.0)
    assert accepted(watch, ticket, Meter(ticket, 0), 0.0)
    sent = 6_500_000
    watch.check(Meter(ticket - 1_000_000, sent), 1.0)  # it has seen but one million so far
    before, left = Meter(ticket - 1_000_000, sent), ticket - sent
    late = Meter(left + ticket, sent + 4_000_000)  # more was sent until its answer was noted
    assert accepted(watch, left + ticket, late, 2.0, before)
    watch.check(Meter(left + ticket - 4_000_000, sent + 4_000_000), 3.0)


def test_no_account_begins_with_an_old_statement():
    watch = ChargeWatch(8_000_000)
    watch.check(Meter(8_000_000, 6_000_000), 0.0)  # left over from before; nothing of it has arrived yet
    meter = Meter(8_000_000, 6_000_000)
    assert accepted(watch, 10_000_000, meter, 1.0)


def test_a_gateway_that_counts_twice():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(0, 0), 0.0)
    assert accepted(watch, TICKET, Meter(TICKET, 0), 0.0)
    sent = 80_000_000
    with pytest.raises(GatewayOvercharges, match="80000000 bytes") as caught:
        watch.check(Meter(TICKET - 2 * sent, sent), 10.0)
    assert caught.value.missing == sent
    with pytest.raises(GatewayOvercharges):
        watch.check(Meter(TICKET, sent), 10.0 + PATIENCE_SECONDS - 1)
    watch.check(Meter(TICKET - 2 * sent, sent), 10.0 + PATIENCE_SECONDS)


def test_a_gateway_that_takes_tickets_and_gives_nothing():
    """docs/protocol/03 §9.7: the answer promises much, the allowance stays what it was."""
    watch = ChargeWatch(TICKET)
    watch.check(Meter(0, 0), 0.0)
    assert accepted(watch, 2_122_317_824, Meter(2_122_317_824, 0), 0.0)
    with pytest.raises(GatewayOvercharges):
        watch.check(Meter(0, 0), 1.0)


def test_a_gateway_that_credits_half():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(10, 0), 0.0)
    assert not accepted(watch, TICKET // 2, Meter(TICKET // 2, 0), 0.0)
    with pytest.raises(GatewayOvercharges):
        watch.check(Meter(TICKET // 2, 0), 1.0)


def test_a_revoked_ticket():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(0, 0), 0.0)
    accepted(watch, TICKET, Meter(TICKET, 0), 0.0)
    with pytest.raises(GatewayOvercharges):
        watch.check(Meter(TICKET - 10 * TICKET, 0), 1.0)


def test_what_cannot_be_compared_accuses_nobody():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(None, 0), 0.0)
    assert accepted(watch, 5, Meter(5, 0), 0.0), "nobody knew what was there before"
    accepted(watch, TICKET, Meter(TICKET, 5_000_000), 0.0)
    watch.check(Meter(0, 0), 1.0)  # another link counts from zero
    accepted(watch, TICKET, Meter(TICKET, 0), 1.0)
    watch.check(Meter(0, 7, link=2), 1.0)
    accepted(watch, TICKET, Meter(TICKET, 0), 1.0)
    watch.check(Meter(0, 0), 1.0 + BALANCE_DAYS_SECONDS)  # the gateway let it expire


def test_tickets_that_are_smaller_than_the_slack_are_not_compared():
    watch = ChargeWatch(1_000_000)
    watch.check(Meter(0, 0), 0.0)
    assert accepted(watch, 0, Meter(0, 0), 0.0)
    watch.check(Meter(-5, 0), 1.0)
