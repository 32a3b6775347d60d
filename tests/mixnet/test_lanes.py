"""Fairness of the lane choice: short exchanges pass, bulk takes turns, nothing starves."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet.lanes import NEW_LANE_QUANTUM_PACKETS, RETRANSMISSION_SHARE, Lane, LaneQueues


def drain(lanes: LaneQueues[int]) -> list[tuple[int, int]]:
    out = []
    while (picked := lanes.pop()) is not None:
        out.append(picked)
    return out


@given(st.lists(st.tuples(st.integers(-4, 5), st.booleans()), max_size=200))
def test_every_packet_comes_out_once_and_in_order_of_its_lane(steps):
    lanes: LaneQueues[int] = LaneQueues()
    pushed: dict[int, list[int]] = {}
    popped: dict[int, list[int]] = {}
    for number, (lane, pop) in enumerate(steps):
        pushed.setdefault(lane, []).append(number)
        lanes.push(lane, number)
        if pop:
            picked = lanes.pop()
            assert picked is not None
            popped.setdefault(picked[0], []).append(picked[1])
    for lane, number in drain(lanes):
        popped.setdefault(lane, []).append(number)
    assert popped == pushed
    assert len(lanes) == 0
    assert not lanes.lanes()


def test_a_new_short_lane_passes_two_hundred_busy_ones():
    lanes: LaneQueues[int] = LaneQueues()
    for lane in range(200):
        for number in range(50):
            lanes.push(lane, number)
    for _ in range(200 * (NEW_LANE_QUANTUM_PACKETS + 1)):
        lanes.pop()
    for number in range(3):
        lanes.push(1000, number)
    first = [lanes.pop() for _ in range(3)]
    assert [picked[0] for picked in first if picked] == [1000] * 3


def test_busy_lanes_share_equally():
    lanes: LaneQueues[int] = LaneQueues()
    for lane in range(7):
        for number in range(100):
            lanes.push(lane, number)
    served = Counter(picked[0] for _ in range(350) if (picked := lanes.pop()))
    assert max(served.values()) - min(served.values()) <= 1


def test_a_lane_that_always_has_one_packet_ready_does_not_starve_the_others():
    lanes: LaneQueues[int] = LaneQueues()
    for number in range(100):
        lanes.push(1, number)
    served = Counter()
    lanes.push(2, 0)
    for _ in range(60):
        picked = lanes.pop()
        assert picked is not None
        served[picked[0]] += 1
        if picked[0] == 2:
            lanes.push(2, 0)
    assert served[1] >= 25


def test_retransmissions_get_their_share_beside_many_lanes():
    lanes: LaneQueues[int] = LaneQueues()
    for lane in range(100):
        for number in range(20):
            lanes.push(lane, number)
    for number in range(50):
        lanes.push(Lane.RETRANSMISSION, number)
    served = Counter(picked[0] for _ in range(90) if (picked := lanes.pop()))
    assert served[Lane.RETRANSMISSION] >= 90 // RETRANSMISSION_SHARE


def test_dropping_a_lane_reports_what_was_on_it():
    lanes: LaneQueues[int] = LaneQueues()
    for number in range(3):
        lanes.push(5, number)
    lanes.push(6, 9)
    gone: list[int] = []
    assert lanes.drop(5, gone.append) == 3
    assert gone == [0, 1, 2]
    assert lanes.drop(5) == 0
    assert drain(lanes) == [(6, 9)]


def test_random_traffic_never_breaks_the_bookkeeping():
    rng = random.Random(7)
    lanes: LaneQueues[int] = LaneQueues()
    expected = 0
    for _ in range(20_000):
        action = rng.random()
        if action < 0.5:
            lanes.push(rng.randrange(-4, 12), 0)
            expected += 1
        elif action < 0.97:
            if lanes.pop() is not None:
                expected -= 1
        else:
            expected -= lanes.drop(rng.randrange(-4, 12))
        assert len(lanes) == expected
        assert bool(lanes) == (expected > 0)


def test_connection_lanes_are_unsigned_64_bit():
    assert Lane.connection(2**64 - 1) == 2**64 - 1
    for bad in (-1, 2**64):
        with pytest.raises(ValueError):
            Lane.connection(bad)
