"""Timers of unacknowledged packets."""

from __future__ import annotations

import pytest

from nym_mixnet.outgoing import Outgoing, Sending
from nym_mixnet.pending import PendingAcks


def packet(number: int, lane: int = 1) -> Outgoing:
    return Outgoing(number.to_bytes(5, "big"), b"", lane, Sending(1))


def test_the_timer_is_one_and_a_half_times_the_expected_delay_plus_an_addition():
    pending = PendingAcks()
    pending.sent(packet(1), 0.1, now=10.0)
    assert pending.next_deadline() == pytest.approx(10.0 + 0.15 + 1.5)
    assert pending.expired(11.6) == []
    assert [p.item.fragment_id for p in pending.expired(11.66)] == [packet(1).fragment_id]
    assert len(pending) == 0
    assert pending.next_deadline() is None


def test_an_acknowledged_packet_never_expires():
    pending = PendingAcks()
    pending.sent(packet(1), 0.1, now=0.0)
    pending.sent(packet(2), 0.2, now=0.0)
    done = pending.acked(packet(1).fragment_id)
    assert done is not None
    assert done.item.fragment_id == packet(1).fragment_id
    assert pending.acked(packet(1).fragment_id) is None
    assert [p.item.fragment_id for p in pending.expired(1000.0)] == [packet(2).fragment_id]


def test_dropping_a_lane_forgets_only_its_packets():
    pending = PendingAcks()
    for number in range(6):
        pending.sent(packet(number, lane=number % 2), 0.1, now=0.0)
    assert len(pending.drop_lane(0)) == 3
    assert pending.drop_lane(0) == []
    assert {p.item.lane for p in pending.expired(100.0)} == {1}


def test_after_an_outage_every_packet_gets_its_full_time_again_spread_out():
    pending = PendingAcks()
    for number in range(10):
        pending.sent(packet(number), 0.1, now=0.0)
    pending.restart_timers(500.0, spread_seconds=1.0)
    assert pending.expired(501.6) == []
    deadlines = []
    now = 501.6
    while len(pending):
        now += 0.01
        deadlines.extend([now] * len(pending.expired(now)))
    assert max(deadlines) - min(deadlines) > 0.5


def test_a_message_is_done_when_its_last_packet_is_and_reports_once():
    seen: list[bool] = []
    sending = Sending(2)
    sending.add_done_callback(lambda s: seen.append(s.acked))
    sending.packet_acked()
    assert (sending.done, seen) == (False, [])
    sending.packet_acked()
    assert (sending.acked, seen) == (True, [True])
    sending.add_done_callback(lambda s: seen.append(s.acked))
    assert seen == [True, True]
    lost = Sending(2)
    lost.add_done_callback(lambda s: seen.append(s.acked))
    lost.packet_lost()
    lost.packet_lost()
    lost.packet_acked()
    assert seen == [True, True, False]
