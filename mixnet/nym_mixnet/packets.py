"""Builds the packets a client sends: data, replies over SURBs, loop cover, reply SURBs (docs/protocol/02 §6–§10).

Packets are built when their slot comes, not when the message is queued: they always use the current topology, a
closed connection costs nothing, and what waits in memory is small.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from nym_sphinx import (
    DIGEST_BYTES,
    V259,
    Hop,
    KeyRotation,
    MixPacket,
    PacketSize,
    Recipient,
    ReplySurb,
    build_cover,
    build_reply_surb,
    build_surb_ack,
    decoy_envelope,
    draw_delays_ns,
    prepare_packet,
    seal_for,
    seal_reply,
)

from .errors import TopologyUnusable
from .keys import ClientKeys
from .outgoing import Outgoing
from .profiles import MIX_HOPS, TrafficProfile
from .topology import Topology

PACKET_SIZE = PacketSize.REGULAR
NANOSECONDS = 1_000_000_000


@dataclass(slots=True)
class PacketBuilder:
    """Everything needed to make packets; `topology` is replaced on every refresh, `previous` on every key rotation."""

    keys: ClientKeys
    address: Recipient
    profile: TrafficProfile
    rng: random.Random
    version: int = V259
    topology: Topology | None = None
    previous: Topology | None = None

    def data(self, item: Outgoing) -> tuple[MixPacket, float]:
        """The packet of one fragment and the seconds its mix delays and those of its ack add up to.

        Raises TopologyUnusable or UnknownGateway when no route exists.
        """
        topology = self._usable()
        ack_topology = topology if item.surb is None else self._topology_of(item.surb.rotation)
        ack_route, ack_delays = self._route(
            self.address.gateway, self.profile.ack_delay_seconds, ack_topology
        )
        ack = build_surb_ack(
            self.keys.ack_key,
            item.fragment_id,
            ack_route,
            ack_delays,
            self.address.identity,
            version=self.version,
            rng=self.rng,
        ).encode()
        expected = sum(ack_delays[:-1]) / NANOSECONDS
        if item.surb is not None:
            stored = item.surb
            plaintext = ack + seal_reply(stored.surb.key, item.fragment)
            packet = stored.surb.surb.seal(plaintext, PACKET_SIZE)
            # The route of a SURB is hidden from us; its mean is the best guess.
            expected += MIX_HOPS * self.profile.packet_delay_seconds
            return MixPacket(stored.surb.surb.first_hop, packet, stored.rotation), expected
        assert item.recipient is not None
        route, delays = self._route(item.recipient.gateway, self.profile.packet_delay_seconds)
        plaintext = ack + seal_for(item.recipient.encryption, item.fragment, rng=self.rng)
        prepared = prepare_packet(route, delays, item.recipient.identity, version=self.version, rng=self.rng)
        expected += sum(delays[:-1]) / NANOSECONDS
        packet = prepared.seal(plaintext, PACKET_SIZE)
        return MixPacket(prepared.first_hop, packet, topology.key_rotation), expected

    def cover(self) -> tuple[MixPacket, bytes]:
        """A loop cover packet to ourselves, and the 32 bytes that it begins with when it comes back.

        Indistinguishable on the way (docs/protocol/02 §10).
        """
        envelope = decoy_envelope(PACKET_SIZE.fragment_space, rng=self.rng)
        topology = self._usable()
        route, delays = self._route(self.address.gateway, self.profile.packet_delay_seconds)
        ack_route, ack_delays = self._route(self.address.gateway, self.profile.ack_delay_seconds)
        packet = build_cover(
            route=route,
            ack_route=ack_route,
            delays_ns=delays,
            ack_delays_ns=ack_delays,
            identity=self.address.identity,
            encryption_key=self.address.encryption,
            ack_key=self.keys.ack_key,
            size=PACKET_SIZE,
            version=self.version,
            rotation=topology.key_rotation,
            rng=self.rng,
            envelope=envelope,
        )
        return packet, envelope[:DIGEST_BYTES]

    def reply_surbs(self, count: int) -> list[ReplySurb]:
        """Fresh SURBs that lead back to us."""
        surbs: list[ReplySurb] = []
        for _ in range(count):
            route, delays = self._route(self.address.gateway, self.profile.packet_delay_seconds)
            surbs.append(
                build_reply_surb(route, delays, self.address.identity, version=self.version, rng=self.rng)
            )
        return surbs

    def _usable(self) -> Topology:
        if self.topology is None:
            raise TopologyUnusable("no topology is known yet")
        return self.topology

    def _topology_of(self, rotation: KeyRotation) -> Topology:
        """The view that an ack of a reply over a SURB of that rotation goes by.

        The gateway at the end of the reply sends its ack on with the rotation of the reply, whatever the ack was made
        with (docs/protocol/02 §2): with the keys of another one it would be dropped at its first hop.
        """
        topology, previous = self._usable(), self.previous
        if previous is not None and previous.key_rotation == rotation != topology.key_rotation:
            return previous
        return topology

    def _route(
        self, gateway: bytes, mean_delay_seconds: float, topology: Topology | None = None
    ) -> tuple[tuple[Hop, ...], list[int]]:
        route = (topology or self._usable()).random_route(gateway, self.rng)
        return route, draw_delays_ns(len(route), mean_delay_seconds, self.rng)
