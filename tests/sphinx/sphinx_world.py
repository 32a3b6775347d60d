"""What the packet tests share: scripted randomness, routes, and walking a packet to its end."""

from __future__ import annotations

import random

from nym_sphinx import FinalHop, ForwardHop, Hop, NodeAddress, X25519KeyPair, unwrap
from nym_sphinx.curve import reduced, representative, x25519, x25519_base
from nym_sphinx.header import assemble_header
from nym_sphinx.kdf import BLINDING, PAYLOAD_KEY, expand_secret


class ScriptedRandom(random.Random):
    """Hands out given bytes; fails when more are asked for. ``used_up`` tells whether all were taken."""

    def __init__(self, script):
        super().__init__(0)
        self._rest = script

    def randbytes(self, n):
        assert n <= len(self._rest), "more randomness drawn than the script has"
        taken, self._rest = self._rest[:n], self._rest[n:]
        return taken

    @property
    def used_up(self):
        return not self._rest


def make_route(hops, rng):
    """Key pairs of ``hops`` nodes and the route over them."""
    pairs = [X25519KeyPair.generate(rng) for _ in range(hops)]
    return pairs, [
        Hop(NodeAddress.parse(f"10.1.{index}.{rng.randrange(256)}:1789"), pair.public)
        for index, pair in enumerate(pairs)
    ]


def walk(packet, private_keys):
    """Unwrap a packet at node after node; all hops, the final one last."""
    hops = []
    for private_key in private_keys:
        hop = unwrap(packet, private_key)
        hops.append(hop)
        if isinstance(hop, ForwardHop):
            packet = hop.packet
    assert isinstance(hops[-1], FinalHop)
    assert all(isinstance(hop, ForwardHop) for hop in hops[:-1])
    return hops


def build_unclamped(route, delays_ns, destination, identifier, version, secret, padding):
    """Header and payload keys in the format of versions 1 and 257, which the package reads but never writes."""
    product = reduced(secret)
    alpha = x25519_base(representative(product))
    expanded = []
    for hop in route:
        material = expand_secret(x25519(representative(product), hop.public_key))
        expanded.append(material)
        product = product * reduced(material[BLINDING]) % (2**252 + 27742317777372353535851937790883648493)
    version_field = version.to_bytes(3, "big")
    final_meta = b"\x02" + version_field + destination + identifier + padding
    header = assemble_header(alpha, expanded, route, delays_ns, final_meta, version_field)
    return header, [material[PAYLOAD_KEY] for material in expanded]
