"""The network as this client sees it, and routes through it (docs/protocol/04 §5, §10.4; vectors:
``topology``).

Also the codec of ``network.json``, the file form of the same model: keys are lists of integers there, and the
whole metadata may be missing (then the key rotation is unknown).
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from ipaddress import ip_address

from nym_mixnet.errors import MalformedTopology, TopologyUnusable, UnknownGateway
from nym_mixnet.timestamps import format_rfc3339, from_datetime, parse_rfc3339, to_datetime
from nym_mixnet.wire_json import U32_MAX, Fields, JsonFaultError, compact, load_json
from nym_sphinx.addressing import NodeAddress
from nym_sphinx.base58 import b58decode, b58encode
from nym_sphinx.errors import MalformedAddress
from nym_sphinx.packet import Hop
from nym_sphinx.sizes import KeyRotation

UNKNOWN_ROTATION = U32_MAX
"""The rotation id of a topology that does not know it."""
KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class EntryDetails:
    """Where clients connect to a gateway."""

    ip_addresses: tuple[str, ...]
    ws_port: int
    hostname: str | None = None
    wss_port: int | None = None


@dataclass(frozen=True, slots=True)
class NodeRoles:
    """What a node is able to do."""

    mixnode: bool = False
    mixnet_entry: bool = False
    mixnet_exit: bool = False


@dataclass(frozen=True, slots=True)
class RoutingNode:
    """A node with what packets and clients need to reach it. Keys have 32 bytes."""

    node_id: int
    mix_host: NodeAddress
    identity: bytes
    sphinx_key: bytes
    roles: NodeRoles = NodeRoles()
    entry: EntryDetails | None = None

    def gateway_urls(self) -> list[str]:
        """Where to connect, best first: TLS if offered, then plain by name, then by each address.

        Empty for a node that is no entry. Only the TLS form hides from the line whose client this is; the
        packets are sealed in all of them.
        """
        entry = self.entry
        if entry is None:
            return []
        urls = []
        if entry.hostname is not None and entry.wss_port is not None:
            urls.append(f"wss://{entry.hostname}:{entry.wss_port}")
        hosts = [] if entry.hostname is None else [entry.hostname]
        hosts += [f"[{ip}]" if ":" in ip else ip for ip in entry.ip_addresses]
        return urls + [f"ws://{host}:{entry.ws_port}" for host in hosts]

    def __str__(self) -> str:
        return f"node {self.node_id} ({b58encode(self.identity)})"


@dataclass(frozen=True, slots=True)
class RewardedSet:
    """Which node does what in this epoch: ids by role."""

    epoch_id: int
    entry_gateways: tuple[int, ...] = ()
    exit_gateways: tuple[int, ...] = ()
    layer1: tuple[int, ...] = ()
    layer2: tuple[int, ...] = ()
    layer3: tuple[int, ...] = ()
    standby: tuple[int, ...] = ()

    @property
    def layers(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        return self.layer1, self.layer2, self.layer3


@dataclass(frozen=True)
class Topology:
    """One state of the network. Immutable; a refresh makes a new one."""

    rotation_id: int
    absolute_epoch_id: int
    refreshed_at: datetime
    rewarded_set: RewardedSet
    nodes: Mapping[int, RoutingNode]

    @property
    def key_rotation(self) -> KeyRotation:
        """The parity that packets are marked with; ids 0 and 2³²−1 mean unknown."""
        return KeyRotation.from_id(self.rotation_id)

    @cached_property
    def _by_identity(self) -> dict[bytes, RoutingNode]:
        return {node.identity: node for node in self.nodes.values()}

    @cached_property
    def _hops_by_identity(self) -> dict[bytes, Hop]:
        return {node.identity: _hop(node) for node in self.nodes.values()}

    @cached_property
    def _layers(self) -> tuple[tuple[Hop, ...], ...]:
        """Per layer the hops of all its nodes whose details are known.

        Drawing from these is the same as drawing from all assigned ids and drawing again when details are
        missing.
        """
        return tuple(
            tuple(_hop(self.nodes[node_id]) for node_id in dict.fromkeys(ids) if node_id in self.nodes)
            for ids in self.rewarded_set.layers
        )

    def ensure_usable(self) -> None:
        """Raise `TopologyUnusable` unless a route can be built (docs/protocol/04 §5.1)."""
        if not self.nodes:
            raise TopologyUnusable("the topology holds no nodes")
        for number, layer in enumerate(self._layers, start=1):
            if not layer:
                raise TopologyUnusable(f"the topology holds no node of mix layer {number}")
        if not (self.rewarded_set.entry_gateways or self.rewarded_set.exit_gateways):
            raise TopologyUnusable("the topology lists no gateway")

    def gateway(self, identity: bytes) -> RoutingNode:
        """The node with that Ed25519 identity, whatever its role. Raises `UnknownGateway`."""
        node = self._by_identity.get(identity)
        if node is None:
            raise UnknownGateway(f"gateway {b58encode(identity)} is not in the topology")
        return node

    def entry_gateways(self) -> list[RoutingNode]:
        """The nodes that clients can connect to."""
        return [node for node in self.nodes.values() if node.roles.mixnet_entry and node.gateway_urls()]

    def random_route(self, egress_identity: bytes, rng: random.Random) -> tuple[Hop, ...]:
        """Three random mix nodes, one per layer, then the gateway with `egress_identity` (§5.2).

        Raises `UnknownGateway` or `TopologyUnusable`.
        """
        egress = self._hops_by_identity.get(egress_identity)
        if egress is None:
            raise UnknownGateway(f"gateway {b58encode(egress_identity)} is not in the topology")
        try:
            layer1, layer2, layer3 = self._layers
            return rng.choice(layer1), rng.choice(layer2), rng.choice(layer3), egress
        except IndexError:
            self.ensure_usable()
            raise


def _hop(node: RoutingNode) -> Hop:
    return Hop(node.mix_host, node.sphinx_key)


def choose_entry(
    topology: Topology,
    selector: str | None,
    rng: random.Random,
    countries: Mapping[int, str] | None = None,
) -> RoutingNode:
    """The entry gateway for a setting: ``auto`` (or None), a base58 identity, or ``country:CH,DE``.

    `countries`: node id → ISO code, from the described nodes of the directory; without it a choice by
    country is an error. Raises `UnknownGateway` with what to do.
    """
    entries = topology.entry_gateways()
    if selector is None or selector == "auto":
        if not entries:
            raise TopologyUnusable("the topology lists no gateway that clients can connect to")
        return rng.choice(entries)
    if selector.startswith("country:"):
        wanted = {code.strip().upper() for code in selector.removeprefix("country:").split(",")}
        if not countries:
            raise UnknownGateway(
                f"{selector} cannot be followed: this topology source does not say where nodes are; "
                "name a gateway by its identity instead"
            )
        there = [node for node in entries if countries.get(node.node_id, "").upper() in wanted]
        if not there:
            known = sorted({countries[node.node_id].upper() for node in entries if node.node_id in countries})
            raise UnknownGateway(f"no entry gateway matches {selector}; there are some in {', '.join(known)}")
        return rng.choice(there)
    try:
        identity = b58decode(selector) if len(selector) <= 64 else b""
    except ValueError:
        identity = b""
    if len(identity) != KEY_BYTES:
        raise UnknownGateway(
            f"{selector!r} names no gateway: use auto, a gateway's identity in base58, or country:XX"
        )
    node = topology.gateway(identity)
    if not node.gateway_urls():
        raise UnknownGateway(f"{node} takes no clients: choose an entry gateway")
    return node


_ROLE_NAMES = ("entry_gateways", "exit_gateways", "layer1", "layer2", "layer3", "standby")


def read_rewarded_set(fields: Fields) -> RewardedSet:
    """A rewarded set as the directory and ``network.json`` spell it."""
    ids = {name: fields.integers(name, 0, U32_MAX) for name in _ROLE_NAMES}
    return RewardedSet(fields.u32("epoch_id"), **ids)


def rewarded_set_json(rewarded: RewardedSet) -> dict[str, object]:
    ids = {name: list(getattr(rewarded, name)) for name in _ROLE_NAMES}
    return {"epoch_id": rewarded.epoch_id, **ids}


def read_ip_addresses(fields: Fields, name: str) -> tuple[str, ...]:
    """A list of IP addresses, in their usual spelling and without zones."""
    addresses = []
    for index, value in enumerate(fields.items(name)):
        try:
            if not isinstance(value, str) or "%" in value:
                raise ValueError
            addresses.append(str(ip_address(value)))
        except ValueError:
            raise JsonFaultError(f"{fields.at(name)}[{index}]", "an IP address expected") from None
    return tuple(addresses)


def _read_node(fields: Fields) -> RoutingNode:
    try:
        mix_host = NodeAddress.parse(fields.text("mix_host"))
    except MalformedAddress as error:
        raise JsonFaultError(fields.at("mix_host"), str(error)) from None
    entry = fields.optional_object("entry")
    roles = fields.object("supported_roles")
    return RoutingNode(
        node_id=fields.u32("node_id"),
        mix_host=mix_host,
        identity=fields.byte_array("identity_key", KEY_BYTES),
        sphinx_key=fields.byte_array("sphinx_key", KEY_BYTES),
        roles=NodeRoles(roles.flag("mixnode"), roles.flag("mixnet_entry"), roles.flag("mixnet_exit")),
        entry=None if entry is None else _read_entry(entry),
    )


def _read_entry(fields: Fields) -> EntryDetails:
    return EntryDetails(
        ip_addresses=read_ip_addresses(fields, "ip_addresses"),
        ws_port=fields.u16("clients_ws_port"),
        hostname=fields.optional_text("hostname"),
        wss_port=fields.optional_u16("clients_wss_port"),
    )


def _read_nodes(fields: Fields) -> Iterable[RoutingNode]:
    for name in fields.values:
        if not (name.isascii() and name.isdigit()) or int(name[:11]) > U32_MAX:
            raise JsonFaultError(fields.at(name), "the key of a node is its id, a decimal number")
        node = _read_node(fields.object(name))
        if node.node_id != int(name):
            raise JsonFaultError(fields.at(name) + ".node_id", f"{name} expected, as in the key")
        yield node


def topology_from_network_json(text: str | bytes) -> Topology:
    """Read ``network.json``. Raises `MalformedTopology` naming the field; says nothing about usability."""
    try:
        fields = Fields(load_json(text))
        metadata = fields.object("metadata") if fields.has("metadata") else None
        refreshed_at = datetime.now(UTC)
        if metadata is not None:
            try:
                refreshed_at = to_datetime(parse_rfc3339(metadata.text("refreshed_at")))
            except (ValueError, OverflowError) as error:
                if isinstance(error, JsonFaultError):
                    raise
                raise JsonFaultError(metadata.at("refreshed_at"), "an RFC 3339 time expected") from None
        return Topology(
            rotation_id=UNKNOWN_ROTATION if metadata is None else metadata.u32("key_rotation_id"),
            absolute_epoch_id=0 if metadata is None else metadata.u32("absolute_epoch_id"),
            refreshed_at=refreshed_at,
            rewarded_set=read_rewarded_set(fields.object("rewarded_set")),
            nodes={node.node_id: node for node in _read_nodes(fields.object("node_details"))},
        )
    except JsonFaultError as fault:
        raise MalformedTopology(fault.path, fault.problem) from None


def routing_node_json(node: RoutingNode) -> dict[str, object]:
    """A node as ``network.json`` spells it."""
    entry = node.entry
    return {
        "node_id": node.node_id,
        "mix_host": str(node.mix_host),
        "entry": entry
        and {
            "ip_addresses": list(entry.ip_addresses),
            "clients_ws_port": entry.ws_port,
            "hostname": entry.hostname,
            "clients_wss_port": entry.wss_port,
        },
        "identity_key": list(node.identity),
        "sphinx_key": list(node.sphinx_key),
        "supported_roles": {
            "mixnode": node.roles.mixnode,
            "mixnet_entry": node.roles.mixnet_entry,
            "mixnet_exit": node.roles.mixnet_exit,
        },
    }


def topology_to_network_json(topology: Topology) -> str:
    """The text of a ``network.json`` that clients of the reference read as well."""
    return compact(
        {
            "metadata": {
                "key_rotation_id": topology.rotation_id,
                "absolute_epoch_id": topology.absolute_epoch_id,
                "refreshed_at": format_rfc3339(from_datetime(topology.refreshed_at)),
            },
            "rewarded_set": rewarded_set_json(topology.rewarded_set),
            "node_details": {str(node.node_id): routing_node_json(node) for node in topology.nodes.values()},
        }
    )
