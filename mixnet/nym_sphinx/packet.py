"""Sphinx packets: made by clients, unwrapped one hop at a time by nodes (docs/protocol/01 §5, §6, §8)."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hmac import compare_digest
from math import log
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from nym_sphinx.addressing import NodeAddress
from nym_sphinx.ciphers import aes_ctr, header_mac, lioness_decrypt
from nym_sphinx.constants import (
    FLAG_FINAL,
    FLAG_FORWARD,
    FULL_KEY_VERSIONS,
    HEADER_BYTES,
    KEY_BYTES,
    MIN_PAYLOAD_BYTES,
    NO_IDENTIFIER,
    STEP_BYTES,
    UNCLAMPED_VERSIONS,
    V258,
    V259,
)
from nym_sphinx.curve import reduced, representative, x25519
from nym_sphinx.errors import BadKey, HeaderMacMismatch, MalformedPacket, ReplayedPacket, UnknownRoutingFlag
from nym_sphinx.header import Hop, build_header
from nym_sphinx.kdf import (
    BLINDING,
    MAC_KEY,
    PAYLOAD_KEY,
    PAYLOAD_SEED,
    REPLAY_TAG,
    STREAM_KEY,
    expand_secret,
    payload_key_from_seed,
)
from nym_sphinx.payload import open_payload, seal_payload
from nym_sphinx.rng import SYSTEM_RNG
from nym_sphinx.sizes import PacketSize

__all__ = ["FinalHop", "ForwardHop", "Hop", "PreparedPacket", "draw_delays_ns", "prepare_packet", "unwrap"]

_PRIVATE_KEYS_REMEMBERED: Final = 64
_STEP_ZEROS: Final = bytes(STEP_BYTES)
_DELAY_BITS: Final = 53
_DELAY_MASK: Final = (1 << _DELAY_BITS) - 1
_NS_PER_SECOND: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class PreparedPacket:
    """A header with its payload keys, made before the payload is known.

    For one packet only: a second one is linkable to the first, and dropped as a replay.
    """

    header: bytes
    first_hop: NodeAddress
    payload_keys: tuple[bytes, ...] = field(repr=False)
    """192 bytes a hop, in route order."""

    def seal(self, plaintext: bytes, size: PacketSize) -> bytes:
        """The whole packet. Raises ``PayloadTooLong``."""
        return self.header + seal_payload(self.payload_keys, plaintext, size.payload_bytes)


def prepare_packet(
    route: Sequence[Hop],
    delays_ns: Sequence[int],
    destination: bytes,
    *,
    version: int = V259,
    identifier: bytes = NO_IDENTIFIER,
    rng: random.Random = SYSTEM_RNG,
    shortcut: bool = True,
) -> PreparedPacket:
    """Make the header and keys of one packet.

    ``route``: 1 to 5 hops, the last one the gateway of the destination. ``delays_ns``: one for each hop; the
    last is not used. ``destination``: Ed25519 identity key of the receiving client. ``shortcut=False`` takes
    the slow way to the same bytes. Raises ``BadRoute``.
    """
    header, expanded = build_header(
        route, delays_ns, destination, identifier, version, rng=rng, shortcut=shortcut
    )
    if version == V258:
        payload_keys = tuple([material[PAYLOAD_KEY] for material in expanded])
    else:
        payload_keys = tuple([payload_key_from_seed(material[PAYLOAD_SEED]) for material in expanded])
    return PreparedPacket(header, route[0].address, payload_keys)


@dataclass(frozen=True, slots=True)
class ForwardHop:
    """What a node sends on.

    ``packet`` goes to ``next_address`` (32 bytes, see ``NodeAddress.decode``), ``delay_ns`` after it came.
    """

    packet: bytes
    next_address: bytes
    delay_ns: int
    version: int
    replay_tag: bytes


@dataclass(frozen=True, slots=True)
class FinalHop:
    """What the last hop delivers: ``plaintext`` to the client whose identity key is ``destination``."""

    plaintext: bytes = field(repr=False)
    destination: bytes
    identifier: bytes
    version: int
    replay_tag: bytes


def unwrap(
    packet: bytes, private_key: bytes, *, seen: Callable[[bytes], bool] | None = None
) -> ForwardHop | FinalHop:
    """Process a packet as the node with this 32-byte private key.

    ``seen`` is asked with the 32-byte replay tag, after the header was found to be genuine and before the
    payload work. Versions 1, 257, 258 and 259 are understood; an unknown one is read as 259. Raises
    ``MalformedPacket``, ``HeaderMacMismatch``, ``ReplayedPacket``, ``UnknownRoutingFlag`` or
    ``PayloadTampered``: drop the packet, keep the connection.
    """
    if len(packet) < HEADER_BYTES + MIN_PAYLOAD_BYTES:
        raise MalformedPacket(f"{len(packet)} bytes are too short for a packet")
    alpha = packet[:32]
    beta = packet[48:HEADER_BYTES]
    node_key = _private_key(private_key)
    try:
        shared = node_key.exchange(X25519PublicKey.from_public_bytes(alpha))
    except ValueError:
        raise MalformedPacket("a packet whose key is a point of small order") from None
    keys = expand_secret(shared)
    if not compare_digest(header_mac(keys[MAC_KEY], beta), packet[32:48]):
        raise HeaderMacMismatch("the header was altered, or is meant for another key")
    replay_tag = keys[REPLAY_TAG]
    if seen is not None and seen(replay_tag):
        raise ReplayedPacket("this packet was processed before")

    block = aes_ctr(keys[STREAM_KEY], beta + _STEP_ZEROS)
    flag = block[0]
    version = int.from_bytes(block[2:4], "big")
    payload_key = (
        keys[PAYLOAD_KEY] if version in FULL_KEY_VERSIONS else payload_key_from_seed(keys[PAYLOAD_SEED])
    )
    if flag == FLAG_FORWARD:
        payload = lioness_decrypt(payload_key, packet[HEADER_BYTES:])
        next_alpha = _blind(alpha, keys[BLINDING], version)
        return ForwardHop(
            b"".join((next_alpha, block[44:], payload)),
            block[4:36],
            int.from_bytes(block[36:44], "big"),
            version,
            replay_tag,
        )
    if flag == FLAG_FINAL:
        plaintext = open_payload(lioness_decrypt(payload_key, packet[HEADER_BYTES:]))
        return FinalHop(plaintext, block[4:36], block[36:52], version, replay_tag)
    raise UnknownRoutingFlag("the routing block asks neither to forward nor to deliver")


def draw_delays_ns(count: int, mean_seconds: float, rng: random.Random) -> list[int]:
    """``count`` delays from the exponential distribution, in whole nanoseconds; all zero if the mean is."""
    if mean_seconds <= 0 or count <= 0:
        return [0] * max(count, 0)
    mean_ns = mean_seconds * _NS_PER_SECOND
    # One draw for all of them: asking the operating system costs more than the logarithms.
    bits = rng.getrandbits(_DELAY_BITS * count)
    delays = []
    for _ in range(count):
        uniform = ((bits & _DELAY_MASK) + 1) / (_DELAY_MASK + 1)  # in (0, 1]
        delays.append(round(-log(uniform) * mean_ns))
        bits >>= _DELAY_BITS
    return delays


def _blind(alpha: bytes, blinding: bytes, version: int) -> bytes:
    """The packet key for the next hop."""
    # No clamped scalar takes a point to zero unless it has small order, and such a point did not get past the
    # shared secret.
    if version not in UNCLAMPED_VERSIONS:
        return x25519(blinding, alpha)
    scalar = representative(reduced(blinding))
    if scalar is None:
        raise MalformedPacket("a blinding factor that cannot be applied")
    return x25519(scalar, alpha)


@lru_cache(maxsize=_PRIVATE_KEYS_REMEMBERED)
def _private_key(private_key: bytes) -> X25519PrivateKey:
    # Making the object computes the public key, which costs as much as using it; a node has one or two keys.
    if len(private_key) != KEY_BYTES:
        raise BadKey(f"a node's Sphinx key has {KEY_BYTES} bytes, not {len(private_key)}")
    return X25519PrivateKey.from_private_bytes(private_key)
