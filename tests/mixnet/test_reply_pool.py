"""The replier's SURBs: what waits for them is counted by lane, whatever becomes of it."""

from __future__ import annotations

import random

import pytest

from nym_mixnet.outgoing import Outgoing, Sending, StoredSurb
from nym_mixnet.reply_pool import MIN_STORED_SURBS, ReplyPools
from nym_sphinx import KeyRotation
from tests.mixnet.simnet import SimNet

TAG = b"t" * 16
OTHER = b"o" * 16


@pytest.fixture(scope="module")
def surbs() -> list[StoredSurb]:
    client = SimNet().client(1).core
    made, _ = client.make_surbs(client.address, 40, 0.0)
    return [StoredSurb(surb, KeyRotation.ODD, 0.0) for surb in made]


def packets(count: int, lane: int, tag: bytes = TAG) -> list[Outgoing]:
    sending = Sending(count)
    return [Outgoing(random.Random(n).randbytes(5), b"", lane, sending, sender_tag=tag) for n in range(count)]


def test_packets_wait_until_a_surb_comes(surbs: list[StoredSurb]) -> None:
    pools = ReplyPools()
    pools.received(TAG, surbs[:MIN_STORED_SURBS], 0.0, requested=False)
    assert pools.queue(TAG, packets(5, 1) + packets(3, 2))
    assert (pools.lane_waiting(1), pools.lane_waiting(2), pools.lane_waiting(3)) == (5, 3, 0)
    pools.received(TAG, surbs[20:24], 1.0, requested=True)
    assert pools.lane_waiting(1) + pools.lane_waiting(2) == 4 == pools.waiting(TAG)
    assert len(pools.ready) == 4
    pools.received(TAG, surbs[24:40], 2.0, requested=True)
    assert (pools.lane_waiting(1), pools.lane_waiting(2)) == (0, 0)


def test_a_retransmission_waits_on_the_lane_of_its_packet(surbs: list[StoredSurb]) -> None:
    pools = ReplyPools()
    pools.received(TAG, surbs[:MIN_STORED_SURBS], 0.0, requested=False)
    (item,) = packets(1, 7)
    assert pools.retransmit(item)
    assert pools.lane_waiting(7) == 1
    pools.received(TAG, surbs[20:21], 1.0, requested=True)
    assert pools.lane_waiting(7) == 0


def test_a_lane_that_is_closed_or_a_tag_that_falls_silent_leaves_nothing_behind(
    surbs: list[StoredSurb],
) -> None:
    pools = ReplyPools()
    for tag in (TAG, OTHER):
        pools.received(tag, surbs[:MIN_STORED_SURBS], 0.0, requested=False)
        assert pools.queue(tag, packets(2, 1, tag) + packets(2, 2, tag))
        (item,) = packets(1, 2, tag)
        assert pools.retransmit(item)
    assert (pools.lane_waiting(1), pools.lane_waiting(2)) == (4, 6)
    assert len(pools.drop_lane(1)) == 4
    assert (pools.lane_waiting(1), pools.lane_waiting(2)) == (0, 6)
    pools.tick(301.0)
    assert len(pools.dropped) == 6
    assert pools.lane_waiting(2) == 0


def test_tags_that_are_pushed_out_take_their_packets_along(surbs: list[StoredSurb]) -> None:
    pools = ReplyPools(max_tags=1)
    pools.received(TAG, surbs[:1], 0.0, requested=False)
    assert pools.queue(TAG, packets(2, 1))
    pools.received(OTHER, surbs[1:2], 0.0, requested=False)
    assert TAG not in pools
    assert pools.lane_waiting(1) == 0
