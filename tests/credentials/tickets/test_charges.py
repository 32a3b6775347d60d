"""Gateways that credit too little or charge too much are found out, honest ones are not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_credentials.errors import GatewayOvercharges
from nym_credentials.tickets.charges import BALANCE_DAYS_SECONDS, PATIENCE_SECONDS, ChargeWatch, Meter

TICKET = 200_000_000
PACKET = 2_413


@given(
    st.sampled_from([1_000, 500_000, 5_000_000, TICKET]),
    st.lists(st.tuples(st.integers(0, 80_000), st.integers(0, 800), st.integers(0, 200)), max_size=20),
)
def test_honest_gateways_are_never_accused(ticket_bytes, rounds):
    """Whatever was sent, whatever is on the way at any moment, and though a gateway forgets its last packets."""
    watch, balance, charged, waiting = ChargeWatch(ticket_bytes), 0, 0, 0
    for packets, on_the_way, forgotten in rounds:
        sent = min(packets, balance // PACKET)
        charged += sent * PACKET
        waiting = min(on_the_way, waiting + sent)
        balance += forgotten - sent * PACKET
        watch.check(Meter(balance + waiting * PACKET, charged), 1.0)
        balance += ticket_bytes
        assert watch.accepted(balance + waiting * PACKET, Meter(balance, charged), 1.0)


def test_a_gateway_that_counts_twice():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(0, 0), 0.0)
    assert watch.accepted(TICKET, Meter(TICKET, 0), 0.0)
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
    assert watch.accepted(2_122_317_824, Meter(2_122_317_824, 0), 0.0)
    with pytest.raises(GatewayOvercharges):
        watch.check(Meter(0, 0), 1.0)


def test_a_gateway_that_credits_half():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(10, 0), 0.0)
    assert not watch.accepted(TICKET // 2, Meter(TICKET // 2, 0), 0.0)
    with pytest.raises(GatewayOvercharges):
        watch.check(Meter(TICKET // 2, 0), 1.0)


def test_a_revoked_ticket():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(0, 0), 0.0)
    watch.accepted(TICKET, Meter(TICKET, 0), 0.0)
    with pytest.raises(GatewayOvercharges):
        watch.check(Meter(TICKET - 10 * TICKET, 0), 1.0)


def test_what_cannot_be_compared_accuses_nobody():
    watch = ChargeWatch(TICKET)
    watch.check(Meter(None, 0), 0.0)
    assert watch.accepted(5, Meter(5, 0), 0.0), "nobody knew what was there before"
    watch.accepted(TICKET, Meter(TICKET, 5_000_000), 0.0)
    watch.check(Meter(0, 0), 1.0)  # another link counts from zero
    watch.accepted(TICKET, Meter(TICKET, 0), 1.0)
    watch.check(Meter(0, 7, link=2), 1.0)
    watch.accepted(TICKET, Meter(TICKET, 0), 1.0)
    watch.check(Meter(0, 0), 1.0 + BALANCE_DAYS_SECONDS)  # the gateway let it expire


def test_tickets_that_are_smaller_than_the_slack_are_not_compared():
    watch = ChargeWatch(1_000_000)
    watch.check(Meter(0, 0), 0.0)
    assert watch.accepted(0, Meter(0, 0), 0.0)
    watch.check(Meter(-5, 0), 1.0)
