"""SURBs of both encodings, and the replies sent over them (docs/protocol/01 §9, 02 §8)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_sphinx import (
    BadKey,
    BadRoute,
    MalformedSurb,
    NodeAddress,
    PacketSize,
    PayloadTooLong,
    ReplySurb,
    Surb,
    b58decode,
    build_reply_surb,
    build_surb,
    open_reply,
    reply_key_digest,
    seal_reply,
)
from nym_sphinx.constants import MAX_HOPS, V258, V259
from tests.sphinx.sphinx_world import make_route, walk

DESTINATION = bytes(range(32))
ADDRESS = NodeAddress.parse("[2001:db8::1]:1789")
hop_counts = st.integers(1, MAX_HOPS)
versions = st.sampled_from([V258, V259])


@settings(max_examples=40)
@given(st.integers(0, 2**32), hop_counts, versions, st.binary(max_size=2048), st.booleans())
def test_reply_goes_home(seed, hops, version, plaintext, shortcut):
    rng = random.Random(seed)
    pairs, route = make_route(hops, rng)
    made = build_reply_surb(route, [3] * hops, DESTINATION, version=version, rng=rng, shortcut=shortcut)
    received = ReplySurb.decode(made.encode())
    assert received == made
    assert received.digest == reply_key_digest(made.key)
    surb = received.surb
    assert (surb.version, surb.hops, surb.first_hop) == (version, hops, route[0].address)
    assert len(surb.encode()) == 380 + hops * (192 if version == V258 else 16)
    packet = surb.seal(plaintext, PacketSize.REGULAR)
    final = walk(packet, [pair.private for pair in pairs])[-1]
    assert (final.plaintext, final.destination, final.identifier) == (plaintext, DESTINATION, bytes(16))


@given(hop_counts, versions, st.data())
def test_any_well_formed_surb_round_trips(hops, version, data):
    material = data.draw(st.binary(min_size=hops * 16, max_size=hops * 16)) * (12 if version == V258 else 1)
    surb = Surb(data.draw(st.binary(min_size=348, max_size=348)), ADDRESS, material)
    assert Surb.decode(surb.encode()) == surb
    assert (surb.version, surb.hops) == (version, hops)
    reply = ReplySurb(data.draw(st.binary(min_size=16, max_size=16)), surb)
    assert ReplySurb.decode(reply.encode()) == reply
    assert b58decode(reply.to_base58()) == reply.encode()


@pytest.mark.parametrize("version", [V258, V259])
def test_truncated_surbs_are_refused_or_whole(version):
    _, route = make_route(4, random.Random(1))
    encoded = build_reply_surb(route, [0] * 4, DESTINATION, version=version, rng=random.Random(2)).encode()
    parsed = []
    for length in range(len(encoded)):
        try:
            parsed.append(ReplySurb.decode(encoded[:length]))
        except MalformedSurb:
            continue
    # Where fewer whole keys or seeds remain, nothing tells that there were more.
    assert all(surb.surb.hops <= MAX_HOPS for surb in parsed)
    assert len(parsed) == (5 + 3 if version == V258 else 3)


@pytest.mark.parametrize("material", [0, 15, 17, 6 * 16, 191, 193, 6 * 192])
def test_key_material_of_the_wrong_length(material):
    with pytest.raises(MalformedSurb):
        Surb(bytes(348), ADDRESS, bytes(material))


def test_other_malformed_surbs():
    with pytest.raises(MalformedSurb):
        Surb(bytes(347), ADDRESS, bytes(64))
    with pytest.raises(MalformedSurb, match="first hop"):
        Surb.decode(bytes(348) + b"\x05" + bytes(31) + bytes(64))
    with pytest.raises(MalformedSurb, match="16 bytes"):
        ReplySurb(bytes(15), Surb(bytes(348), ADDRESS, bytes(64)))


@given(st.binary(max_size=500))
def test_garbage_raises_only_our_error(data):
    try:
        ReplySurb.decode(data)
    except MalformedSurb:
        return
    assert len(data) >= 16 + 380 + 16


def test_bad_routes_and_payloads():
    with pytest.raises(BadRoute):
        build_surb([], [], DESTINATION)
    _, route = make_route(1, random.Random(3))
    with pytest.raises(PayloadTooLong):
        build_surb(route, [0], DESTINATION).seal(bytes(22), PacketSize.ACK)


def test_keys_stay_out_of_repr():
    _, route = make_route(1, random.Random(4))
    surb = build_reply_surb(route, [0], DESTINATION)
    assert "key=" not in repr(surb)
    assert surb.to_base58() not in str(surb)
    assert "key_material" not in repr(surb)


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=200))
def test_reply_content_round_trips(key, fragment):
    sealed = seal_reply(key, fragment)
    assert sealed[:32] == reply_key_digest(key)
    assert open_reply(key, sealed[32:]) == fragment


@pytest.mark.parametrize("length", [0, 15, 17])
def test_reply_key_length(length):
    with pytest.raises(BadKey):
        seal_reply(bytes(length), b"x")
    with pytest.raises(BadKey):
        open_reply(bytes(length), b"x")
