"""Messages from fragments in any order, with duplicates, bounds and hostile links."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_mixnet.reconstruction import (
    FINISHED_MEMORY_SECONDS,
    INCOMPLETE_TIMEOUT_SECONDS,
    MAX_LINKED_SETS,
    Reconstructor,
)
from nym_sphinx import Fragment, MalformedMessage, pad, split

SPACE = 60  # small packets make many sets cheap


def fragments_of(message: bytes, seed: int = 1) -> list[Fragment]:
    return split(pad(message, SPACE), SPACE, rng=random.Random(seed))


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 40_000), seed=st.integers(0, 2**32), duplicates=st.floats(0, 0.5))
def test_any_order_with_duplicates_gives_the_message_exactly_once(size, seed, duplicates):
    rng = random.Random(seed)
    message = rng.randbytes(size)
    fragments = fragments_of(message, seed)
    fragments += [f for f in fragments if rng.random() < duplicates]
    rng.shuffle(fragments)
    reconstructor = Reconstructor()
    done = [m for f in fragments if (m := reconstructor.insert(f, 0.0)) is not None]
    assert done == [message]
    assert reconstructor.buffered_bytes == 0
    assert reconstructor.open_sets == 0


def test_a_missing_fragment_means_no_message_and_expires():
    fragments = fragments_of(bytes(500))
    reconstructor = Reconstructor()
    assert all(reconstructor.insert(f, 0.0) is None for f in fragments[:-1])
    assert reconstructor.open_sets == 1
    reconstructor.purge(INCOMPLETE_TIMEOUT_SECONDS + 1)
    assert reconstructor.open_sets == 0
    assert reconstructor.buffered_bytes == 0
    assert reconstructor.stats.expired_sets == 1


def test_late_duplicates_of_a_finished_message_are_ignored_for_a_quarter_of_an_hour():
    fragments = fragments_of(b"hello")
    reconstructor = Reconstructor()
    assert reconstructor.insert(fragments[0], 0.0) == b"hello"
    assert reconstructor.insert(fragments[0], FINISHED_MEMORY_SECONDS - 1) is None
    assert reconstructor.stats.duplicates == 1
    reconstructor.purge(FINISHED_MEMORY_SECONDS * 2)
    assert reconstructor.insert(fragments[0], FINISHED_MEMORY_SECONDS * 2) == b"hello"


def test_a_fragment_that_contradicts_its_set_is_dropped():
    reconstructor = Reconstructor()
    reconstructor.insert(Fragment(7, 3, 1, b"a"), 0.0)
    assert reconstructor.insert(Fragment(7, 9, 8, b"b"), 0.0) is None
    assert reconstructor.stats.conflicting == 1


def test_memory_is_bounded_whatever_arrives():
    reconstructor = Reconstructor(max_buffered_bytes=100_000, max_open_sets=50)
    rng = random.Random(3)
    for set_id in range(1, 2000):
        reconstructor.insert(Fragment(set_id, 200, rng.randrange(1, 200), bytes(1600)), float(set_id) / 1000)
        assert reconstructor.buffered_bytes <= 100_000
        assert reconstructor.open_sets <= 50
    assert reconstructor.stats.evicted_sets > 1000


def test_link_cycles_do_not_hang_and_never_complete():
    # Full sets of 255 whose links lead back to each other.
    reconstructor = Reconstructor()
    for own, other in ((10, 20), (20, 10)):
        for current in range(1, 256):
            fragment = Fragment(
                own,
                255,
                current,
                b"x",
                previous_id=other if current == 1 else None,
                next_id=other if current == 255 else None,
            )
            assert reconstructor.insert(fragment, 0.0) is None


def test_a_link_that_is_not_returned_does_not_join_messages():
    reconstructor = Reconstructor()
    for current in range(1, 256):
        reconstructor.insert(Fragment(1, 255, current, b"a", next_id=2 if current == 255 else None), 0.0)
    # Set 2 does not name set 1 as its predecessor: it is a message of its own.
    assert reconstructor.insert(Fragment(2, 1, 1, b"b\x01"), 0.0) == b"b"
    assert reconstructor.open_sets == 1


def test_chains_are_limited():
    reconstructor = Reconstructor(max_buffered_bytes=10**9)
    count = MAX_LINKED_SETS + 10
    for set_id in range(1, count + 1):
        last = set_id == count
        total = 1 if last else 255
        for current in range(1, total + 1):
            fragment = Fragment(
                set_id,
                total,
                current,
                b"\x01",
                previous_id=set_id - 1 if current == 1 and set_id > 1 else None,
                next_id=set_id + 1 if current == 255 else None,
            )
            assert reconstructor.insert(fragment, 0.0) is None


def test_a_complete_message_without_padding_marker_is_an_error_and_stays_used():
    reconstructor = Reconstructor()
    with pytest.raises(MalformedMessage):
        reconstructor.insert(Fragment(9, 1, 1, bytes(20)), 0.0)
    assert reconstructor.insert(Fragment(9, 1, 1, b"ok\x01"), 0.0) is None
    assert reconstructor.stats.unpadded_failures == 1
