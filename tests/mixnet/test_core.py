"""The client core on a mixnet in virtual time: delivery, acks, loss, replies, banks, shaping."""

from __future__ import annotations

import random

import pytest

from nym_mixnet.client_records import RETRANSMISSION_LIMIT, ClientOptions
from nym_mixnet.errors import NoReplySurbs
from nym_mixnet.lanes import Lane
from nym_mixnet.profiles import PROFILES
from nym_sphinx import V258, V259, Fragment, MixPacket
from tests.mixnet.simnet import SimNet, make_recipient
from tests.mixnet.test_poisson import kolmogorov_smirnov_p


def send_anonymous(net, client, recipient, data, surbs, lane=Lane.GENERAL):
    made, _ = client.core.make_surbs(recipient, surbs, net.now)
    return client.core.queue_anonymous(recipient, data, made, lane)


@pytest.mark.parametrize("version", [V258, V259])
@pytest.mark.parametrize("profile", ["uncovered", "standard"])
def test_a_message_arrives_and_every_packet_is_acknowledged(profile, version):
    net = SimNet()
    alice = net.client(1, profile=profile, options=ClientOptions(version=version))
    bob = net.client(2, gateway=1, profile=profile, options=ClientOptions(version=version))
    data = random.Random(5).randbytes(20_000)
    sending = alice.core.queue_plain(bob.core.address, data, Lane.GENERAL)
    assert net.run(20, until=lambda: bool(bob.received) and sending.acked)
    assert bob.received[0][1].data == data
    assert bob.received[0][1].sender_tag is None
    assert alice.core.lane_unacked(Lane.GENERAL) == 0
    assert alice.core.stats.sent_retransmissions == 0


@pytest.mark.parametrize("version", [V258, V259])
def test_an_anonymous_message_is_answered_over_its_surbs(version):
    net = SimNet()
    alice = net.client(1, options=ClientOptions(version=version))
    bob = net.client(2, gateway=1)
    send_anonymous(net, alice, bob.core.address, b"who is there?", 12)
    assert net.run(20, until=lambda: bool(bob.received))
    tag = bob.received[0][1].sender_tag
    assert tag is not None
    bob.core.queue_reply(tag, b"somebody", Lane.GENERAL)
    assert net.run(20, until=lambda: bool(alice.received))
    answer = alice.received[0][1]
    assert (answer.data, answer.via, answer.sender_tag) == (b"somebody", bob.core.address, None)


def test_a_long_reply_asks_for_the_surbs_it_lacks():
    net = SimNet()
    alice, bob = net.client(1), net.client(2, gateway=1)
    send_anonymous(net, alice, bob.core.address, b"more, please", 12)
    net.run(20, until=lambda: bool(bob.received))
    data = random.Random(6).randbytes(300_000)
    sending = bob.core.queue_reply(bob.received[0][1].sender_tag, data, 7)
    assert net.run(60, until=lambda: bool(alice.received) and sending.acked)
    assert alice.received[0][1].data == data
    assert bob.core.lane_unacked(7) == 0


def test_a_reply_to_nobody_is_an_error_and_leaves_nothing_behind():
    net = SimNet()
    bob = net.client(2)
    with pytest.raises(NoReplySurbs):
        bob.core.queue_reply(bytes(16), b"hello?", 3)
    assert bob.core.lane_unacked(3) == 0


def test_everything_arrives_at_twenty_percent_loss_on_every_path():
    net = SimNet(seed=4)
    net.nodes[1].loss = 0.2
    alice, bob = net.client(1), net.client(2, gateway=1)
    rng = random.Random(9)
    messages = [rng.randbytes(rng.randrange(1, 30_000)) for _ in range(20)]
    sendings = [alice.core.queue_plain(bob.core.address, m, number) for number, m in enumerate(messages)]
    assert net.run(300, until=lambda: all(s.done for s in sendings))
    assert all(s.acked for s in sendings)
    assert sorted(m.data for _, m in bob.received) == sorted(messages)
    assert alice.core.stats.sent_retransmissions > 50


def test_a_long_reply_survives_loss_both_ways():
    net = SimNet(seed=5)
    alice, bob = net.client(1), net.client(2, gateway=1)
    send_anonymous(net, alice, bob.core.address, b"go", 20)
    net.run(20, until=lambda: bool(bob.received))
    net.nodes[0].loss = 0.2
    data = random.Random(6).randbytes(200_000)
    bob.core.queue_reply(bob.received[0][1].sender_tag, data, 7)
    assert net.run(300, until=lambda: bool(alice.received))
    assert alice.received[0][1].data == data


def test_a_dead_recipient_is_reported_after_the_retransmission_limit():
    net = SimNet()
    alice = net.client(1, options=ClientOptions(retransmission_limit=4))
    bob = net.client(2, gateway=1)
    net.nodes[4].loss = 1.0  # the recipient's gateway is gone
    sending = alice.core.queue_plain(bob.core.address, b"hello", 42)
    assert net.run(60, until=lambda: sending.lost)
    assert alice.core.stats.packets_lost == 1
    assert alice.core.stats.sent_real == 5
    assert alice.core.lane_unacked(42) == 0
    assert 4 * 1.5 < net.now < 5 * 2.5


def test_the_default_limit_outlasts_heavy_loss_but_ends():
    assert 0.36**RETRANSMISSION_LIMIT < 1e-10


def test_closing_a_lane_drops_its_packets_and_nobody_elses():
    net = SimNet()
    alice, bob = net.client(1, profile="standard"), net.client(2, gateway=1)
    alice.core.queue_plain(bob.core.address, bytes(50_000), 1)
    kept = alice.core.queue_plain(bob.core.address, b"keep", 2)
    net.run(0.1)
    alice.core.close_lane(1)
    assert alice.core.lane_queued(1) == 0
    assert alice.core.lane_unacked(1) == 0
    assert net.run(10, until=lambda: kept.acked)
    net.run(10)
    assert [m.data for _, m in bob.received] == [b"keep"]
    assert alice.core.stats.packets_lost == 0


@pytest.mark.parametrize("busy", [pytest.param(False, marks=pytest.mark.slow), True])
def test_the_sent_stream_is_the_same_poisson_process_under_load_and_idle(busy):
    net = SimNet(seed=8)
    profile = PROFILES["standard"]
    alice, bob = net.client(1, profile=profile), net.client(2, gateway=1)
    if busy:
        alice.core.queue_plain(bob.core.address, bytes(1_500 * 1604), 1)
    net.run(30)
    assert (alice.core.stats.sent_real > 1000) is busy
    # Main stream and loop cover together are one Poisson process of their summed rate.
    gaps = [b - a for a, b in zip(alice.sent_at, alice.sent_at[1:], strict=False)]
    assert len(gaps) > 1400
    assert kolmogorov_smirnov_p(gaps, 1 / profile.costs().packets_per_second) > 0.01


@pytest.mark.slow
def test_data_uses_loop_cover_slots_only_when_asked_to():
    rates = {}
    for use in (False, True):
        net = SimNet(seed=3)
        options = ClientOptions(use_cover_slots_for_data=use)
        alice, bob = net.client(1, profile="standard", options=options), net.client(2, gateway=1)
        alice.core.queue_plain(bob.core.address, bytes(2_000 * 1604), 1)
        net.run(30)
        rates[use] = alice.core.stats.sent_cover
    assert rates[False] > 100
    assert rates[True] == 0


def test_idle_cover_fills_the_bank_without_an_extra_packet():
    net = SimNet()
    alice, bob = net.client(1, profile="standard"), net.client(2, gateway=1)
    alice.core.banks.get(bob.core.address).target = 300
    net.run(6)
    assert alice.core.reply_keys.stock(bob.core.address) >= 300
    net.run(2)
    tag, _ = alice.core.sender_tag(bob.core.address)
    assert bob.core.reply_pools.stored(tag) >= 300
    sent = alice.core.stats.sent_real
    net.run(10)
    assert alice.core.stats.sent_real == sent  # full: cover again
    per_second = len(alice.sent_at) / net.now
    assert 50 < per_second < 60


def test_a_full_bank_serves_a_long_reply_without_a_single_request():
    net = SimNet()
    alice, bob = net.client(1, profile="standard"), net.client(2, gateway=1)
    alice.core.banks.get(bob.core.address).target = 400
    net.run(8)
    send_anonymous(net, alice, bob.core.address, b"go", 3)
    net.run(5, until=lambda: bool(bob.received))
    started = net.now
    data = random.Random(2).randbytes(300 * 1600)
    bob.core.queue_reply(bob.received[0][1].sender_tag, data, 9)
    assert net.run(20, until=lambda: bool(alice.received))
    assert alice.received[0][1].data == data
    assert bob.core.lane_unacked(Lane.SURB_REQUEST) == 0
    assert net.now - started < 2  # two hundred packets at 50 slots a second would take longer than this


def test_a_replier_that_lost_its_surbs_is_believed():
    net = SimNet()
    alice, bob = net.client(1, profile="standard"), net.client(2, gateway=1)
    alice.core.banks.get(bob.core.address).target = 200
    net.run(6)
    assert alice.core.reply_keys.stock(bob.core.address) >= 200
    tag, _ = alice.core.sender_tag(bob.core.address)
    del net.clients[bob.core.address.identity]
    bob = net.client(2, gateway=1)  # restarted without its pool
    send_anonymous(net, alice, bob.core.address, b"again", 3)
    net.run(5, until=lambda: bool(bob.received))
    bob.core.queue_reply(tag, bytes(100_000), 9)
    assert net.run(30, until=lambda: bool(alice.received))
    net.run(10)
    assert bob.core.reply_pools.stored(tag) > 150


def test_somebody_elses_request_for_surbs_is_refused():
    net = SimNet()
    alice = net.client(1)
    bob = net.client(2, gateway=1)
    mallory = net.client(3, gateway=1)
    send_anonymous(net, alice, bob.core.address, b"hi", 12)
    net.run(5)
    # A forged "reply" in a plain message, as anybody who knows the address can send it.
    from nym_sphinx import ReplyMessage, SurbRequest

    forged = ReplyMessage(SurbRequest(mallory.core.address, 100)).encode()
    mallory.core._queue(forged, Lane.GENERAL, recipient=alice.core.address)
    net.run(5)
    assert alice.core.banks.owed == 0
    assert alice.core.stats.undecodable == 1


def test_a_sleeping_client_sends_nothing_and_wakes_without_a_burst():
    net = SimNet()
    alice, bob = net.client(1, profile="standard"), net.client(2, gateway=1)
    net.run(2)
    alice.core.pause()
    sent = len(alice.sent_at)
    net.run(600)
    assert len(alice.sent_at) == sent
    alice.core.resume(net.now)
    woke = net.now
    sending = alice.core.queue_plain(bob.core.address, b"good morning", Lane.GENERAL)
    assert net.run(5, until=lambda: sending.acked)
    net.run(woke + 2 - net.now)
    assert 60 < len(alice.sent_at) - sent < 170


def test_after_an_outage_packets_are_sent_again_and_not_counted_as_lost():
    net = SimNet()
    alice = net.client(1, options=ClientOptions(retransmission_limit=2))
    bob = net.client(2, gateway=1)
    down = [True]
    alice.filter = lambda packet: not down[0]
    sending = alice.core.queue_plain(bob.core.address, bytes(5000), 1)
    net.run(0.5)
    alice.online = False
    net.run(120)
    alice.online, down[0] = True, False
    alice.core.link_up(net.now)
    assert net.run(20, until=lambda: sending.acked)
    assert bob.received


def test_a_rotation_of_the_networks_keys_refills_the_bank():
    net = SimNet()
    alice, bob = net.client(1, profile="standard"), net.client(2, gateway=1)
    alice.core.banks.get(bob.core.address).target = 100
    net.run(5)
    assert alice.core.reply_keys.stock(bob.core.address) >= 100
    net.rotation_id = 3
    alice.core.set_topology(net.topology)
    assert alice.core.reply_keys.stock(bob.core.address) == 0
    net.run(5)
    assert alice.core.reply_keys.stock(bob.core.address) >= 100


def test_nothing_is_sent_without_a_topology():
    net = SimNet()
    alice = net.client(1, profile="standard")
    alice.core.set_topology(None)
    net.run(5)
    assert alice.sent_at == []
    alice.core.set_topology(net.topology)
    net.run(2)
    assert alice.sent_at


def test_garbage_is_counted_and_harmless():
    net = SimNet()
    alice = net.client(1)
    rng = random.Random(1)
    for length in (0, 1, 20, 21, 22, 48, 49, 1643, 1644, 7787, 40_000):
        for _ in range(20):
            assert alice.core.receive(rng.randbytes(length), 0.0) == []
    assert alice.core.stats.undecodable > 50


def test_a_message_to_an_unknown_gateway_is_reported_lost_at_once():
    net = SimNet()
    alice = net.client(1)
    sending = alice.core.queue_plain(make_recipient(77), b"x", 5)
    net.run(0.1)
    assert sending.lost


def test_oversized_messages_are_refused():
    net = SimNet()
    alice = net.client(1)
    with pytest.raises(ValueError, match="at most"):
        alice.core.queue_plain(alice.core.address, bytes(17 * 1024 * 1024), 1)


def test_marks_of_lost_cover_do_not_pile_up(monkeypatch):
    monkeypatch.setattr("nym_mixnet.cover_stock.MARKS_REMEMBERED", 20)
    net = SimNet()
    alice = net.client(1, profile="standard")
    alice.filter = lambda packet: False
    net.run(3)
    assert alice.core.stats.sent_cover > 100
    assert alice.core._cover_stock.under_way == 20


def test_packets_on_the_wire_are_whole_regular_packets():
    net = SimNet()
    alice, bob = net.client(1, profile="standard"), net.client(2)
    seen: list[MixPacket] = []
    alice.filter = lambda packet: seen.append(packet) is None
    alice.core.queue_plain(bob.core.address, b"short", 1)
    net.run(3)
    assert {len(packet.packet) for packet in seen} == {2413}
    assert sum(alice.core.stats.ack_seconds_counts) == 1, "acks of data only: cover is answered as well"
    assert alice.core.stats.ack_seconds_sum == alice.core.stats.ack_seconds_smoothed > 0
    assert alice.core.stats.cover_received > 50
    assert alice.core.stats.cover_acks_received > 50
    assert alice.core.stats.undecodable == 0
    assert Fragment(1, 1, 1, b"").id  # ids of real fragments are never the cover id


@pytest.mark.slow
def test_a_login_sized_exchange_beside_a_bulk_transfer_stays_quick():
    net = SimNet(seed=2)
    alice, bob = net.client(1), net.client(2, gateway=1)

    def exchange(lane: int) -> float:
        started, have = net.now, len(alice.received)
        send_anonymous(net, alice, bob.core.address, b"login", 0, lane)
        net.run(10, until=lambda: any(m.data == b"login" for _, m in bob.received))
        bob.received.clear()
        bob.core.queue_reply(tag, b"welcome", lane)
        net.run(10, until=lambda: len(alice.received) > have)
        return net.now - started

    send_anonymous(net, alice, bob.core.address, b"hello", 20)
    net.run(10, until=lambda: bool(bob.received))
    tag = bob.received[0][1].sender_tag
    bob.received.clear()
    idle = sorted(exchange(lane) for lane in range(100, 111))[5]
    alice.core.queue_plain(bob.core.address, bytes(1_200_000), 1)
    bob.core.queue_reply(tag, bytes(1_200_000), 1)
    busy = sorted(exchange(lane) for lane in range(200, 211))[5]
    assert busy < 3 * idle
