"""A small directory for tests: nodes, a topology, descriptions, all with real keys."""

from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address

from nym_mixnet.described import DescribedNode, NetworkRequester
from nym_mixnet.keys import SigningKey
from nym_mixnet.topology import EntryDetails, NodeRoles, RewardedSet, RoutingNode, Topology
from nym_sphinx import NodeAddress, Recipient, x25519_public


@cache
def identity(number: int) -> bytes:
    """Ed25519 identity of node or client `number`."""
    return SigningKey(bytes([number]) * 32).public


@cache
def recipient(gateway: bytes) -> Recipient:
    """A client at that gateway."""
    return Recipient(identity(200), x25519_public(bytes([201]) * 32), gateway)


def node(node_id: int, key: bytes, *, entry: bool = True) -> RoutingNode:
    """A gateway, or with entry=False a mix node."""
    return RoutingNode(
        node_id,
        NodeAddress(ip_address("127.0.0.1"), 1000 + node_id),
        key,
        x25519_public(bytes([node_id]) * 32),
        NodeRoles(mixnode=not entry, mixnet_entry=entry),
        EntryDetails(("127.0.0.1",), 9000 + node_id) if entry else None,
    )


def topology(*gateways: RoutingNode) -> Topology:
    """Three mix nodes (ids 101 to 103) and these gateways."""
    mixes = [node(100 + layer, identity(100 + layer), entry=False) for layer in (1, 2, 3)]
    ids = tuple(gateway.node_id for gateway in gateways)
    return Topology(
        rotation_id=1,
        absolute_epoch_id=1,
        refreshed_at=datetime(2026, 1, 1, tzinfo=UTC),
        rewarded_set=RewardedSet(1, ids, (), (101,), (102,), (103,), ()),
        nodes={n.node_id: n for n in (*mixes, *gateways)},
    )


def requester(node_id: int, key: bytes, address: str | None, *, country: str | None = None) -> DescribedNode:
    """What a node says about itself, with or without an exit."""
    return DescribedNode(
        node_id=node_id,
        identity=key,
        sphinx_key=x25519_public(bytes([node_id]) * 32),
        ip_addresses=("127.0.0.1",),
        country=country,
        network_requester=None if address is None else NetworkRequester(address, True),
    )
