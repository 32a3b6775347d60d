"""Building and unwrapping packets, and all the ways in which that is refused (docs/protocol/01 §5, §8, §10)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nym_sphinx import (
    BadKey,
    BadRoute,
    FinalHop,
    ForwardHop,
    HeaderMacMismatch,
    Hop,
    MalformedPacket,
    NodeAddress,
    PacketSize,
    PayloadTampered,
    PayloadTooLong,
    PreparedPacket,
    ReplayedPacket,
    SphinxError,
    UnknownRoutingFlag,
    draw_delays_ns,
    prepare_packet,
    unwrap,
)
from nym_sphinx import packet as packet_module
from nym_sphinx.constants import HEADER_BYTES, MAX_HOPS, V258, V259
from nym_sphinx.header import assemble_header, route_secrets
from nym_sphinx.kdf import PAYLOAD_KEY
from nym_sphinx.payload import open_payload, seal_payload
from tests.sphinx.sphinx_world import build_unclamped, make_route, walk

DESTINATION = bytes(range(32))
SMALL_ORDER_KEYS = [bytes(32), (1).to_bytes(32, "little"), (2**255 - 20).to_bytes(32, "little")]
ADDRESS = NodeAddress.parse("127.0.0.1:1789")

seeds = st.integers(0, 2**32)
versions = st.sampled_from([V258, V259])
hop_counts = st.integers(1, MAX_HOPS)
delays = st.integers(0, 2**64 - 1)


@settings(max_examples=60)
@given(
    seeds,
    hop_counts,
    versions,
    st.binary(max_size=PacketSize.REGULAR.plaintext_bytes),
    st.booleans(),
    st.data(),
)
def test_what_goes_in_comes_out(seed, hops, version, plaintext, shortcut, data):
    rng = random.Random(seed)
    pairs, route = make_route(hops, rng)
    delays_ns = data.draw(st.lists(delays, min_size=hops, max_size=hops))
    identifier = data.draw(st.binary(min_size=16, max_size=16))
    prepared = prepare_packet(
        route, delays_ns, DESTINATION, version=version, identifier=identifier, rng=rng, shortcut=shortcut
    )
    assert prepared.first_hop == route[0].address
    assert [len(key) for key in prepared.payload_keys] == [192] * hops
    packet = prepared.seal(plaintext, PacketSize.REGULAR)
    assert len(packet) == PacketSize.REGULAR.packet_bytes

    *forwards, final = walk(packet, [pair.private for pair in pairs])
    for index, hop in enumerate(forwards):
        assert hop.delay_ns == delays_ns[index]
        assert NodeAddress.decode(hop.next_address) == route[index + 1].address
        assert hop.version == version
        assert len(hop.packet) == len(packet)
    assert (final.plaintext, final.destination, final.identifier, final.version) == (
        plaintext,
        DESTINATION,
        identifier,
        version,
    )
    tags = [hop.replay_tag for hop in (*forwards, final)]
    assert len(set(tags)) == hops


@settings(max_examples=60)
@given(seeds, hop_counts, versions)
def test_shortcut_and_chain_give_the_same_bytes(seed, hops, version):
    _, route = make_route(hops, random.Random(seed))
    short, chain = (
        prepare_packet(
            route, [7] * hops, DESTINATION, version=version, rng=random.Random(seed + 1), shortcut=shortcut
        )
        for shortcut in (True, False)
    )
    assert short == chain


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=32, max_size=32), min_size=2, max_size=MAX_HOPS), seeds)
def test_any_node_key_gives_the_same_bytes_both_ways(public_keys, seed):
    """Half of all strings are keys on the twist, and most of the others are outside the prime-order part."""
    route = [Hop(ADDRESS, key) for key in public_keys]
    secret = random.Random(seed).randbytes(32)
    try:
        chain = route_secrets(secret, route, V259, shortcut=False)
    except BadRoute:
        with pytest.raises(BadRoute):
            route_secrets(secret, route, V259)
    else:
        assert route_secrets(secret, route, V259) == chain


def test_the_shortcut_saves_calls(monkeypatch):
    from nym_sphinx import header

    calls = []
    real = header.x25519
    monkeypatch.setattr(header, "x25519", lambda scalar, point: calls.append(point) or real(scalar, point))
    _, route = make_route(4, random.Random(1))
    secret = bytes(range(32))
    short = route_secrets(secret, route, V259)
    assert len(calls) == 4
    calls.clear()
    assert route_secrets(secret, route, V259, shortcut=False) == short
    assert len(calls) == 1 + 2 + 3 + 4
    calls.clear()
    monkeypatch.setattr(header, "representative", lambda product: None)
    assert route_secrets(secret, route, V259) == short
    assert len(calls) == 1 + 2 + 3 + 4


def test_node_on_the_twist_is_reached_by_the_chain(monkeypatch):
    from nym_sphinx import header
    from nym_sphinx.curve import is_on_curve

    twisted = next(bytes([u]) + bytes(31) for u in range(2, 50) if not is_on_curve(bytes([u]) + bytes(31)))
    _pairs, route = make_route(3, random.Random(2))
    calls = []
    real = header.x25519
    monkeypatch.setattr(header, "x25519", lambda scalar, point: calls.append(point) or real(scalar, point))
    route_secrets(bytes(range(32)), [route[0], Hop(ADDRESS, twisted), route[2]], V259)
    assert len(calls) == 1 + 2 + 1


@pytest.mark.parametrize("size", list(PacketSize))
def test_every_size_is_filled_to_the_brim_and_no_further(size):
    pairs, route = make_route(2, random.Random(3))
    prepared = prepare_packet(route, [0, 0], DESTINATION)
    full = bytes([1]) * size.plaintext_bytes
    packet = prepared.seal(full, size)
    assert len(packet) == size.packet_bytes
    assert walk(packet, [pair.private for pair in pairs])[-1].plaintext == full
    with pytest.raises(PayloadTooLong, match=f"{size.plaintext_bytes + 1} bytes"):
        prepared.seal(full + b"x", size)


def test_a_payload_needs_a_right_half():
    with pytest.raises(PayloadTooLong):
        seal_payload([bytes(192)], b"", 32)


@pytest.mark.parametrize("hops", [0, MAX_HOPS + 1, MAX_HOPS + 2])
def test_route_length_is_bounded(hops):
    _, route = make_route(hops, random.Random(4))
    with pytest.raises(BadRoute, match="1 to 5 hops"):
        prepare_packet(route, [0] * hops, DESTINATION)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"delays_ns": [0]}, "2 hops need as many delays"),
        ({"delays_ns": [-1, 0]}, "a delay"),
        ({"delays_ns": [2**64, 0]}, "a delay"),
        ({"destination": bytes(31)}, "32 bytes"),
        ({"identifier": bytes(15)}, "16"),
        ({"version": 257}, "version 257"),
        ({"version": 260}, "version 260"),
    ],
)
def test_bad_arguments_are_refused(changed, text):
    _, route = make_route(2, random.Random(5))
    arguments = {"route": route, "delays_ns": [0, 0], "destination": DESTINATION} | changed
    with pytest.raises(BadRoute, match=text):
        prepare_packet(**arguments)


def test_the_last_delay_is_not_used():
    _, route = make_route(1, random.Random(5))
    prepare_packet(route, [-1], DESTINATION)


@pytest.mark.parametrize("key", SMALL_ORDER_KEYS)
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("shortcut", [True, False])
def test_node_key_of_small_order_is_refused(key, position, shortcut):
    _, route = make_route(3, random.Random(6))
    route[position] = Hop(ADDRESS, key)
    with pytest.raises(BadRoute, match="Sphinx key"):
        prepare_packet(route, [0] * 3, DESTINATION, shortcut=shortcut)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_hop_key_length(length):
    with pytest.raises(BadRoute, match="32 bytes"):
        Hop(ADDRESS, bytes(length))


@pytest.fixture(scope="module")
def two_hops():
    pairs, route = make_route(2, random.Random(7))
    packet = prepare_packet(route, [5, 0], DESTINATION, rng=random.Random(8)).seal(b"hello", PacketSize.ACK)
    return packet, [pair.private for pair in pairs]


def test_any_flipped_header_bit_is_noticed_at_once(two_hops):
    packet, (first, _) = two_hops
    for position in range(HEADER_BYTES):
        if position == 31:
            continue  # its top bit is no part of the key; see below
        altered = bytearray(packet)
        altered[position] ^= 1 << position % 8
        with pytest.raises(HeaderMacMismatch):
            unwrap(bytes(altered), first)


def test_the_bit_of_the_key_that_is_ignored(two_hops):
    packet, (first, _second) = two_hops
    altered = bytearray(packet)
    altered[31] ^= 0x80
    assert unwrap(bytes(altered), first) == unwrap(packet, first)


def test_any_flipped_payload_byte_is_noticed_by_the_last_hop(two_hops):
    packet, (first, second) = two_hops
    for position in range(HEADER_BYTES, len(packet)):
        altered = bytearray(packet)
        altered[position] ^= 1
        with pytest.raises(PayloadTampered, match="leading zeros"):
            unwrap(unwrap(bytes(altered), first).packet, second)


def test_wrong_key_is_noticed(two_hops):
    packet, (_, second) = two_hops
    with pytest.raises(HeaderMacMismatch):
        unwrap(packet, second)


def test_every_truncation_is_refused(two_hops):
    packet, (first, _) = two_hops
    for length in range(HEADER_BYTES + 33):
        with pytest.raises(MalformedPacket, match="too short"):
            unwrap(packet[:length], first)
    for length in range(HEADER_BYTES + 33, len(packet)):
        # The header is whole: this node cannot know that the payload is not.
        assert isinstance(unwrap(packet[:length], first), ForwardHop)


@given(st.binary(max_size=500))
def test_garbage_raises_only_our_errors(data):
    with pytest.raises(SphinxError):
        unwrap(data, bytes(range(32)))


@pytest.mark.parametrize("alpha", SMALL_ORDER_KEYS)
def test_packet_key_of_small_order_is_refused(two_hops, alpha):
    packet, (first, _) = two_hops
    with pytest.raises(MalformedPacket, match="small order"):
        unwrap(alpha + packet[32:], first)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_private_key_length(two_hops, length):
    with pytest.raises(BadKey, match="32 bytes"):
        unwrap(two_hops[0], bytes(length))


def test_replay_is_asked_after_the_mac_and_before_the_payload(two_hops, monkeypatch):
    packet, (first, second) = two_hops
    seen = set()

    def seen_before(tag):
        known = tag in seen
        seen.add(tag)
        return known

    forward = unwrap(packet, first, seen=seen_before)
    assert seen == {forward.replay_tag}
    monkeypatch.setattr(packet_module, "lioness_decrypt", None)
    with pytest.raises(ReplayedPacket):
        unwrap(packet, first, seen=seen_before)
    with pytest.raises(HeaderMacMismatch):
        unwrap(packet, second, seen=seen_before)
    assert seen == {forward.replay_tag}


def header_by_hand(route, version, flag):
    """One hop's header with any version and flag."""
    secrets = route_secrets(bytes(range(32)), route, V258)
    version_field = version.to_bytes(3, "big")
    meta = bytes([flag]) + version_field + DESTINATION + bytes(16 + 248)
    from nym_sphinx.curve import x25519_base

    alpha = x25519_base(bytes(range(32)))
    return assemble_header(alpha, secrets, route, [0], meta, version_field), secrets


@pytest.mark.parametrize("flag", [0, 3, 255])
def test_unknown_routing_flag(flag):
    (pair,), route = make_route(1, random.Random(9))
    header, secrets = header_by_hand(route, V258, flag)
    packet = header + seal_payload([secrets[0][PAYLOAD_KEY]], b"", 38)
    with pytest.raises(UnknownRoutingFlag):
        unwrap(packet, pair.private)


def test_unknown_version_is_read_as_259():
    from nym_sphinx.kdf import PAYLOAD_SEED, payload_key_from_seed

    (pair,), route = make_route(1, random.Random(10))
    header, secrets = header_by_hand(route, 0x01FFFF, 2)  # the first byte of three is ignored
    key = payload_key_from_seed(secrets[0][PAYLOAD_SEED])
    hop = unwrap(header + seal_payload([key], b"new", 38), pair.private)
    assert isinstance(hop, FinalHop)
    assert (hop.plaintext, hop.version) == (b"new", 0xFFFF)


@pytest.mark.parametrize("version", [1, 257])
@settings(max_examples=10)
@given(seed=seeds, hops=hop_counts)
def test_packets_of_long_ago_are_unwrapped(version, seed, hops):
    rng = random.Random(seed)
    pairs, route = make_route(hops, rng)
    padding = rng.randbytes(248 - 60 * (hops - 1))
    header, keys = build_unclamped(
        route, [1] * hops, DESTINATION, bytes(16), version, rng.randbytes(32), padding
    )
    packet = header + seal_payload(keys, b"old", 100)
    final = walk(packet, [pair.private for pair in pairs])[-1]
    assert (final.plaintext, final.version) == (b"old", version)


def test_blinding_that_cannot_be_applied():
    with pytest.raises(MalformedPacket, match="blinding"):
        packet_module._blind(bytes([9]) + bytes(31), bytes(32), 257)


def test_payload_without_its_marks():
    with pytest.raises(PayloadTampered, match="leading zeros"):
        open_payload(bytes(15) + b"\x02" + b"\x01")
    with pytest.raises(PayloadTampered, match="end marker"):
        open_payload(bytes(40))
    assert open_payload(bytes(16) + b"a\x01b\x01" + bytes(3)) == b"a\x01b"
    assert open_payload(bytes(16) + b"\x01\x05") == b""


def test_delays_have_the_mean_asked_for():
    drawn = draw_delays_ns(20_000, 0.015, random.Random(11))
    assert all(isinstance(delay, int) and delay >= 0 for delay in drawn)
    mean = sum(drawn) / len(drawn)
    assert 14.5e6 < mean < 15.5e6
    # Exponential: the part above the mean is 1/e.
    assert 0.35 < sum(delay > 15e6 for delay in drawn) / len(drawn) < 0.39


@pytest.mark.parametrize("count", [-1, 0, 1, 4])
def test_delays_of_mean_zero(count):
    assert draw_delays_ns(count, 0.0, random.Random(0)) == [0] * max(0, count)
    assert len(draw_delays_ns(count, 0.015, random.Random(0))) == max(0, count)


def test_secrets_stay_out_of_repr(two_hops):
    packet, (first, second) = two_hops
    _, route = make_route(2, random.Random(7))
    prepared = prepare_packet(route, [0, 0], DESTINATION)
    assert "payload_keys" not in repr(prepared)
    final = unwrap(unwrap(packet, first).packet, second)
    assert "hello" not in repr(final)
    assert isinstance(prepared, PreparedPacket)
