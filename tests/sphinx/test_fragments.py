"""Padding, splitting and the fragment header (docs/protocol/02 §4, §5)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_sphinx import (
    Fragment,
    MalformedFragment,
    MalformedMessage,
    PacketSize,
    fragments_needed,
    pad,
    split,
    unpad,
)
from nym_sphinx.fragments import layout, sets_needed

ids = st.integers(1, 2**31 - 1)
spaces = st.integers(11, 40)
# Lengths round the borders of one, two and three sets are what matters; hypothesis does not find them by itself.
borders = st.tuples(spaces, st.integers(0, 4), st.integers(-4, 4)).map(
    lambda drawn: (drawn[0], max(0, drawn[1] * (255 * (drawn[0] - 7) - 3) + drawn[2]))
)


@st.composite
def fragments(draw):
    total = draw(st.integers(1, 255) | st.just(255))
    current = draw(st.integers(1, total) | st.just(1) | st.just(total))
    set_id, linked = draw(st.lists(ids, min_size=2, max_size=2, unique=True))
    link = {}
    if draw(st.booleans()):
        if current == 1:
            link = {"previous_id": linked}
        elif current == total == 255:
            link = {"next_id": linked}
    return Fragment(set_id, total, current, draw(st.binary(max_size=30)), **link)


@given(fragments())
def test_fragment_round_trips(fragment):
    encoded = fragment.encode()
    linked = fragment.previous_id is not None or fragment.next_id is not None
    header = 10 if linked else 7
    assert len(encoded) == header + len(fragment.payload)
    assert Fragment.decode(encoded) == fragment
    assert len(fragment.id) == 5
    for length in range(header):
        with pytest.raises(MalformedFragment):
            Fragment.decode(encoded[:length])
    for length in range(header, len(encoded)):
        assert Fragment.decode(encoded[:length]).payload == fragment.payload[: length - header]


@given(st.binary(max_size=40))
def test_garbage_raises_only_our_error(data):
    try:
        fragment = Fragment.decode(data)
    except MalformedFragment:
        return
    assert Fragment.decode(fragment.encode()) == fragment


@pytest.mark.parametrize(
    "fields",
    [
        {"set_id": 0},
        {"set_id": 2**31},
        {"total": 0},
        {"total": 256, "current": 256},
        {"current": 0},
        {"current": 6},
        {"current": 2, "previous_id": 9},
        {"previous_id": 7},
        {"previous_id": 0},
        {"previous_id": 2**31},
        {"current": 5, "next_id": 9},
        {"total": 255, "current": 255, "next_id": 7},
    ],
)
def test_impossible_fragments(fields):
    with pytest.raises(MalformedFragment):
        Fragment(**({"set_id": 7, "total": 5, "current": 1, "payload": b""} | fields))


def check_split(message_length, space, seed):
    message = bytes(i % 251 for i in range(message_length))
    padded = pad(message, space)
    pieces = split(padded, space, rng=random.Random(seed))
    if message:
        assert unpad(padded) == message
    assert b"".join(piece.payload for piece in pieces) == padded
    # Every packet is filled to its last byte: cover and data look alike.
    assert {len(piece.encode()) for piece in pieces} == {space}
    assert len(pieces) == fragments_needed(message_length, space)
    sets = []
    for piece in pieces:
        if not sets or sets[-1][0].set_id != piece.set_id:
            sets.append([])
        sets[-1].append(piece)
    assert len(sets) == sets_needed(len(padded), space) == len({group[0].set_id for group in sets})
    for index, group in enumerate(sets):
        assert [piece.current for piece in group] == list(range(1, len(group) + 1))
        assert {piece.total for piece in group} == {len(group)}
        assert group[0].previous_id == (sets[index - 1][0].set_id if index else None)
        assert all(piece.previous_id is None for piece in group[1:])
        last = index == len(sets) - 1
        assert group[-1].next_id == (None if last else sets[index + 1][0].set_id)
        assert last or len(group) == 255
        assert all(piece.next_id is None for piece in group[:-1])
    return pieces


@settings(max_examples=60)
@given(borders, st.integers(0, 2**32))
def test_split_at_the_borders(drawn, seed):
    space, length = drawn
    check_split(length, space, seed)


@given(st.integers(0, 10_000), st.integers(0, 2**32))
def test_split_into_real_packets(length, seed):
    check_split(length, PacketSize.REGULAR.fragment_space, seed)


@given(borders)
def test_layout_leaves_nothing_over(drawn):
    space, length = drawn
    fragments, left = layout(length, space)
    assert left >= 0
    # What fills the space exactly needs as many fragments, and one byte more needs another one. (Or more: a second
    # set costs six bytes for its links.)
    assert layout(length + left, space) == (fragments, 0)
    assert layout(length + left + 1, space)[0] > fragments


def test_payload_stays_out_of_repr():
    assert "hunter2" not in repr(Fragment(1, 1, 1, b"hunter2"))


def test_split_without_padding():
    assert [piece.payload for piece in split(b"", 11)] == [b""]
    assert [piece.payload for piece in split(b"12345", 11)] == [b"1234", b"5"]


def test_split_with_given_ids():
    assert [piece.set_id for piece in split(b"123", 11, set_ids=[5])] == [5]
    with pytest.raises(MalformedFragment, match="1 sets"):
        split(b"123", 11, set_ids=[5, 6])


def test_set_ids_of_one_message_differ():
    class Stuck(random.Random):
        drawn = iter([7, 7, 7, 8, 9])

        def randrange(self, *_):
            return next(self.drawn)

    pieces = split(bytes(255 * 4 + 300), 11, rng=Stuck())
    assert {piece.set_id for piece in pieces} == {7, 8}


@pytest.mark.parametrize("space", [-1, 0, 7, 10])
def test_too_little_space(space):
    with pytest.raises(MalformedFragment, match="space"):
        split(b"1", space)
    with pytest.raises(MalformedFragment, match="space"):
        fragments_needed(1, space)


@given(st.binary(min_size=1, max_size=100), st.integers(11, 60))
def test_padding_round_trips(message, space):
    assert unpad(pad(message, space)) == message


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\x01", b"\x01\0\0", b"abc"])
def test_bad_padding(data):
    with pytest.raises(MalformedMessage):
        unpad(data)
