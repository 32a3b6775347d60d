"""Acknowledgements (docs/protocol/02 §7)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_sphinx import (
    BadKey,
    BadRoute,
    MalformedAck,
    NodeAddress,
    SurbAck,
    build_surb_ack,
    open_ack,
    seal_ack,
    split_surb_ack,
)
from nym_sphinx.constants import V258, V259
from tests.sphinx.sphinx_world import make_route, walk

KEY = bytes(range(16))
DESTINATION = bytes(range(32))
fragment_ids = st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 255)).map(
    lambda drawn: drawn[0].to_bytes(4, "big") + bytes([drawn[1]])
)


@given(st.binary(min_size=16, max_size=16), fragment_ids)
def test_content_round_trips(key, fragment_id):
    content = seal_ack(key, fragment_id)
    assert len(content) == 21
    assert open_ack(key, content) == fragment_id


@settings(max_examples=20)
@given(st.integers(0, 2**32), fragment_ids, st.sampled_from([V258, V259]), st.booleans())
def test_ack_goes_home(seed, fragment_id, version, shortcut):
    rng = random.Random(seed)
    pairs, route = make_route(4, rng)
    ack = build_surb_ack(
        KEY, fragment_id, route, [0] * 4, DESTINATION, version=version, rng=rng, shortcut=shortcut
    )
    encoded = ack.encode()
    assert len(encoded) == 405
    assert split_surb_ack(encoded + b"message") == (ack, b"message")
    final = walk(ack.packet, [pair.private for pair in pairs])[-1]
    assert final.destination == DESTINATION
    assert final.version == version
    assert open_ack(KEY, final.plaintext) == fragment_id


@pytest.mark.parametrize("length", [0, 20, 22])
def test_ack_of_the_wrong_length(length):
    with pytest.raises(MalformedAck, match="21 bytes"):
        open_ack(KEY, bytes(length))


def test_ack_for_another_key():
    content = seal_ack(KEY, bytes(5), rng=random.Random(1))
    flipped = content[:16] + bytes([content[16] ^ 0x80]) + content[17:]
    with pytest.raises(MalformedAck, match="not for this key"):
        open_ack(KEY, flipped)


def test_bad_arguments():
    _, route = make_route(1, random.Random(2))
    with pytest.raises(MalformedAck, match="fragment id"):
        seal_ack(KEY, bytes(4))
    with pytest.raises(BadKey):
        build_surb_ack(bytes(15), bytes(5), route, [0], DESTINATION)
    with pytest.raises(BadKey):
        open_ack(bytes(17), bytes(21))
    with pytest.raises(BadRoute):
        build_surb_ack(KEY, bytes(5), [], [], DESTINATION)


def test_plaintexts_without_an_ack():
    address = NodeAddress.parse("[2001:db8::7]:1789")
    plaintext = SurbAck(address, bytes(386)).encode()
    for length in range(405):
        with pytest.raises(MalformedAck, match="too short"):
            split_surb_ack(plaintext[:length])
    with pytest.raises(MalformedAck, match="cannot be sent back"):
        split_surb_ack(b"\x05" + plaintext[1:])


@given(st.binary(max_size=450))
def test_garbage_raises_only_our_error(data):
    try:
        ack, message = split_surb_ack(data)
    except MalformedAck:
        return
    assert len(ack.packet) + 19 + len(message) == len(data)
