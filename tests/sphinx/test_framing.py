"""Frames between nodes and mix packets from clients (docs/protocol/02 §2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_sphinx import (
    Frame,
    FrameDecoder,
    KeyRotation,
    MalformedFrame,
    MalformedMixPacket,
    MalformedPacket,
    MixPacket,
    NodeAddress,
    PacketSize,
    PacketType,
    encode_frame,
)

sizes = st.sampled_from(PacketSize)
small_sizes = st.sampled_from([PacketSize.ACK, PacketSize.REGULAR])


@st.composite
def frames(draw, size=small_sizes):
    size = draw(size)
    packet = bytes([draw(st.integers(0, 255))]) * size.packet_bytes
    version = draw(st.sampled_from([7, 8]))
    rotation = draw(st.sampled_from(KeyRotation)) if version == 8 else KeyRotation.UNKNOWN
    return Frame(packet, size, rotation, version, draw(st.sampled_from(PacketType)))


def encoded(frame):
    return encode_frame(
        frame.packet, rotation=frame.rotation, version=frame.version, packet_type=frame.packet_type
    )


@given(frames(sizes))
def test_frame_round_trips(frame):
    stream = encoded(frame)
    assert len(stream) == len(frame.packet) + frame.version - 4
    assert FrameDecoder().feed(stream) == [frame]


@given(st.lists(frames(), max_size=4), st.data())
def test_stream_is_cut_the_same_however_it_comes(expected, data):
    stream = b"".join(encoded(frame) for frame in expected)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    decoder, found = FrameDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(stream[start:end])
    assert found == expected
    assert decoder.feed(b"") == []


def test_byte_by_byte():
    expected = [
        Frame(bytes(386), PacketSize.ACK, KeyRotation.UNKNOWN, 7, PacketType.MIX),
        Frame(b"\x08" * 386, PacketSize.ACK, KeyRotation.EVEN, 8, PacketType.MIX),
        Frame(b"\x07" * 2413, PacketSize.REGULAR, KeyRotation.ODD, 8, PacketType.OUTFOX),
    ]
    decoder, found, ends = FrameDecoder(), [], []
    stream = b"".join(encoded(frame) for frame in expected)
    for index in range(len(stream)):
        if frames_now := decoder.feed(stream[index : index + 1]):
            found += frames_now
            ends.append(index + 1)
    assert found == expected
    assert ends == [389, 389 + 390, 389 + 390 + 2417]


def test_defaults_are_what_every_node_understands():
    (frame,) = FrameDecoder().feed(encode_frame(bytes(386)))
    assert (frame.version, frame.rotation, frame.packet_type) == (7, KeyRotation.UNKNOWN, PacketType.MIX)


@pytest.mark.parametrize("header", ["06", "09", "0800", "080103", "08010003", "070009", "080806"])
def test_corruption_lasts_for_ever(header):
    decoder = FrameDecoder()
    bad = bytes.fromhex(header).ljust(4, b"\0")
    with pytest.raises(MalformedFrame) as first:
        decoder.feed(bad)
    assert decoder.corrupted
    with pytest.raises(MalformedFrame) as second:
        decoder.feed(encode_frame(bytes(386)))
    assert str(first.value) == str(second.value)


def test_frames_before_the_corruption_are_delivered():
    decoder = FrameDecoder()
    assert not decoder.corrupted
    assert len(decoder.feed(encode_frame(bytes(386)) * 2 + b"\xff\xff\xff")) == 2
    assert decoder.corrupted
    with pytest.raises(MalformedFrame):
        decoder.feed(b"")


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_garbage_raises_only_our_error(chunks):
    decoder = FrameDecoder()
    for chunk in chunks:
        try:
            decoder.feed(chunk)
        except MalformedFrame:
            assert decoder.corrupted


def test_frames_that_are_not_written():
    with pytest.raises(MalformedFrame, match="385 bytes"):
        encode_frame(bytes(385))
    with pytest.raises(MalformedFrame, match="version 9"):
        encode_frame(bytes(386), version=9)


addresses = st.sampled_from([NodeAddress.parse("10.0.0.1:1789"), NodeAddress.parse("[2001:db8::1]:65535")])


@given(addresses, sizes, st.sampled_from(KeyRotation), st.sampled_from(PacketType))
def test_mix_packet_round_trips(address, size, rotation, packet_type):
    mix_packet = MixPacket(address, bytes(size.packet_bytes), rotation, packet_type)
    assert MixPacket.decode_v2(mix_packet.encode_v2()) == mix_packet
    older = MixPacket.decode_v1(mix_packet.encode_v1())
    assert older == MixPacket(address, mix_packet.packet, KeyRotation.UNKNOWN, packet_type)


def test_truncated_mix_packets():
    mix_packet = MixPacket(NodeAddress.parse("[2001:db8::1]:1"), bytes(386), KeyRotation.ODD)
    for encode, decode in (
        (mix_packet.encode_v1(), MixPacket.decode_v1),
        (mix_packet.encode_v2(), MixPacket.decode_v2),
    ):
        for length in range(len(encode)):
            with pytest.raises(MalformedMixPacket):
                decode(encode[:length])


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x01\x00\x04" + bytes(392), "packet type"),
        (b"\x00\x03\x04" + bytes(392), "key rotation"),
        (b"\x00\x00\x05" + bytes(392), "sent on: not a node address"),
        (b"\x00\x00\x04" + bytes(393), "sent on: no packet size"),
    ],
)
def test_malformed_mix_packets(data, text):
    with pytest.raises(MalformedMixPacket, match=text):
        MixPacket.decode_v2(data)


@given(st.binary(max_size=60))
def test_garbage_mix_packets(data):
    with pytest.raises(MalformedMixPacket):
        MixPacket.decode_v1(data)
    with pytest.raises(MalformedMixPacket):
        MixPacket.decode_v2(data)


def test_sizes():
    for size in PacketSize:
        assert PacketSize.from_packet_length(size.packet_bytes) is size
    with pytest.raises(MalformedPacket, match="2412 bytes"):
        PacketSize.from_packet_length(2412)
    assert PacketSize.REGULAR.message_bytes == 1643
    assert PacketSize.ACK.message_bytes == 21
    assert PacketSize.REGULAR.fragment_space == 1611
    assert PacketSize.ACK.fragment_space == 0
