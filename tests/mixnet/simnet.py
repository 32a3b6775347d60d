"""A mixnet in virtual time: real Sphinx packets unwrapped hop by hop, no sockets, no sleeping.

`SimNet` owns three mix nodes and two gateways and carries the packets of any number of `ClientCore`s between them with
the delays written in the packets, optional loss, and a latency per hop. Everything is driven by one seeded generator.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from nym_mixnet.client_records import ClientOptions, ReceivedMessage
from nym_mixnet.core import ClientCore
from nym_mixnet.keys import ClientKeys
from nym_mixnet.profiles import PROFILES, TrafficProfile
from nym_mixnet.topology import EntryDetails, NodeRoles, RewardedSet, RoutingNode, Topology
from nym_sphinx import (
    FinalHop,
    ForwardHop,
    MixPacket,
    NodeAddress,
    PacketSize,
    Recipient,
    split_surb_ack,
    unwrap,
    x25519_public,
)

HOP_SECONDS = 0.002


def make_keys(seed: int) -> ClientKeys:
    return ClientKeys.generate(random.Random(f"keys {seed}"))


def make_recipient(seed: int) -> Recipient:
    keys = make_keys(seed)
    return Recipient(keys.identity_public, keys.encryption_public, make_keys(1000 + seed).identity_public)


@dataclass(slots=True)
class Node:
    address: NodeAddress
    private_key: bytes
    identity: bytes
    loss: float = 0.0


@dataclass
class Client:
    core: ClientCore
    received: list[tuple[float, ReceivedMessage]] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    online: bool = True
    filter: Callable[[MixPacket], bool] | None = None  # False drops the packet on its first link


class SimNet:
    def __init__(self, seed: int = 1) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.rotation_id = 0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = count()
        self.nodes: list[Node] = []
        for index in range(5):
            address = NodeAddress.parse(f"127.0.0.1:{10_001 + index}")
            identity = make_keys(seed * 100 + index).identity_public
            self.nodes.append(Node(address, self.rng.randbytes(32), identity))
        self._by_address = {node.address: node for node in self.nodes}
        self.clients: dict[bytes, Client] = {}
        self.delivered_packets = 0

    @property
    def topology(self) -> Topology:
        nodes = {}
        for index, node in enumerate(self.nodes, start=1):
            mix = index <= 3
            nodes[index] = RoutingNode(
                node_id=index,
                mix_host=node.address,
                identity=node.identity,
                sphinx_key=x25519_public(node.private_key),
                roles=NodeRoles(mixnode=mix, mixnet_entry=not mix, mixnet_exit=not mix),
                entry=None if mix else EntryDetails(("127.0.0.1",), 9000 + index, None, None),
            )
        rewarded = RewardedSet(0, (4, 5), (4, 5), (1,), (2,), (3,), ())
        return Topology(self.rotation_id, 0, datetime(2026, 1, 1, tzinfo=UTC), rewarded, nodes)

    def client(
        self,
        seed: int,
        *,
        gateway: int = 0,
        profile: TrafficProfile | str = "uncovered",
        options: ClientOptions | None = None,
    ) -> Client:
        keys = make_keys(seed)
        core = ClientCore(
            keys=keys,
            gateway=self.nodes[3 + gateway].identity,
            profile=PROFILES[profile] if isinstance(profile, str) else profile,
            options=options or ClientOptions(),
            rng=random.Random(f"client {seed}"),
            now=self.now,
        )
        core.set_topology(self.topology)
        client = Client(core)
        self.clients[keys.identity_public] = client
        return client

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._counter), action))

    def run(self, seconds: float, until: Callable[[], bool] | None = None) -> bool:
        """Advance virtual time; True as soon as `until` holds."""
        end = self.now + seconds
        while True:
            if until is not None and until():
                return True
            for client in self.clients.values():
                self._serve(client)
            times = [self._events[0][0]] if self._events else []
            for client in self.clients.values():
                timer = client.core.next_timer(self.now) if client.online else None
                if timer is not None:
                    times.append(max(timer, self.now))
            next_time = min(times, default=end)
            if next_time > end:
                self.now = end
                return until() if until is not None else False
            self.now = next_time
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()

    def _serve(self, client: Client) -> None:
        if not client.online:
            return
        for packet in client.core.poll(self.now):
            client.sent_at.append(self.now)
            if client.filter is None or client.filter(packet):
                self._transmit(packet.first_hop, packet.packet)
        while (supply := client.core.next_supply()) is not None:
            surbs, _ = client.core.make_surbs(supply.recipient, supply.count, self.now)
            client.core.queue_supply(supply, surbs)

    def _transmit(self, address: NodeAddress, packet: bytes) -> None:
        node = self._by_address[address]
        if self.rng.random() < node.loss:
            return
        self.at(self.now + HOP_SECONDS, lambda: self._process(node, packet))

    def _process(self, node: Node, packet: bytes) -> None:
        hop = unwrap(packet, node.private_key)
        if isinstance(hop, ForwardHop):
            address = NodeAddress.decode(hop.next_address)
            self.at(self.now + hop.delay_ns / 1e9, lambda: self._transmit(address, hop.packet))
            return
        assert isinstance(hop, FinalHop)
        client = self.clients.get(hop.destination)
        content = hop.plaintext
        if PacketSize.from_packet_length(len(packet)) is not PacketSize.ACK:
            ack, content = split_surb_ack(hop.plaintext)
            self._transmit(ack.first_hop, ack.packet)
        if client is not None and client.online:
            self.delivered_packets += 1
            for message in client.core.receive(content, self.now):
                client.received.append((self.now, message))
