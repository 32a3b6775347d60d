"""End-to-end encryption and loop cover (docs/protocol/02 §6, §10)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_sphinx import (
    COVER_FRAGMENT_ID,
    COVER_MARKER,
    BadKey,
    Fragment,
    KeyRotation,
    MalformedFragment,
    MalformedMessage,
    MalformedRecipient,
    PacketSize,
    X25519KeyPair,
    build_cover,
    decoy_envelope,
    generate_ack_key,
    generate_sender_tag,
    is_cover,
    open_ack,
    open_sealed,
    seal_for,
    split_surb_ack,
    x25519_public,
)
from nym_sphinx.constants import V258, V259
from nym_sphinx.curve import is_on_curve
from tests.sphinx.sphinx_world import make_route, walk

SMALL_ORDER = bytes(32)


@given(st.binary(max_size=200), st.integers(0, 2**32))
def test_envelope_round_trips(fragment, seed):
    rng = random.Random(seed)
    pair = X25519KeyPair.generate(rng)
    sealed = seal_for(pair.public, fragment, rng=rng)
    assert len(sealed) == 32 + len(fragment)
    assert open_sealed(pair.private, sealed) == fragment
    for length in range(32):
        with pytest.raises(MalformedMessage, match="too short"):
            open_sealed(pair.private, sealed[:length])


def test_every_envelope_has_a_key_of_its_own():
    pair = X25519KeyPair.generate()
    assert seal_for(pair.public, b"x" * 32) != seal_for(pair.public, b"x" * 32)


def test_wrong_key_gives_noise():
    fragment = Fragment(5, 1, 1, b"hello").encode()
    pair, other = X25519KeyPair.generate(random.Random(1)), X25519KeyPair.generate(random.Random(2))
    noise = open_sealed(other.private, seal_for(pair.public, fragment, rng=random.Random(3)))
    assert noise != fragment
    with pytest.raises(MalformedFragment):
        Fragment.decode(noise)


def test_keys_that_cannot_be_used():
    with pytest.raises(MalformedRecipient, match="small order"):
        seal_for(SMALL_ORDER, b"x")
    with pytest.raises(MalformedRecipient, match="32 bytes"):
        seal_for(bytes(31), b"x")
    with pytest.raises(MalformedMessage, match="small order"):
        open_sealed(bytes(range(32)), SMALL_ORDER + b"x")
    with pytest.raises(BadKey):
        open_sealed(bytes(33), bytes(40))


@settings(max_examples=20)
@given(
    st.integers(0, 2**32),
    st.sampled_from([size for size in PacketSize if size is not PacketSize.ACK]),
    st.sampled_from([V258, V259]),
    st.sampled_from(KeyRotation),
)
def test_cover_comes_back(seed, size, version, rotation):
    rng = random.Random(seed)
    client, ack_key, identity = X25519KeyPair.generate(rng), generate_ack_key(rng), rng.randbytes(32)
    pairs, route = make_route(4, rng)
    ack_pairs, ack_route = make_route(3, rng)
    mix_packet = build_cover(
        route=route,
        ack_route=ack_route,
        delays_ns=[1] * 4,
        ack_delays_ns=[2] * 3,
        identity=identity,
        encryption_key=client.public,
        ack_key=ack_key,
        size=size,
        version=version,
        rotation=rotation,
        rng=rng,
    )
    assert (mix_packet.first_hop, mix_packet.rotation) == (route[0].address, rotation)
    assert len(mix_packet.packet) == size.packet_bytes
    final = walk(mix_packet.packet, [pair.private for pair in pairs])[-1]
    assert (final.destination, final.version) == (identity, version)
    assert len(final.plaintext) == size.plaintext_bytes
    ack, message = split_surb_ack(final.plaintext)
    content = open_sealed(client.private, message)
    assert is_cover(content)
    assert content == (COVER_MARKER + b"\x01").ljust(size.fragment_space, b"\0")
    home = walk(ack.packet, [pair.private for pair in ack_pairs])[-1]
    assert home.destination == identity
    assert open_ack(ack_key, home.plaintext) == COVER_FRAGMENT_ID


@given(st.integers(0, 2**32), st.integers(0, 300))
def test_a_decoy_looks_like_a_sealed_fragment(seed, length):
    rng = random.Random(seed)
    decoy = decoy_envelope(length, rng=rng)
    assert len(decoy) == len(seal_for(X25519KeyPair.generate(rng).public, bytes(length), rng=rng))
    # A key of the prime-order subgroup, as every ephemeral key is: random bytes would be told apart.
    assert is_on_curve(decoy[:32])
    assert decoy[:32] == x25519_public(random.Random(seed).randbytes(32))


def test_decoys_have_nothing_in_common():
    decoys = {decoy_envelope(8)[start : start + 8] for _ in range(20) for start in (0, 32)}
    assert len(decoys) == 40


def test_cover_with_a_decoy_carries_it_unchanged():
    pairs, route = make_route(4, random.Random(5))
    decoy = decoy_envelope(PacketSize.REGULAR.fragment_space)
    packet = build_cover(
        route=route,
        ack_route=route,
        delays_ns=[1] * 4,
        ack_delays_ns=[1] * 4,
        identity=bytes(32),
        encryption_key=pairs[0].public,
        ack_key=generate_ack_key(),
        envelope=decoy,
    )
    final = walk(packet.packet, [pair.private for pair in pairs])[-1]
    assert split_surb_ack(final.plaintext)[1] == decoy


@given(st.integers(1, 2**31 - 1), st.binary(max_size=20))
def test_no_fragment_looks_like_cover(set_id, payload):
    assert not is_cover(Fragment(set_id, 1, 1, payload).encode())


def test_key_pairs():
    pair = X25519KeyPair.from_private(bytes(range(32)))
    assert pair.public == x25519_public(bytes(range(32)))
    assert "private" not in repr(pair)
    assert len(generate_sender_tag()) == len(generate_ack_key()) == 16
    assert X25519KeyPair.generate() != X25519KeyPair.generate()
    for length in (0, 31, 33):
        with pytest.raises(BadKey, match="32 bytes"):
            x25519_public(bytes(length))
