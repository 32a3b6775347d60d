"""Known answers of the reference for messages: tests/vectors/messages.json (docs/protocol/02 §12)."""

from __future__ import annotations

import hashlib

import pytest

from nym_sphinx import (
    COVER_FRAGMENT_ID,
    AdditionalSurbs,
    FinalHop,
    ForwardHop,
    Fragment,
    FrameDecoder,
    Heartbeat,
    KeyRotation,
    MalformedFragment,
    MalformedFrame,
    MalformedMessage,
    MalformedRecipient,
    MixPacket,
    NodeAddress,
    PacketSize,
    PacketType,
    PlainMessage,
    Recipient,
    RepliableData,
    RepliableMessage,
    ReplyData,
    ReplyMessage,
    ReplySurb,
    SurbRequest,
    decode_message,
    encode_frame,
    fragments_needed,
    is_cover,
    open_ack,
    open_reply,
    open_sealed,
    pad,
    reply_key_digest,
    seal_ack,
    seal_for,
    seal_reply,
    split,
    split_surb_ack,
    unpad,
    unwrap,
    x25519_public,
)
from nym_sphinx.constants import HEADER_BYTES, V258, V259
from nym_sphinx.cover import cover_content
from nym_sphinx.curve import x25519
from nym_sphinx.fragments import layout
from nym_sphinx.kdf import envelope_key
from tests.sphinx.sphinx_world import ScriptedRandom
from tests.vector_files import assert_blob, cases, load, pattern, unhex, unknown_types

pytestmark = pytest.mark.vectors

VECTORS = load("messages")
TYPES = {
    "packet_sizes",
    "key_rotation",
    "frame",
    "frame_bad",
    "mix_packet",
    "node_address",
    "recipient",
    "recipient_bad",
    "e2e",
    "surb_key",
    "ack_identifier",
    "fragment_split",
    "fragment_parse",
    "nym_message",
    "nym_message_parse",
    "pipeline",
    "cover",
}

#: Entries that say nothing about this package, each with the reason.
NOT_APPLICABLE = {
    "outfox_regular": "Outfox packets are not spoken: no network uses them by default (docs/protocol/02 §1)",
    "outfox_ack": "Outfox packets are not spoken: no network uses them by default (docs/protocol/02 §1)",
}


def size_named(name):
    return PacketSize[name.upper()]


def test_every_type_is_checked():
    assert unknown_types(VECTORS, TYPES) == set()


@pytest.mark.parametrize("vector", cases(VECTORS, "packet_sizes"))
def test_packet_sizes(vector):
    checked = set()
    for entry in vector["sizes"]:
        if entry["name"] in NOT_APPLICABLE:
            continue
        size = size_named(entry["name"])
        assert size == entry["tag"]
        assert size.packet_bytes == entry["size"]
        assert entry["header_size"] == HEADER_BYTES
        assert size.payload_bytes == entry["payload_size"]
        assert size.plaintext_bytes == entry["plaintext_size"]
        assert entry["packet_type"] == PacketType.MIX
        assert PacketSize.from_packet_length(entry["size"]) is size
        checked.add(size)
    assert checked == set(PacketSize)


@pytest.mark.parametrize("vector", cases(VECTORS, "key_rotation"))
def test_key_rotation(vector):
    assert vector["map"]
    for rotation_id, wire in vector["map"]:
        assert KeyRotation.from_id(rotation_id) == wire


@pytest.mark.parametrize("vector", cases(VECTORS, "frame"))
def test_frame(vector):
    frame_bytes = unhex(vector["frame"])
    assert len(frame_bytes) == vector["frame_len"]
    assert hashlib.sha256(frame_bytes).hexdigest() == vector["frame_sha256"]
    (frame,) = FrameDecoder().feed(frame_bytes)
    assert frame.size is size_named(vector["packet_size"])
    assert frame.rotation == vector["decoded_key_rotation"]
    assert frame.version == vector["packet_version"]
    assert frame.packet_type is PacketType.MIX
    encoded = encode_frame(
        frame.packet, rotation=KeyRotation(vector["key_rotation"]), version=vector["packet_version"]
    )
    assert encoded == frame_bytes
    assert encoded.startswith(unhex(vector["header"]))
    assert isinstance(unwrap(frame.packet, unhex(vector["first_node_private_key"])), ForwardHop | FinalHop)


FRAME_FAILURES = {
    "version_below_7": "frame of version",
    "version_above_8": "frame of version",
    "unknown_size_tag": "PacketSize",
    "unknown_packet_type": "PacketType",
    "bad_key_rotation": "KeyRotation",
}


@pytest.mark.parametrize("vector", cases(VECTORS, "frame_bad"))
def test_bad_frame(vector):
    stream = unhex(vector["header"]) + bytes(2413)
    decoder = FrameDecoder()
    if vector["outcome"] == "decoded":
        assert decoder.feed(stream)
    else:
        with pytest.raises(MalformedFrame, match=FRAME_FAILURES[vector["outcome"]]):
            decoder.feed(stream)


@pytest.mark.parametrize("vector", cases(VECTORS, "mix_packet"))
def test_mix_packet(vector):
    packet = MixPacket(
        NodeAddress.parse(vector["next_hop"]),
        unhex(vector["packet"]),
        KeyRotation(vector["key_rotation"]),
        PacketType(vector["packet_type"]),
    )
    assert packet.encode_v1() == unhex(vector["v1"])
    assert packet.encode_v2() == unhex(vector["v2"])
    assert MixPacket.decode_v2(unhex(vector["v2"])) == packet
    older = MixPacket.decode_v1(unhex(vector["v1"]))
    assert older == MixPacket(packet.first_hop, packet.packet, KeyRotation.UNKNOWN, packet.packet_type)


@pytest.mark.parametrize("vector", cases(VECTORS, "node_address"))
def test_node_address(vector):
    address = NodeAddress.parse(vector["socket"])
    assert address.encode() == unhex(vector["bytes"])
    assert address.encode_padded(19) == unhex(vector["padded19"])
    assert address.encode_padded(32) == unhex(vector["padded32"])
    for name in ("bytes", "padded19", "padded32"):
        assert NodeAddress.decode(unhex(vector[name])) == address
    assert str(address) == vector["decoded"]


@pytest.mark.parametrize("vector", cases(VECTORS, "recipient"))
def test_recipient(vector):
    recipient = Recipient.parse(vector["string"])
    assert str(recipient) == vector["string"]
    assert recipient.encode() == unhex(vector["bytes"])
    assert Recipient.decode(unhex(vector["bytes"])) == recipient
    assert recipient.identity == unhex(vector["identity"]) == unhex(vector["sphinx_destination"])
    assert recipient.encryption == unhex(vector["encryption_key"])
    assert recipient.gateway == unhex(vector["gateway"])
    assert unhex(vector["sphinx_identifier"]) == bytes(16)


@pytest.mark.parametrize("vector", cases(VECTORS, "recipient_bad"))
def test_bad_recipient(vector):
    assert vector["accepted_upstream"] is False
    with pytest.raises(MalformedRecipient):
        Recipient.parse(vector["string"])


@pytest.mark.parametrize("vector", cases(VECTORS, "e2e"))
def test_end_to_end(vector):
    plaintext, ciphertext = unhex(vector["plaintext"]), unhex(vector["ciphertext"])
    ephemeral, ephemeral_public = unhex(vector["ephemeral_private"]), unhex(vector["ephemeral_public"])
    dh = x25519(ephemeral, unhex(vector["recipient_public"]))
    assert dh == unhex(vector["dh"])
    assert envelope_key(dh) == unhex(vector["key"])
    sealed = seal_for(unhex(vector["recipient_public"]), plaintext, rng=ScriptedRandom(ephemeral))
    assert sealed == ephemeral_public + ciphertext
    assert open_sealed(unhex(vector["recipient_private"]), sealed) == plaintext
    assert x25519_public(unhex(vector["recipient_private"])) == unhex(vector["recipient_public"])


@pytest.mark.parametrize("vector", cases(VECTORS, "surb_key"))
def test_surb_key(vector):
    assert reply_key_digest(unhex(vector["key"])) == unhex(vector["digest"])


@pytest.mark.parametrize("vector", cases(VECTORS, "ack_identifier"))
def test_ack_identifier(vector):
    key, fragment_id, content = (
        unhex(vector["ack_key"]),
        unhex(vector["fragment_id"]),
        unhex(vector["ack_content"]),
    )
    assert seal_ack(key, fragment_id, rng=ScriptedRandom(unhex(vector["iv"]))) == content
    assert open_ack(key, content) == fragment_id


def check_fragment(fragment, expected):
    payload = fragment.payload
    encoded = fragment.encode()
    assert encoded == unhex(expected["header"]) + payload
    assert Fragment.decode(encoded) == fragment
    assert (fragment.set_id, fragment.total, fragment.current) == (
        expected["set_id"],
        expected["total"],
        expected["current"],
    )
    assert (fragment.previous_id, fragment.next_id) == (expected["prev"], expected["next"])
    assert len(payload) == expected["payload_len"]
    assert hashlib.sha256(payload).hexdigest() == expected["payload_sha256"]
    assert fragment.id == unhex(expected["identifier"])


@pytest.mark.parametrize("vector", cases(VECTORS, "fragment_split"))
def test_fragment_split(vector):
    message, space = pattern(vector["message_pattern_len"]), vector["max_plaintext_size"]
    assert layout(len(message), space) == (vector["required_fragments"], vector["space_left"])
    assert len(vector["set_ids"]) == vector["num_sets"]
    fragments = split(message, space, set_ids=vector["set_ids"])
    assert len(fragments) == vector["num_fragments"]
    assert b"".join(fragment.payload for fragment in fragments) == message
    everything = hashlib.sha256(b"".join(fragment.encode() for fragment in fragments))
    assert everything.hexdigest() == vector["all_fragments_sha256"]
    if vector["fragments_complete"]:
        assert len(vector["fragments"]) == len(fragments)
    for index, expected in enumerate(vector["fragments"]):
        check_fragment(fragments[expected.get("index", index)], expected)


@pytest.mark.parametrize("vector", cases(VECTORS, "fragment_parse"))
def test_fragment_parse(vector):
    if "ok" in vector["result"]:
        fragment = Fragment.decode(unhex(vector["bytes"]))
        assert fragment.encode() == unhex(vector["bytes"])
        check_fragment(fragment, vector["result"]["ok"])
    else:
        with pytest.raises(MalformedFragment) as raised:
            Fragment.decode(unhex(vector["bytes"]))
        assert ("too short" in str(raised.value)) is (vector["result"]["error"] == "too_short")


def described(message):
    """A message's kind in the words of the vectors."""
    content = message if isinstance(message, PlainMessage) else message.content
    match content:
        case PlainMessage():
            return "plain"
        case RepliableData(surbs=surbs, wire_version=version):
            return f"repliable_data_v{version} surbs={len(surbs)}"
        case AdditionalSurbs(surbs=surbs, wire_version=version):
            return f"additional_surbs_v{version} surbs={len(surbs)}"
        case Heartbeat(surbs=surbs, wire_version=version):
            return f"heartbeat_v{version} surbs={len(surbs)}"
        case ReplyData():
            return "reply_data"
        case SurbRequest():
            return "surb_request"


def inner_data(message):
    content = message if isinstance(message, PlainMessage) else message.content
    return getattr(content, "data", b"")


def message_of(fields):
    """Build the message that a vector's ``fields`` describe."""
    kind = fields["kind"]
    if kind == "plain":
        return PlainMessage(pattern(fields["data_pattern_len"]))
    if kind == "reply_data":
        return ReplyMessage(ReplyData(pattern(fields["data_pattern_len"])))
    if kind == "surb_request":
        return ReplyMessage(SurbRequest(Recipient.parse(fields["recipient"]), fields["amount"]))
    surbs = tuple(ReplySurb.decode(unhex(item)) for item in fields["reply_surbs"])
    shared = {
        "surbs": surbs,
        "rotation": KeyRotation(fields["key_rotation"]),
        "wire_version": {"v1": 1, "v2": 2}[fields["version"]],
    }
    content = {
        "repliable_data": lambda: RepliableData(pattern(fields["data_pattern_len"]), **shared),
        "additional_surbs": lambda: AdditionalSurbs(**shared),
        "heartbeat": lambda: Heartbeat(**shared),
    }[kind]()
    return RepliableMessage(unhex(fields["sender_tag"]), content)


@pytest.mark.parametrize("vector", cases(VECTORS, "nym_message"))
def test_nym_message(vector):
    message, serialized = message_of(vector["fields"]), unhex(vector["serialized"])
    assert message.encode() == serialized
    assert decode_message(serialized) == message
    assert described(message) == vector["decoded_kind"]
    assert hashlib.sha256(inner_data(message)).hexdigest() == vector["inner_data_sha256"]
    space = size_named(vector["packet_size"]).fragment_space
    assert space == vector["plaintext_per_packet"]
    padded = pad(serialized, space)
    assert len(padded) == vector["padded_len"]
    assert hashlib.sha256(padded).hexdigest() == vector["padded_sha256"]
    assert unpad(padded) == serialized
    assert fragments_needed(len(serialized), space) == vector["num_fragments"]
    assert len(split(padded, space)) == vector["num_fragments"]


@pytest.mark.parametrize("vector", cases(VECTORS, "nym_message_parse"))
def test_nym_message_parse(vector):
    if "ok" in vector["result"]:
        message = decode_message(unpad(unhex(vector["padded"])))
        assert described(message) == vector["result"]["ok"]["decoded_kind"]
        assert inner_data(message) == unhex(vector["result"]["ok"]["inner_data"])
    else:
        assert vector["result"]["error"]
        with pytest.raises(MalformedMessage):
            decode_message(unpad(unhex(vector["padded"])))


class World:
    """The nodes and clients of a story, and how packets cross it."""

    def __init__(self, vector):
        world = vector["world"]
        self.rotation = KeyRotation.from_id(world["key_rotation_id"])
        self.version = V258 if vector["legacy_sphinx"] else V259
        self.size = size_named(vector["packet_size"])
        self.client_a = world["client_a"]
        self.client_b = world["client_b"]
        self._keys = {
            str(NodeAddress.parse(node["socket"])): unhex(node["private_key"])
            for node in (*world["mixnodes"], world["gateway_a"], world["gateway_b"])
        }

    def carry(self, packet, first_hop, hops, destination):
        """Follow a packet from node to node as ``hops`` tells; the plaintext at the end."""
        at = first_hop
        for expected in hops:
            assert expected["at"] == at
            assert expected["size_tag"] == PacketSize.from_packet_length(len(packet))
            hop = unwrap(packet, self._keys[at])
            assert expected["version"] == f"sphinx-{hop.version}"
            assert hop.version == self.version
            if expected.get("final"):
                assert hop.destination == unhex(destination)
                assert hop.identifier == bytes(16)
                return hop.plaintext
            at = str(NodeAddress.decode(hop.next_address))
            assert at == expected["next"]
            assert hop.delay_ns == int(expected["delay_ns"])
            packet = hop.packet
        raise AssertionError("the story has no last hop")

    def check_ack(self, surb_ack, expected, ack_key):
        """The ack in a packet is the one of the story, and comes home."""
        assert str(surb_ack.first_hop) == expected["first_hop"]
        assert surb_ack.packet == unhex(expected["packet"])
        assert expected["key_rotation"] == self.rotation
        content = self.carry(
            surb_ack.packet, expected["first_hop"], expected["hops"], expected["destination"]
        )
        assert content == unhex(expected["plaintext"])
        assert open_ack(unhex(ack_key), content) == unhex(expected["fragment_id"])


def delays_ns(hops):
    return [int(hop["delay_ns"]) for hop in hops if not hop.get("final")]


def check_mix_packet(packet, rotation):
    encoded = unhex(packet["mix_packet_v2_prefix"]) + unhex(packet["packet"])
    mix_packet = MixPacket.decode_v2(encoded)
    assert mix_packet.packet == unhex(packet["packet"])
    assert str(mix_packet.first_hop) == packet["first_hop"]
    assert mix_packet.rotation == packet["key_rotation"] == rotation
    assert mix_packet.encode_v2() == encoded


def deliver(world, packet, ack_key):
    """One data packet of a story up to the message that the recipient's gateway hands over; its plaintext."""
    check_mix_packet(packet, world.rotation)
    plaintext = world.carry(
        unhex(packet["packet"]), packet["first_hop"], packet["hops"], packet["destination"]
    )
    assert len(plaintext) == world.size.plaintext_bytes
    surb_ack, message = split_surb_ack(plaintext)
    assert surb_ack.encode() + message == plaintext
    assert_blob(message, packet["gateway_message"])
    assert len(message) == world.size.message_bytes
    world.check_ack(surb_ack, packet["ack"], ack_key)
    return plaintext, message


@pytest.mark.parametrize("vector", cases(VECTORS, "pipeline"))
def test_pipeline(vector):
    world = World(vector)
    assert len(vector["packets"]) == vector["num_packets"]
    fragments = []
    for packet in vector["packets"]:
        assert packet["destination"] == Recipient.parse(world.client_b["recipient"]).identity.hex()
        assert int(packet["total_delay_ns"]) == sum(
            delays_ns(packet["hops"]) + delays_ns(packet["ack"]["hops"])
        )
        _, message = deliver(world, packet, world.client_a["ack_key"])
        opened = open_sealed(unhex(world.client_b["encryption_private"]), message)
        assert_blob(opened, packet["fragment"])
        assert not is_cover(opened)
        fragment = Fragment.decode(opened)
        check_fragment(fragment, packet["fragment_header"])
        assert fragment.id == unhex(packet["fragment_identifier"]) == unhex(packet["ack"]["fragment_id"])
        fragments.append(fragment)

    # The sender's side again: the same message, padded and split with the same set ids, gives the same
    # fragments.
    padded = b"".join(fragment.payload for fragment in fragments)
    message = decode_message(unpad(padded))
    assert described(message) == vector["decoded_kind"]
    assert inner_data(message) == pattern(vector["message_pattern_len"])
    if vector["sender_tag"] is None:
        assert message == PlainMessage(pattern(vector["message_pattern_len"]))
    else:
        surbs = tuple(ReplySurb.decode(unhex(item["bytes"])) for item in vector["reply_surbs"])
        older = vector["legacy_sphinx"]
        rebuilt = RepliableData(
            pattern(vector["message_pattern_len"]),
            surbs,
            KeyRotation.UNKNOWN if older else world.rotation,
            1 if older else 2,
        )
        assert message == RepliableMessage(unhex(vector["sender_tag"]), rebuilt)
    assert pad(message.encode(), world.size.fragment_space) == padded
    assert split(padded, world.size.fragment_space, set_ids=vector["set_ids"]) == fragments

    for item in vector["reply_surbs"]:
        surb = ReplySurb.decode(unhex(item["bytes"]))
        assert surb.encode() == unhex(item["bytes"])
        assert len(surb.encode()) == item["len"]
        assert surb.key == unhex(item["encryption_key"])
        assert surb.digest == unhex(item["key_digest"])
        assert surb.surb.version == world.version
    for reply in vector["replies"]:
        check_reply(world, vector, reply)


def check_reply(world, vector, reply):
    """A reply that client_b sends to client_a through one of the SURBs of the message."""
    packet = reply["packet"]
    surb = ReplySurb.decode(unhex(vector["reply_surbs"][reply["surb_index"]]["bytes"]))
    assert reply["surb_key_rotation"] == world.rotation
    assert str(surb.surb.first_hop) == packet["first_hop"]
    assert packet["destination"] == Recipient.parse(world.client_a["recipient"]).identity.hex()
    # A replier does not know the delays in the SURB: it counts the mean for each node of the way there.
    guessed = int(packet["total_delay_ns"]) - sum(delays_ns(packet["ack"]["hops"]))
    assert guessed > 0
    assert guessed % len(delays_ns(packet["hops"])) == 0
    plaintext, received = deliver(world, packet, world.client_b["ack_key"])
    assert received[:32] == surb.digest
    opened = open_reply(surb.key, received[32:])
    assert_blob(opened, packet["fragment"])
    fragment = Fragment.decode(opened)
    check_fragment(fragment, packet["fragment_header"])
    assert fragment.id == unhex(packet["fragment_identifier"])

    message = decode_message(unpad(fragment.payload))
    assert described(message) == reply["decoded_kind"]
    assert inner_data(message) == unhex(reply["inner_data"])
    if isinstance(message.content, SurbRequest):
        assert str(message.content.recipient) == world.client_b["recipient"]
    # The replier's side again, byte for byte.
    space = world.size.fragment_space
    assert split(pad(message.encode(), space), space, set_ids=[fragment.set_id]) == [fragment]
    assert seal_reply(surb.key, opened) == received
    surb_ack, _ = split_surb_ack(plaintext)
    assert surb.surb.seal(surb_ack.encode() + seal_reply(surb.key, opened), world.size) == unhex(
        packet["packet"]
    )


@pytest.mark.parametrize("vector", cases(VECTORS, "cover"))
def test_cover(vector):
    world = World(vector)
    recipient = Recipient.parse(world.client_a["recipient"])
    assert recipient.encode() == unhex(world.client_a["recipient_bytes"])
    assert vector["destination"] == recipient.identity.hex()
    assert vector["key_rotation"] == world.rotation
    plaintext = world.carry(
        unhex(vector["packet"]), vector["first_hop"], vector["hops"], vector["destination"]
    )
    surb_ack, message = split_surb_ack(plaintext)
    assert_blob(message, vector["gateway_message"])
    content = open_sealed(unhex(world.client_a["encryption_private"]), message)
    assert_blob(content, vector["content"])
    assert is_cover(content)
    assert content == cover_content(world.size)
    assert unhex(vector["ack"]["fragment_id"]) == COVER_FRAGMENT_ID
    world.check_ack(surb_ack, vector["ack"], world.client_a["ack_key"])
