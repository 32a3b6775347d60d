"""The stream core alone: delivery, gaps, closing, limits, timers (docs/protocol/05 §3)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_exit.chunking import OWN_ADDRESS_CHUNKING, REPLY_CHUNKING, anonymous_chunking
from nym_exit.errors import (
    ExitStalled,
    StreamClosed,
    StreamGap,
    StreamIdle,
    StreamLost,
    StreamOverflow,
    StreamReset,
)
from nym_exit.stream import Outbound, StreamCore
from nym_exit.stream_options import StreamOptions
from tests.exit.stream_world import CHUNKING, Network, pair

FULL = CHUNKING.capacity(10)
GAP_LIMIT = StreamOptions().gap_limit_seconds


def drain(core, now=0.0, queued=0, chunking=CHUNKING):
    out = []
    while (message := core.next_message(now, queued, chunking)) is not None:
        out.append(message)
    return out


# ---- sizes --------------------------------------------------------------------------------------------------


def test_chunks_fill_packets_exactly():
    # docs/protocol/05 §4.2: 1604 k − 44 − 460 s
    for surbs in (0, 1, 3, 20):
        chunking = anonymous_chunking(surbs)
        for packets in (7, 10):
            assert chunking.capacity(packets) == 1604 * packets - 44 - 460 * surbs
            assert chunking.packets(chunking.capacity(packets)) == packets
            assert chunking.packets(chunking.capacity(packets) + 1) == packets + 1
    assert REPLY_CHUNKING.capacity(1) == 1601 - 21
    assert OWN_ADDRESS_CHUNKING.capacity(1) == 1602 - 21


def test_a_bulk_write_leaves_in_full_chunks_and_one_rest():
    core = StreamCore(0.0)
    core.write(bytes(FULL * 3 + 100))
    messages = drain(core)
    assert [len(message.data) for message in messages] == [FULL, FULL, FULL, 100]
    assert [message.seq for message in messages] == [0, 1, 2, 3]


def test_small_writes_of_one_turn_share_a_message():
    core = StreamCore(0.0)
    for part in (b"a", b"bc", b"", b"def"):
        core.write(part)
    assert drain(core) == [Outbound(0, b"abcdef", False)]


def test_a_part_chunk_waits_for_the_lane_and_a_full_one_does_not():
    core = StreamCore(0.0)
    core.write(bytes(100))
    assert drain(core, queued=4) == []
    assert core.room_needed(4, CHUNKING) == 3
    assert core.room_needed(3, CHUNKING) is None
    core.write(bytes(FULL))
    assert [len(message.data) for message in drain(core, queued=30)] == [FULL]
    core.write(bytes(FULL))
    assert drain(core, queued=31) == []
    assert core.room_needed(31, CHUNKING) == 30
    assert [len(message.data) for message in drain(core, queued=3)] == [FULL, 100]


def test_the_window_counts_from_the_oldest_unacknowledged_message():
    core = StreamCore(0.0, StreamOptions(window_messages=5))
    for _ in range(5):
        core.write(b"x")
        assert len(drain(core)) == 1
    core.write(b"y")
    assert drain(core) == []
    for seq in (1, 2, 3, 4):
        core.acknowledged(seq)
    assert not core.window_open
    assert drain(core) == []
    core.acknowledged(0)
    assert drain(core) == [Outbound(5, b"y", False)]


def test_a_closing_message_passes_a_full_window():
    core = StreamCore(0.0, StreamOptions(window_messages=2))
    for _ in range(2):
        core.write(b"x")
        drain(core)
    core.write(b"never sent")
    core.abort(1.0)
    assert drain(core, 1.0) == [Outbound(2, b"", True)]
    assert core.ended


# ---- delivery -----------------------------------------------------------------------------------------------


def test_order_is_restored_and_duplicates_are_dropped():
    core = StreamCore(0.0)
    core.receive(2, b"c", False, 0.1)
    core.receive(1, b"b", False, 0.2)
    assert core.read() == b""
    core.receive(0, b"a", False, 0.3)
    core.receive(1, b"B", False, 0.4)
    assert core.read() == b"abc"
    assert core.waiting_bytes == 0


def test_read_in_pieces():
    core = StreamCore(0.0)
    core.receive(0, b"abcdef", False, 0.0)
    assert core.read(4) == b"abcd"
    assert core.readable_bytes == 2
    assert core.read(4) == b"ef"
    assert core.read(4) == b""


def test_end_of_data_comes_after_the_data():
    core = StreamCore(0.0)
    core.receive(1, b"", True, 0.0)
    assert not core.remote_closed
    core.receive(0, b"last", False, 0.0)
    assert core.remote_closed
    assert not core.at_eof
    assert core.read() == b"last"
    assert core.at_eof


writes = st.lists(
    st.tuples(st.floats(0, 60), st.integers(0, 60_000)), max_size=12, unique_by=lambda write: write[0]
)


@given(
    seed=st.integers(0, 2**32),
    left=writes,
    right=writes,
    duplicates=st.sampled_from([0.0, 0.3]),
    loss=st.sampled_from([0.0, 0.2]),
    slot_seconds=st.sampled_from([0.0, 0.02]),
)
def test_what_is_written_is_what_is_read(seed, left, right, duplicates, loss, slot_seconds):
    rng = random.Random(seed)
    network = Network(rng, delay=(0.0, 3.0), loss=loss, duplicates=duplicates)
    world = pair(network, options=StreamOptions(gap_limit_seconds=60.0), slot_seconds=slot_seconds)
    for end, plan in ((world.left, left), (world.right, right)):
        for when, size in plan:
            world.write_at(when, end, rng.randbytes(size))
        world.eof_at(61.0, end)
    world.run()
    assert world.left.core.error is None
    assert world.right.core.error is None
    assert bytes(world.right.read) == bytes(world.left.written)
    assert bytes(world.left.read) == bytes(world.right.written)
    assert sum(size for _, size in left) == len(world.right.read)
    assert world.left.ended_at is not None
    assert world.right.ended_at is not None


@given(
    seed=st.integers(0, 2**32),
    plan=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40_000)), min_size=1, max_size=10),
    lost=st.sets(st.integers(0, 12), min_size=1),
    half_close=st.booleans(),
)
def test_a_swallowed_message_never_means_silence(seed, plan, lost, half_close):
    """Acknowledged and never delivered: the reader gets a prefix, and an error in bounded time."""
    rng = random.Random(seed)
    network = Network(rng, swallowed=lambda name, message: name == "right" and message.seq in lost)
    world = pair(network, half_close=half_close)
    for when, size in plan:
        world.write_at(when, world.right, rng.randbytes(size))
    world.eof_at(21.0, world.right)
    world.run(horizon=2000.0)
    left = world.left
    assert bytes(world.right.written).startswith(bytes(left.read))
    if any(message.seq in lost and (message.data or message.closed) for message in world.right.sent):
        assert isinstance(left.core.error, StreamGap | StreamIdle)
    if left.core.error is None:
        assert bytes(left.read) == bytes(world.right.written)
        assert left.eof_at is not None
    else:
        if isinstance(left.core.error, StreamGap):
            missing = left.core.error.missing
            assert missing in lost
            progress = max((at for seq, at in left.arrived.items() if seq < missing), default=0.0)
            held = min(at for seq, at in left.arrived.items() if seq > missing)
            assert left.ended_at == pytest.approx(max(progress, held) + GAP_LIMIT)
        else:
            assert isinstance(left.core.error, ExitStalled), "its keep-alives are missing as well"
            heard = max((at for at in left.arrived.values() if at < left.ended_at), default=0.0)
            assert left.ended_at == pytest.approx(heard + 150.0)
        assert world.right.ended_at is not None


def test_a_gap_ends_the_stream_after_its_limit():
    network = Network(
        random.Random(1),
        delay=(0.1, 0.1),
        swallowed=lambda name, message: name == "right" and message.seq == 2,
    )
    world = pair(network)
    for second in range(40):
        world.write_at(1.0 + second, world.right, b"%d" % second)
    world.run(60.0)
    # message 0 announces, 1 is written at 1.0, 2 is swallowed, 3 arrives at 3.1 and starts the clock
    assert isinstance(world.left.core.error, StreamGap)
    assert world.left.core.error.missing == 2
    assert world.left.ended_at == pytest.approx(3.1 + GAP_LIMIT)
    assert bytes(world.left.read) == b"0"
    # the exit learns that the client has given up
    assert world.right.ended_at == pytest.approx(3.1 + GAP_LIMIT + 0.1)


def test_progress_restarts_the_gap_clock():
    core = StreamCore(0.0)
    core.receive(1, b"b", False, 0.0)
    core.receive(3, b"d", False, 5.0)
    assert core.get_timer() == GAP_LIMIT
    core.receive(0, b"a", False, 11.0)
    assert core.read() == b"ab"
    assert core.get_timer() == 11.0 + GAP_LIMIT
    core.handle_timer(10.9 + GAP_LIMIT)
    assert core.error is None
    core.handle_timer(11.0 + GAP_LIMIT)
    assert isinstance(core.error, StreamGap)
    assert core.error.missing == 2


def test_the_gap_clock_can_be_restarted_while_the_link_is_down():
    core = StreamCore(0.0)
    core.receive(1, b"b", False, 0.0)
    core.link_was_down(10.0)
    assert core.get_timer() == 10.0 + GAP_LIMIT
    core.receive(0, b"", False, 11.0)
    core.link_was_down(12.0)
    assert core.get_timer() == 60.0


# ---- keep-alive and idle ------------------------------------------------------------------------------------


def test_keep_alives_keep_both_ends_alive():
    world = pair(Network(random.Random(2)))
    world.run(1000.0)
    assert world.left.core.error is None
    assert world.right.core.error is None
    assert all(message == Outbound(message.seq) for message in world.left.sent + world.right.sent)
    assert world.left.sent_at == pytest.approx([60.0 * n for n in range(1, 17)])
    # the exit announces itself at once
    assert world.right.sent_at == pytest.approx([60.0 * n for n in range(17)])


def test_one_way_traffic_is_no_reason_to_cut():
    """The reference cuts a download without upstream data after 5 minutes; keep-alives count here."""
    world = pair(Network(random.Random(3)))
    for second in range(900):
        world.write_at(float(second), world.right, b"tick")
    world.eof_at(900.0, world.right)
    world.eof_at(901.0, world.left)
    world.run(2000.0)
    assert world.left.core.error is None
    assert len(world.left.read) == 3600
    assert world.left.eof_at == pytest.approx(900.0, abs=1)


def test_a_client_sends_no_message_before_it_has_data():
    core = StreamCore(0.0)
    assert drain(core) == []
    core.write(b"GET")
    assert drain(core) == [Outbound(0, b"GET", False)]


def test_data_postpones_the_keep_alive():
    core = StreamCore(0.0)
    assert core.get_timer() == 60.0
    core.write(b"x")
    drain(core, 30.0)
    assert core.get_timer() == 90.0
    core.handle_timer(90.0)
    assert drain(core, 90.0) == [Outbound(1)]


def test_silence_ends_the_stream():
    core = StreamCore(0.0)
    now = 0.0
    while not core.ended and now < 1000:
        now = core.get_timer()
        core.handle_timer(now)
        drain(core, now)
    assert now == 300.0
    assert isinstance(core.error, StreamIdle)


@pytest.mark.parametrize(
    "half_close, seconds, error",
    [(True, 150.0, ExitStalled), (False, 150.0, ExitStalled), (None, 150.0, ExitStalled)],
)
def test_an_exit_that_stalls_in_a_download_is_found_out_by_its_keep_alives(half_close, seconds, error):
    core = StreamCore(0.0, half_close=half_close, opener=True)
    core.receive(0, b"first part", False, 7.0)
    now = 7.0
    while not core.ended and now < 1000:
        now = core.get_timer()
        core.handle_timer(now)
        drain(core, now)
    assert now == 7.0 + seconds
    assert type(core.error) is error
    assert (core.error.layer, core.error.retryable) == ("exit", True)
    assert "exit has sent nothing for 150 s" in str(core.error)


@pytest.mark.parametrize("half_close, limit, error", [(True, 150.0, ExitStalled), (False, 300.0, StreamIdle)])
def test_an_exit_that_waits_for_what_we_hold_back_is_not_taken_for_stalled(half_close, limit, error):
    core = StreamCore(0.0, half_close=half_close, opener=True)
    core.starve(True, 0.0)
    now = 0.0
    while not core.ended and now < 1000:
        now = core.get_timer()
        core.handle_timer(now)
        drain(core, now)
    assert now == limit
    assert type(core.error) is error


def test_after_starving_the_exit_has_its_whole_time_again():
    core = StreamCore(0.0, half_close=False, opener=True)
    core.starve(True, 0.0)
    core.handle_timer(149.0)
    core.starve(False, 149.0)
    core.handle_timer(298.0)
    assert core.error is None
    core.receive(0, b"", False, 299.0)
    core.handle_timer(448.0)
    assert core.error is None
    core.handle_timer(449.0)
    assert isinstance(core.error, ExitStalled)


def test_an_overdue_exit_is_sent_a_keep_alive_at_once_and_once():
    core = StreamCore(0.0, half_close=False, opener=True)
    core.receive(0, b"x", False, 0.0)
    core.write(b"request")
    drain(core, 50.0)  # our own next keep-alive would be at 110 s
    assert core.get_timer() == 90.0
    core.handle_timer(90.0)
    assert core.overdue
    assert drain(core, 90.0) == [Outbound(1)]
    assert core.get_timer() == 150.0
    core.receive(1, b"", False, 100.0)
    assert not core.overdue
    assert core.error is None


def test_keep_alives_of_the_exit_keep_a_quiet_stream_open():
    core = StreamCore(0.0, half_close=True, opener=True)
    for minute in range(1, 20):
        core.receive(minute - 1, b"", False, 60.0 * minute)
        core.handle_timer(60.0 * minute)
    assert core.error is None


def test_time_without_a_link_is_no_silence_of_the_exit():
    core = StreamCore(0.0, half_close=True, opener=True)
    core.receive(0, b"first part", False, 0.0)
    assert core.next_link_check(0.0) == 75.0
    assert core.next_link_check(100.0) == 115.0
    core.link_was_down(140.0)
    core.handle_timer(150.0)
    core.handle_timer(289.0)
    assert core.error is None
    core.handle_timer(290.0)
    assert isinstance(core.error, ExitStalled)


def test_without_a_link_for_ever_the_idle_limit_still_ends_the_stream():
    core = StreamCore(0.0, half_close=True, opener=True)
    for second in range(15, 300, 15):
        core.link_was_down(float(second))
        core.handle_timer(float(second))
    assert core.error is None
    core.handle_timer(300.0)
    assert type(core.error) is StreamIdle


def test_nobody_looks_at_the_link_for_a_peer_whose_keep_alives_do_not_count():
    assert StreamCore(0.0, half_close=False).next_link_check(0.0) is None
    assert StreamCore(0.0, half_close=True).next_link_check(0.0) is None


def test_duplicates_are_no_sign_of_life():
    core = StreamCore(0.0)
    core.receive(0, b"a", False, 1.0)
    core.receive(0, b"a", False, 200.0)
    core.handle_timer(301.0)
    assert isinstance(core.error, StreamIdle)


# ---- closing ------------------------------------------------------------------------------------------------


def test_half_close_towards_our_own_exit():
    """Request, end-of-data, answer much later: works, and the exit sees the end at once."""
    world = pair(Network(random.Random(4), delay=(0.1, 0.1)))
    world.write_at(1.0, world.left, b"request")
    world.eof_at(1.0, world.left)
    world.write_at(400.0, world.right, b"late answer")
    world.eof_at(400.0, world.right)
    world.run()
    assert world.left.sent[0] == Outbound(0, b"request", True)  # the flag rides on the data
    assert world.right.eof_at == pytest.approx(1.1)
    assert bytes(world.left.read) == b"late answer"
    assert world.left.core.error is None
    assert world.right.core.error is None
    assert world.left.ended_at == pytest.approx(400.1)


def test_towards_the_reference_the_end_is_held_back_until_quiet():
    core = StreamCore(0.0)
    core.write(b"request")
    core.write_eof(0.0)
    assert drain(core, 0.0) == [Outbound(0, b"request", False)]
    core.receive(0, b"", False, 1.0)
    core.receive(1, b"answer", False, 20.0)
    assert core.get_timer() == 50.0  # 30 s after the last data
    core.handle_timer(50.0)
    assert drain(core, 50.0) == [Outbound(1, b"", True)]
    core.receive(2, b"", True, 54.0)
    assert core.read() == b"answer"
    assert core.ended
    assert core.error is None


def test_towards_the_reference_nothing_is_said_when_it_closes_first():
    core = StreamCore(0.0)
    core.write(b"request")
    drain(core)
    core.receive(0, b"answer", True, 1.0)
    assert core.read() == b"answer"
    assert core.at_eof
    core.write_eof(1.1)
    assert drain(core, 1.1) == []
    core.close(1.2)
    assert core.get_timer() == pytest.approx(4.1)
    core.handle_timer(4.1)
    assert drain(core, 4.1) == [Outbound(1, b"", True)]
    assert core.ended
    assert core.error is None


def test_a_reader_that_is_slow_gets_everything_after_the_reference_closed():
    core = StreamCore(0.0)
    core.receive(0, bytes(50_000), False, 0.0)
    core.receive(1, b"", True, 0.0)
    now = 0.0
    read = 0
    while not core.ended and now < 2000:
        now += 30.0
        while (at := core.get_timer()) is not None and at <= now:
            core.handle_timer(at)
            drain(core, at)
        read += len(core.read(1000))
    assert read == 50_000
    assert core.error is None


def test_writing_on_after_the_reference_closed_ends_the_stream():
    core = StreamCore(0.0)
    core.receive(0, b"", False, 0.0)
    core.receive(1, b"", True, 1.0)
    core.write(b"too late")
    assert drain(core, 1.0, queued=30) == []
    core.handle_timer(core.get_timer())
    assert isinstance(core.error, StreamClosed)
    assert core.ended


def test_the_reference_that_never_closes_back_is_not_waited_for():
    core = StreamCore(0.0)
    core.write_eof(0.0)
    core.handle_timer(30.0)
    assert drain(core, 30.0) == [Outbound(0, b"", True)]
    assert core.get_timer() == 60.0
    core.handle_timer(60.0)
    assert isinstance(core.error, StreamIdle)
    assert core.ended


def test_learning_about_half_close_late_releases_the_held_end():
    core = StreamCore(0.0)
    core.write_eof(0.0)
    assert drain(core) == []
    core.learn_half_close(True)
    assert drain(core, 0.1) == [Outbound(0, b"", True)]
    assert not core.ended


def test_a_peer_of_unknown_kind_is_told_twice_that_we_are_gone():
    core = StreamCore(0.0, half_close=None)
    core.abort(0.0)
    assert drain(core) == [Outbound(0, b"", True), Outbound(1, b"", True)]
    assert core.ended
    core = StreamCore(0.0, half_close=None)
    core.learn_half_close(False)
    core.abort(0.0)
    assert drain(core) == [Outbound(0, b"", True)]
    assert core.ended


def test_learning_between_the_two_closing_messages_that_one_is_enough():
    core = StreamCore(0.0, half_close=None)
    core.close(0.0)
    assert core.next_message(0.0, 0, CHUNKING) == Outbound(0, b"", True)
    assert not core.ended
    core.learn_half_close(False)
    assert core.ended


def test_two_closing_messages_of_the_reference_are_no_reset():
    for half_close in (None, False):
        core = StreamCore(0.0, half_close=half_close)
        core.receive(2, b"", True, 0.0)
        core.receive(0, b"answer", False, 0.0)
        core.receive(1, b"", True, 0.0)
        assert core.read() == b"answer"
        assert core.at_eof
        core.write_eof(0.0)
        core.handle_timer(3.0)
        assert drain(core, 3.0) == [Outbound(0, b"", True)]
        assert core.ended
        assert core.error is None


def test_a_reader_that_keeps_its_writing_side_open_is_closed_after_the_reference():
    core = StreamCore(0.0)
    core.receive(0, b"bye", True, 0.0)
    assert core.read() == b"bye"
    assert core.get_timer() == 5.0
    core.handle_timer(5.0)
    assert core.local_eof
    assert drain(core, 5.0) == [Outbound(0, b"", True)]
    assert core.ended
    assert core.error is None


def test_nothing_is_shown_of_what_is_sent():
    assert repr(Outbound(3, b"secret", True)) == "Outbound(seq=3, 6 bytes, closed=True)"


def test_room_is_not_awaited_with_nothing_to_send():
    core = StreamCore(0.0)
    assert core.room_needed(100, CHUNKING) is None
    assert not core.may_send
    core.write(b"x")
    assert core.may_send


def test_closing_sends_what_was_written_first():
    core = StreamCore(0.0)
    core.write(bytes(FULL + 5))
    core.close(0.0)
    messages = drain(core)
    assert [(len(message.data), message.closed) for message in messages] == [(FULL, False), (5, True)]
    assert core.ended
    assert core.error is None


def test_an_own_exit_is_told_when_the_client_is_gone_altogether():
    world = pair(Network(random.Random(5), delay=(0.1, 0.5)))
    for second in range(100):
        world.write_at(float(second), world.right, bytes(1000))
    world.close_at(10.0, world.left)
    world.run()
    assert [message.closed for message in world.left.sent] == [True, True]
    assert world.left.ended_at == 10.0
    assert world.left.core.error is None
    assert world.right.ended_at < 11.0
    assert isinstance(world.right.core.error, StreamReset)


def test_what_was_uploaded_before_the_client_left_is_complete():
    world = pair(Network(random.Random(6), delay=(0.0, 2.0)))
    world.write_at(1.0, world.left, bytes(range(256)) * 400)
    world.close_at(1.0, world.left)
    world.run()
    assert bytes(world.right.read) == bytes(range(256)) * 400
    assert world.right.ended_at is not None


def test_a_broken_target_connection_reaches_the_client_as_a_reset():
    world = pair(Network(random.Random(7), delay=(0.1, 0.5)))
    world.write_at(1.0, world.right, b"half an ans")
    world.abort_at(2.0, world.right)
    world.run()
    assert bytes(world.left.read) == b"half an ans"
    assert isinstance(world.left.core.error, StreamReset)
    assert world.left.core.ended
    assert world.left.ended_at < 3.0


@given(
    seed=st.integers(0, 2**32),
    left_action=st.sampled_from(["eof", "close", "abort"]),
    right_action=st.sampled_from(["eof", "close", "abort"]),
    left_at=st.floats(0, 20),
    right_at=st.floats(0, 20),
    half_close=st.booleans(),
    size=st.integers(0, 50_000),
)
def test_any_order_of_closing_ends_both_sides(
    seed, left_action, right_action, left_at, right_at, half_close, size
):
    rng = random.Random(seed)
    world = pair(Network(rng, delay=(0.0, 2.0), duplicates=0.2), half_close=half_close)
    world.write_at(0.0, world.left, rng.randbytes(size))
    world.write_at(0.0, world.right, rng.randbytes(size))
    for end, action, when in ((world.left, left_action, left_at), (world.right, right_action, right_at)):
        getattr(world, f"{action}_at")(when, end)
    world.run(3000.0)
    assert bytes(world.right.written).startswith(bytes(world.left.read))
    assert bytes(world.left.written).startswith(bytes(world.right.read))
    for end in (world.left, world.right):
        assert end.ended_at is not None
        assert end.ended_at < 20 + 300 + 60
    if left_action == right_action == "eof":
        assert bytes(world.right.written) == bytes(world.left.read)
        assert bytes(world.left.written) == bytes(world.right.read)


def test_closing_ends_even_when_nothing_can_be_sent():
    core = StreamCore(0.0)
    core.write(b"never gets a slot")
    core.close(0.0)
    now = 0.0
    while (at := core.get_timer()) is not None:
        now = at
        core.handle_timer(at)
        assert drain(core, at, queued=100) == []
    assert now <= 60.0
    assert core.ended


def test_writing_after_the_end_is_refused():
    core = StreamCore(0.0)
    core.write_eof(0.0)
    with pytest.raises(StreamClosed):
        core.write(b"x")
    core = StreamCore(0.0)
    core.fail(StreamLost(), 0.0, tell_peer=False)
    assert core.ended
    with pytest.raises(StreamClosed):
        core.write(b"x")
    core.write_eof(1.0)
    core.close(1.0)
    core.abort(1.0)
    core.receive(0, b"x", False, 1.0)
    assert core.read() == b""
    assert drain(core, 1.0) == []
    assert core.get_timer() is None


def test_a_failure_is_told_to_the_peer_if_it_may_help():
    core = StreamCore(0.0)
    core.write(b"unsent")
    core.fail(StreamLost(), 1.0)
    assert drain(core, 1.0) == [Outbound(0, b"", True)]
    assert core.ended
    assert isinstance(core.error, StreamLost)


# ---- bounds -------------------------------------------------------------------------------------------------


def test_a_reader_that_does_not_read_is_an_error_not_a_leak():
    world = pair(Network(random.Random(8)), options=StreamOptions(receive_limit_bytes=200_000))
    world.left.reading = False
    for second in range(100):
        world.write_at(float(second), world.right, bytes(10_000))
    world.run(200.0)
    assert isinstance(world.left.core.error, StreamOverflow)
    assert world.left.most_waiting_bytes <= 200_000
    assert world.left.core.waiting_bytes == 0
    assert world.right.ended_at is not None


def test_empty_messages_behind_a_gap_are_bounded_too():
    core = StreamCore(0.0, StreamOptions(receive_limit_bytes=10_000))
    for seq in range(1, 400):
        core.receive(seq, b"", False, 0.0)
    assert isinstance(core.error, StreamOverflow)


def test_demand_stops_when_enough_waits():
    core = StreamCore(0.0, StreamOptions(demand_limit_bytes=100))
    assert core.wants_data
    core.receive(0, bytes(101), False, 0.0)
    assert not core.wants_data
    core.read()
    assert core.wants_data
    core.receive(1, b"", True, 0.0)
    assert not core.wants_data
