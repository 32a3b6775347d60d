"""Sphinx packets of the Nym mixnet, and the messages in them: bytes in, bytes out.

A packet crosses a few mix nodes and ends at the gateway of whom it is for. Each node takes off one layer and
learns only the next hop and how long to wait::

    >>> from nym_sphinx import Hop, NodeAddress, PacketSize, X25519KeyPair, prepare_packet, unwrap
    >>> keys = [X25519KeyPair.generate() for _ in range(4)]  # three mix nodes and a gateway
    >>> route = [Hop(NodeAddress.parse(f"10.0.0.{i}:1789"), key.public) for i, key in enumerate(keys)]
    >>> client = bytes(range(32))  # identity key of a client at that gateway
    >>> packet = prepare_packet(route, [1_000_000] * 4, client).seal(b"hello", PacketSize.REGULAR)
    >>> len(packet)
    2413
    >>> for key in keys[:3]:
    ...     hop = unwrap(packet, key.private)
    ...     print("after", hop.delay_ns, "ns to", NodeAddress.decode(hop.next_address))
    ...     packet = hop.packet
    after 1000000 ns to 10.0.0.1:1789
    after 1000000 ns to 10.0.0.2:1789
    after 1000000 ns to 10.0.0.3:1789
    >>> last = unwrap(packet, keys[3].private)
    >>> last.plaintext, last.destination == client
    (b'hello', True)

What clients really send is one fragment of a padded message, encrypted end to end, behind an acknowledgement:
``messages`` → ``fragments`` → ``envelope``, with ``acks``, ``surb`` for answers and ``cover`` for noise.
``framing`` and ``mix_packet`` carry packets between nodes and from clients to gateways. Layouts:
docs/protocol/01 and 02. Nothing here does input or output, reads a clock or keeps state between packets;
every random draw comes from an argument. Errors: ``nym_sphinx.errors``.
"""

from nym_sphinx.acks import (
    ACK_CONTENT_BYTES,
    ACK_KEY_BYTES,
    SurbAck,
    build_surb_ack,
    open_ack,
    seal_ack,
    split_surb_ack,
)
from nym_sphinx.addressing import (
    NodeAddress,
    Recipient,
)
from nym_sphinx.base58 import (
    b58decode,
    b58encode,
)
from nym_sphinx.constants import (
    MAX_HOPS,
    V258,
    V259,
)
from nym_sphinx.cover import (
    COVER_MARKER,
    build_cover,
    is_cover,
)
from nym_sphinx.envelope import (
    DIGEST_BYTES,
    decoy_envelope,
    open_reply,
    open_sealed,
    seal_for,
    seal_reply,
)
from nym_sphinx.errors import (
    BadKey,
    BadRoute,
    HeaderMacMismatch,
    MalformedAck,
    MalformedAddress,
    MalformedBase58,
    MalformedFragment,
    MalformedFrame,
    MalformedMessage,
    MalformedMixPacket,
    MalformedPacket,
    MalformedRecipient,
    MalformedSurb,
    PayloadTampered,
    PayloadTooLong,
    ReplayedPacket,
    SphinxError,
    UnknownRoutingFlag,
)
from nym_sphinx.fragments import (
    COVER_FRAGMENT_ID,
    Fragment,
    FragmentId,
    fragments_needed,
    pad,
    split,
    unpad,
)
from nym_sphinx.framing import (
    Frame,
    FrameDecoder,
    encode_frame,
)
from nym_sphinx.keys import (
    X25519KeyPair,
    generate_ack_key,
    generate_sender_tag,
    x25519_public,
)
from nym_sphinx.messages import (
    SENDER_TAG_BYTES,
    WIRE_V1,
    WIRE_V2,
    AdditionalSurbs,
    Heartbeat,
    NymMessage,
    PlainMessage,
    RepliableData,
    RepliableMessage,
    ReplyData,
    ReplyMessage,
    SurbRequest,
    decode_message,
    repliable_data_capacity,
)
from nym_sphinx.mix_packet import (
    MixPacket,
)
from nym_sphinx.packet import (
    FinalHop,
    ForwardHop,
    Hop,
    PreparedPacket,
    draw_delays_ns,
    prepare_packet,
    unwrap,
)
from nym_sphinx.rng import (
    SYSTEM_RNG,
)
from nym_sphinx.sizes import (
    SURB_ACK_BYTES,
    KeyRotation,
    PacketSize,
    PacketType,
)
from nym_sphinx.surb import (
    ReplySurb,
    Surb,
    build_reply_surb,
    build_surb,
    reply_key_digest,
)

__all__ = [
    "ACK_CONTENT_BYTES",
    "ACK_KEY_BYTES",
    "COVER_FRAGMENT_ID",
    "COVER_MARKER",
    "DIGEST_BYTES",
    "MAX_HOPS",
    "SENDER_TAG_BYTES",
    "SURB_ACK_BYTES",
    "SYSTEM_RNG",
    "V258",
    "V259",
    "WIRE_V1",
    "WIRE_V2",
    "AdditionalSurbs",
    "BadKey",
    "BadRoute",
    "FinalHop",
    "ForwardHop",
    "Fragment",
    "FragmentId",
    "Frame",
    "FrameDecoder",
    "HeaderMacMismatch",
    "Heartbeat",
    "Hop",
    "KeyRotation",
    "MalformedAck",
    "MalformedAddress",
    "MalformedBase58",
    "MalformedFragment",
    "MalformedFrame",
    "MalformedMessage",
    "MalformedMixPacket",
    "MalformedPacket",
    "MalformedRecipient",
    "MalformedSurb",
    "MixPacket",
    "NodeAddress",
    "NymMessage",
    "PacketSize",
    "PacketType",
    "PayloadTampered",
    "PayloadTooLong",
    "PlainMessage",
    "PreparedPacket",
    "Recipient",
    "ReplayedPacket",
    "RepliableData",
    "RepliableMessage",
    "ReplyData",
    "ReplyMessage",
    "ReplySurb",
    "SphinxError",
    "Surb",
    "SurbAck",
    "SurbRequest",
    "UnknownRoutingFlag",
    "X25519KeyPair",
    "b58decode",
    "b58encode",
    "build_cover",
    "build_reply_surb",
    "build_surb",
    "build_surb_ack",
    "decode_message",
    "decoy_envelope",
    "draw_delays_ns",
    "encode_frame",
    "fragments_needed",
    "generate_ack_key",
    "generate_sender_tag",
    "is_cover",
    "open_ack",
    "open_reply",
    "open_sealed",
    "pad",
    "prepare_packet",
    "repliable_data_capacity",
    "reply_key_digest",
    "seal_ack",
    "seal_for",
    "seal_reply",
    "split",
    "split_surb_ack",
    "unpad",
    "unwrap",
    "x25519_public",
]
