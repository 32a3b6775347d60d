"""Building the header of a Sphinx packet (docs/protocol/01 §5).

The hot path of a client: two headers for every data packet. It works on local variables and integers, without
an object per hop.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nym_sphinx.addressing import NodeAddress
from nym_sphinx.ciphers import header_keystreams, header_mac
from nym_sphinx.constants import (
    BETA_BYTES,
    BUILDABLE_VERSIONS,
    DESTINATION_BYTES,
    FINAL_META_BYTES,
    IDENTIFIER_BYTES,
    KEY_BYTES,
    MAX_HOPS,
    STEP_BYTES,
    V258,
)
from nym_sphinx.curve import ORDER, CryptoError, clamped, is_on_curve, representative, x25519, x25519_base
from nym_sphinx.errors import BadRoute
from nym_sphinx.kdf import BLINDING, MAC_KEY, STREAM_KEY, expand_secret

_STEP_BITS: Final = 8 * STEP_BYTES
_FORWARD_BYTES: Final = BETA_BYTES - STEP_BYTES
_RANDOM_BYTES_FOR_ONE_HOP: Final = KEY_BYTES + BETA_BYTES - FINAL_META_BYTES
_UP_TO_BLINDING: Final = BLINDING.stop
_UP_TO_SEED: Final = 48
_UP_TO_PAYLOAD_KEY: Final = 224


@dataclass(frozen=True, slots=True)
class Hop:
    """One node of a route: where it listens, and its 32-byte X25519 Sphinx key."""

    address: NodeAddress
    public_key: bytes

    def __post_init__(self) -> None:
        if len(self.public_key) != KEY_BYTES:
            raise BadRoute(f"a Sphinx key has {KEY_BYTES} bytes, not {len(self.public_key)}")


def check_route(
    route: Sequence[Hop], delays_ns: Sequence[int], destination: bytes, identifier: bytes, version: int
) -> None:
    """Raise ``BadRoute`` if no header can be made of this."""
    if not 1 <= len(route) <= MAX_HOPS:
        raise BadRoute(f"a route has 1 to {MAX_HOPS} hops, not {len(route)}")
    if len(delays_ns) != len(route):
        raise BadRoute(f"{len(route)} hops need as many delays, not {len(delays_ns)}")
    if len(destination) != DESTINATION_BYTES or len(identifier) != IDENTIFIER_BYTES:
        raise BadRoute("a destination has 32 bytes and a packet identifier 16")
    if version not in BUILDABLE_VERSIONS:
        raise BadRoute(f"packets of version {version} are not built, only 258 and 259")


def route_secrets(secret: bytes, route: Sequence[Hop], version: int, *, shortcut: bool = True) -> list[bytes]:
    """The expanded key material of every hop: 256 bytes each; the last one only as far as it is used.

    ``shortcut=False`` takes the chain of X25519 calls for every hop. Raises ``BadRoute`` for a useless node
    key.
    """
    last = len(route) - 1
    expanded: list[bytes] = []
    factors = [secret]
    product = clamped(secret)
    try:
        for index, hop in enumerate(route):
            public_key = hop.public_key
            scalar = representative(product) if index and shortcut and is_on_curve(public_key) else None
            if scalar is not None:
                shared = x25519(scalar, public_key)
            else:
                shared = public_key
                for factor in factors:
                    shared = x25519(factor, shared)
            if index == last:
                expanded.append(expand_secret(shared, _UP_TO_PAYLOAD_KEY if version == V258 else _UP_TO_SEED))
            else:
                material = expand_secret(shared, _UP_TO_BLINDING)
                expanded.append(material)
                blinding = material[BLINDING]
                factors.append(blinding)
                product = product * clamped(blinding) % ORDER
    except CryptoError as error:
        raise BadRoute("a node of the route has no usable Sphinx key") from error
    return expanded


def assemble_header(
    alpha: bytes,
    expanded: Sequence[bytes],
    route: Sequence[Hop],
    delays_ns: Sequence[int],
    final_meta: bytes,
    version_field: bytes,
) -> bytes:
    """The 348 bytes of the header from its keys.

    ``final_meta`` is the last hop's block with its random padding.
    """
    from_bytes = int.from_bytes
    last = len(route) - 1
    streams = header_keystreams([material[STREAM_KEY] for material in expanded])
    keystreams = [from_bytes(stream, "big") for stream in streams]

    filler = 0
    filler_bits = 0
    for keystream in keystreams[:last]:
        filler_bits += _STEP_BITS
        filler = (filler << _STEP_BITS) ^ (keystream & ((1 << filler_bits) - 1))

    # The final block, encrypted, with the filler behind it.
    hidden = from_bytes(final_meta, "big") ^ (keystreams[last] >> (_STEP_BITS + filler_bits))
    beta = ((hidden << filler_bits) | filler).to_bytes(BETA_BYTES, "big")
    mac = header_mac(expanded[last][MAC_KEY], beta)

    forward = b"\x01" + version_field
    for index in range(last - 1, -1, -1):
        block = b"".join(
            (
                forward,
                route[index + 1].address.encode_padded(),
                delays_ns[index].to_bytes(8, "big"),
                mac,
                beta[:_FORWARD_BYTES],
            )
        )
        beta = (from_bytes(block, "big") ^ (keystreams[index] >> _STEP_BITS)).to_bytes(BETA_BYTES, "big")
        mac = header_mac(expanded[index][MAC_KEY], beta)
    return b"".join((alpha, mac, beta))


def build_header(
    route: Sequence[Hop],
    delays_ns: Sequence[int],
    destination: bytes,
    identifier: bytes,
    version: int,
    *,
    rng: random.Random,
    shortcut: bool,
) -> tuple[bytes, list[bytes]]:
    """A header and every hop's key material.

    Draws the packet's secret (32 bytes) and behind it the padding of the final block in one go. The last
    delay is not used. Raises ``BadRoute``.
    """
    check_route(route, delays_ns, destination, identifier, version)
    randomness = rng.randbytes(_RANDOM_BYTES_FOR_ONE_HOP - STEP_BYTES * (len(route) - 1))
    secret = randomness[:KEY_BYTES]
    expanded = route_secrets(secret, route, version, shortcut=shortcut)
    version_field = version.to_bytes(3, "big")
    final_meta = b"".join((b"\x02", version_field, destination, identifier, randomness[KEY_BYTES:]))
    try:
        header = assemble_header(x25519_base(secret), expanded, route, delays_ns, final_meta, version_field)
    except OverflowError as error:
        raise BadRoute("a delay is from 0 to 2^64-1 ns") from error
    return header, expanded
