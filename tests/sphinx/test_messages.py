"""Plain, repliable and reply messages in every encoding (docs/protocol/02 §4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.bindings import crypto_sign_seed_keypair

from nym_sphinx import (
    AdditionalSurbs,
    Heartbeat,
    KeyRotation,
    MalformedMessage,
    NodeAddress,
    PacketSize,
    PayloadTooLong,
    PlainMessage,
    Recipient,
    RepliableData,
    RepliableMessage,
    ReplyData,
    ReplyMessage,
    ReplySurb,
    Surb,
    SurbRequest,
    decode_message,
    fragments_needed,
    repliable_data_capacity,
)

TAG = b"t" * 16
IDENTITY = crypto_sign_seed_keypair(bytes(32))[0]
RECIPIENT = Recipient(IDENTITY, bytes(32), IDENTITY)
ADDRESS = NodeAddress.parse("10.0.0.1:1789")


def reply_surb(hops, *, full_keys=False, filler=1):
    material = bytes([filler]) * (hops * (192 if full_keys else 16))
    return ReplySurb(bytes([filler]) * 16, Surb(bytes([filler]) * 348, ADDRESS, material))


@st.composite
def surb_lists(draw):
    version = draw(st.sampled_from([1, 2]))
    hops = 4 if version == 1 else draw(st.integers(1, 5))
    fillers = draw(st.lists(st.integers(0, 255), max_size=3))
    surbs = tuple(reply_surb(hops, full_keys=version == 1, filler=filler) for filler in fillers)
    rotation = draw(st.sampled_from(KeyRotation)) if surbs and version == 2 else KeyRotation.UNKNOWN
    return {"surbs": surbs, "rotation": rotation, "wire_version": version}


data = st.binary(max_size=50)
contents = (
    st.tuples(data, surb_lists()).map(lambda drawn: RepliableData(drawn[0], **drawn[1]))
    | surb_lists().map(lambda drawn: AdditionalSurbs(**drawn))
    | surb_lists().map(lambda drawn: Heartbeat(**drawn))
)
messages = (
    st.builds(PlainMessage, data)
    | st.builds(RepliableMessage, st.binary(min_size=16, max_size=16), contents)
    | st.builds(ReplyMessage, st.builds(ReplyData, st.binary(min_size=1, max_size=50)))
    | st.builds(ReplyMessage, st.builds(SurbRequest, st.just(RECIPIENT), st.integers(0, 2**32 - 1)))
)


@settings(max_examples=100)
@given(messages)
def test_message_round_trips_and_truncations_are_ours(message):
    encoded = message.encode()
    assert decode_message(encoded) == message
    for length in range(len(encoded)):
        try:
            shorter = decode_message(encoded[:length])
        except MalformedMessage:
            continue
        assert shorter != message


@given(st.sampled_from([b"", b"\0", b"\1", b"\1" + TAG, b"\2", b"\2\1"]), st.binary(max_size=60))
def test_garbage_raises_only_our_error(start, rest):
    try:
        message = decode_message(start + rest)
    except MalformedMessage:
        return
    assert decode_message(message.encode()) == message


def test_bytes_behind_lone_surbs_are_ignored():
    for content in (AdditionalSurbs((reply_surb(4),)), Heartbeat((reply_surb(4),))):
        message = RepliableMessage(TAG, content)
        assert decode_message(message.encode() + b"more") == message


def test_wire_version_1_loses_the_rotation():
    content = RepliableData(b"x", (reply_surb(4, full_keys=True),), KeyRotation.ODD, 1)
    decoded = decode_message(RepliableMessage(TAG, content).encode())
    assert decoded.content.rotation is KeyRotation.UNKNOWN


def test_rotation_of_no_surbs_is_not_written():
    decoded = decode_message(RepliableMessage(TAG, RepliableData(b"x", (), KeyRotation.ODD)).encode())
    assert decoded.content.rotation is KeyRotation.UNKNOWN


@pytest.mark.parametrize(
    "content",
    [
        RepliableData(b"", (), KeyRotation.UNKNOWN, 3),
        RepliableData(b"", (reply_surb(4),), KeyRotation.UNKNOWN, 1),
        RepliableData(b"", (reply_surb(3, full_keys=True),), KeyRotation.UNKNOWN, 1),
        AdditionalSurbs((reply_surb(4, full_keys=True),)),
        AdditionalSurbs((reply_surb(4), reply_surb(3))),
        Heartbeat((reply_surb(1),) * 65536),
    ],
    ids=["version", "seeds in v1", "hops in v1", "keys in v2", "mixed hops", "too many"],
)
def test_surbs_that_do_not_fit_the_wire_version(content):
    with pytest.raises(MalformedMessage):
        RepliableMessage(TAG, content).encode()


@pytest.mark.parametrize("length", [0, 15, 17])
def test_sender_tag_length(length):
    with pytest.raises(MalformedMessage, match="16 bytes"):
        RepliableMessage(bytes(length), RepliableData(b""))


def test_replies_that_every_receiver_refuses():
    with pytest.raises(MalformedMessage, match="one byte"):
        ReplyMessage(ReplyData(b"")).encode()
    for amount in (-1, 2**32):
        with pytest.raises(MalformedMessage, match="asks for"):
            ReplyMessage(SurbRequest(RECIPIENT, amount)).encode()


@pytest.mark.parametrize(
    ("encoded", "text"),
    [
        (b"", "unknown kind"),
        (b"\x03x", "unknown kind"),
        (b"\x01" + TAG + b"\x06" + bytes(4), "unknown content tag"),
        (b"\x01" + TAG + b"\x03" + b"\0\x01\x06\0" + bytes(476), "6 hops"),
        (b"\x01" + TAG + b"\x03" + b"\0\x01\0\0" + bytes(476), "0 hops"),
        (b"\x01" + TAG + b"\x03" + b"\0\0\x04\x03", "rotation"),
        (b"\x01" + TAG + b"\x00" + b"\xff\xff\xff\xff", "too short"),
        (b"\x01" + TAG + b"\x03" + b"\0\x01\x04\0" + bytes(460), "cannot be used"),
        (b"\x02\x02x", "unknown kind"),
        (b"\x02\x01" + (2).to_bytes(32, "little") * 3 + bytes(4), "no valid address"),
    ],
)
def test_malformed_messages(encoded, text):
    with pytest.raises(MalformedMessage, match=text):
        decode_message(encoded)


@given(
    st.integers(1, 600),
    st.integers(0, 20),
    st.integers(1, 5),
    st.sampled_from([PacketSize.REGULAR, PacketSize.EXTENDED8]),
)
def test_capacity_fills_packets_exactly(packets, surbs, hops, size):
    try:
        capacity = repliable_data_capacity(packets, surbs, hops=hops, size=size)
    except PayloadTooLong:
        assert packets * 1604 < 23 + (396 + 16 * hops) * surbs
        return
    fixed = 1 + 16 + 1 + 4 + surbs * (396 + 16 * hops)
    assert fragments_needed(fixed + capacity, size.fragment_space) == packets
    assert fragments_needed(fixed + capacity + 1, size.fragment_space) == packets + 1


def test_capacity_is_what_the_specification_says():
    for packets in (1, 2, 255):
        for surbs in (0, 1, 3):
            assert repliable_data_capacity(packets, surbs) == 1604 * packets - 23 - 460 * surbs
    content = RepliableData(bytes(repliable_data_capacity(2, 3)), (reply_surb(4),) * 3)
    encoded = RepliableMessage(TAG, content).encode()
    assert fragments_needed(len(encoded), PacketSize.REGULAR.fragment_space) == 2
    for packets, surbs in ((0, 0), (-1, 0), (1, 4)):
        with pytest.raises(PayloadTooLong, match="do not fit"):
            repliable_data_capacity(packets, surbs)


def test_data_stays_out_of_repr():
    secret = b"hunter2"
    for message in (
        PlainMessage(secret),
        RepliableMessage(TAG, RepliableData(secret)),
        ReplyMessage(ReplyData(secret)),
    ):
        assert "hunter2" not in repr(message)
