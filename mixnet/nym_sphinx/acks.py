"""Acknowledgements (docs/protocol/02 §7).

Each is a finished little packet that the recipient's gateway sends back to us.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nym_sphinx.addressing import IPV6_ADDRESS_BYTES, NodeAddress
from nym_sphinx.ciphers import aes_block
from nym_sphinx.constants import V259
from nym_sphinx.errors import BadKey, MalformedAck, MalformedAddress
from nym_sphinx.fragments import FragmentId
from nym_sphinx.header import Hop
from nym_sphinx.packet import prepare_packet
from nym_sphinx.rng import SYSTEM_RNG
from nym_sphinx.sizes import SURB_ACK_BYTES, PacketSize

ACK_CONTENT_BYTES: Final = 21
"""IV 16 and encrypted fragment id 5."""
ACK_KEY_BYTES: Final = 16
FRAGMENT_ID_BYTES: Final = 5

_IV_BYTES: Final = 16
_TOP_BIT: Final = 0x80


@dataclass(frozen=True, slots=True)
class SurbAck:
    """A whole ack packet and where to send it."""

    first_hop: NodeAddress
    packet: bytes

    def encode(self) -> bytes:
        """405 bytes: what every data packet's plaintext begins with."""
        return self.first_hop.encode_padded(IPV6_ADDRESS_BYTES) + self.packet


def build_surb_ack(
    ack_key: bytes,
    fragment_id: FragmentId,
    route: Sequence[Hop],
    delays_ns: Sequence[int],
    destination: bytes,
    *,
    version: int = V259,
    rng: random.Random = SYSTEM_RNG,
    shortcut: bool = True,
) -> SurbAck:
    """The acknowledgement of one fragment.

    ``route`` ends at our own gateway and ``destination`` is our identity key; ``ack_key`` is our long-term
    secret of 16 bytes. Raises ``BadRoute``, or ``BadKey`` or ``MalformedAck`` for a key or fragment id of the
    wrong length.
    """
    content = seal_ack(ack_key, fragment_id, rng=rng)
    prepared = prepare_packet(route, delays_ns, destination, version=version, rng=rng, shortcut=shortcut)
    return SurbAck(prepared.first_hop, prepared.seal(content, PacketSize.ACK))


def seal_ack(ack_key: bytes, fragment_id: FragmentId, *, rng: random.Random = SYSTEM_RNG) -> bytes:
    """The 21 bytes of an ack packet's plaintext."""
    if len(fragment_id) != FRAGMENT_ID_BYTES:
        raise MalformedAck(f"a fragment id has {FRAGMENT_ID_BYTES} bytes, not {len(fragment_id)}")
    iv = rng.randbytes(_IV_BYTES)
    return iv + _hidden(ack_key, iv, fragment_id)


def open_ack(ack_key: bytes, content: bytes) -> FragmentId:
    """Which fragment a received ack is for. Nothing authenticates it: an unknown id means "not ours".

    Raises ``MalformedAck``.
    """
    if len(content) != ACK_CONTENT_BYTES:
        raise MalformedAck(f"an ack has {ACK_CONTENT_BYTES} bytes, not {len(content)}")
    fragment_id = _hidden(ack_key, content[:_IV_BYTES], content[_IV_BYTES:])
    if fragment_id[0] & _TOP_BIT:
        raise MalformedAck("an ack that is not for this key")
    return fragment_id


def split_surb_ack(plaintext: bytes) -> tuple[SurbAck, bytes]:
    """Split a data packet's plaintext: the ack that the gateway sends back, and the message for the client.

    Raises ``MalformedAck``: drop the whole packet.
    """
    if len(plaintext) < SURB_ACK_BYTES:
        raise MalformedAck(f"{len(plaintext)} bytes are too short for a plaintext with its ack")
    try:
        first_hop = NodeAddress.decode(plaintext[:IPV6_ADDRESS_BYTES])
    except MalformedAddress as error:
        raise MalformedAck(f"an ack that cannot be sent back: {error}") from error
    return SurbAck(first_hop, plaintext[IPV6_ADDRESS_BYTES:SURB_ACK_BYTES]), plaintext[SURB_ACK_BYTES:]


def _hidden(ack_key: bytes, iv: bytes, fragment_id: FragmentId) -> bytes:
    """Counter mode over five bytes: one block of keystream is enough."""
    if len(ack_key) != ACK_KEY_BYTES:
        raise BadKey(f"an ack key has {ACK_KEY_BYTES} bytes, not {len(ack_key)}")
    keystream = aes_block(ack_key, iv)[:FRAGMENT_ID_BYTES]
    return (int.from_bytes(keystream, "big") ^ int.from_bytes(fragment_id, "big")).to_bytes(
        FRAGMENT_ID_BYTES, "big"
    )
