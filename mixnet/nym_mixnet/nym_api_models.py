"""What the directory says about the network (docs/protocol/04 §4.5, §5.4, §10.2). Its codecs: `nym_api`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from typing import Literal

from nym_mixnet.errors import MalformedTopology
from nym_mixnet.timestamps import NANOSECONDS, to_datetime
from nym_mixnet.topology import EntryDetails, NodeRoles, RewardedSet, RoutingNode, Topology
from nym_sphinx.addressing import NodeAddress

MINIMUM_MIXNODE_PERFORMANCE_PERCENT = 50
MINIMUM_GATEWAY_PERFORMANCE_PERCENT = 50
NO_UPDATES: Literal["no-updates"] = "no-updates"
"""The status of an answer to somebody who is up to date already."""
ROLE_NAMES = ("EntryGateway", "ExitGateway", "Standby", "Inactive")


_MOST_DECIMALS = 100


def checked_performance(text: str) -> str:
    """`text` if it is a decimal from 0 to 1; `ValueError` otherwise."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError("a decimal number expected") from None
    if len(text) > _MOST_DECIMALS or not value.is_finite() or not 0 <= value <= 1:
        raise ValueError("a decimal number from 0 to 1 expected")
    return text


@dataclass(frozen=True, slots=True)
class Interval:
    """The epoch an answer was made in. `current_epoch_start` and `epoch_length` in nanoseconds."""

    interval_id: int
    epochs_in_interval: int
    current_epoch_start: int
    current_epoch_id: int
    epoch_length: int
    total_elapsed_epochs: int


@dataclass(frozen=True, slots=True)
class NodesMetadata:
    """What a node list says about itself. `refreshed_at`: nanoseconds since 1970."""

    absolute_epoch_id: int
    rotation_id: int
    refreshed_at: int
    status: Interval | Literal["no-updates"] | None = None

    def agrees_with(self, other: NodesMetadata) -> bool:
        """Two lists belong together if all but their time is the same."""
        return (self.status, self.absolute_epoch_id, self.rotation_id) == (
            other.status,
            other.absolute_epoch_id,
            other.rotation_id,
        )


@dataclass(frozen=True, slots=True)
class DeclaredRoles:
    """What a node offers: mixing, an entry, and the two services of an exit."""

    mixnode: bool = False
    entry: bool = False
    exit_nr: bool = False
    exit_ipr: bool = False


@dataclass(frozen=True, slots=True)
class EntryInformation:
    """The ports of an entry; its addresses are the node's."""

    ws_port: int
    hostname: str | None = None
    wss_port: int | None = None


@dataclass(frozen=True, slots=True)
class SkimmedNode:
    """A node of a list.

    `role`: the mix layer 1–3, or EntryGateway, ExitGateway, Standby, Inactive; only the rewarded set counts
    for routing. `performance`: a decimal from 0 to 1, as text.
    """

    node_id: int
    identity: bytes
    ip_addresses: tuple[str, ...]
    mix_port: int
    sphinx_key: bytes
    role: int | str
    supported_roles: DeclaredRoles = DeclaredRoles()
    entry: EntryInformation | None = None
    performance: str = "1"

    @property
    def performance_percent(self) -> int:
        """Rounded down."""
        return int(Decimal(self.performance) * 100)

    def routing_node(self) -> RoutingNode | None:
        """The node as routes need it; None if it names no IP address."""
        if not self.ip_addresses:
            return None
        roles, ports = self.supported_roles, self.entry
        entry = None
        if ports is not None:
            entry = EntryDetails(self.ip_addresses, ports.ws_port, ports.hostname, ports.wss_port)
        return RoutingNode(
            node_id=self.node_id,
            mix_host=NodeAddress(ip_address(self.ip_addresses[0]), self.mix_port),
            identity=self.identity,
            sphinx_key=self.sphinx_key,
            roles=NodeRoles(roles.mixnode, roles.entry, roles.exit_nr and roles.exit_ipr),
            entry=entry,
        )


@dataclass(frozen=True, slots=True)
class NodesPage:
    """One page of a node list."""

    metadata: NodesMetadata
    nodes: tuple[SkimmedNode, ...]
    total: int
    page: int = 0

    @classmethod
    def whole(cls, metadata: NodesMetadata, nodes: Iterable[SkimmedNode]) -> NodesPage:
        """The only page of a list, as the reference's server answers."""
        every = tuple(nodes)
        return cls(metadata, every, len(every))


@dataclass(frozen=True, slots=True)
class NoiseKey:
    """A node's key for encrypted links between nodes."""

    supported_version: int
    public_key: bytes


@dataclass(frozen=True, slots=True)
class SemiSkimmedNode:
    """What nodes ask for: a skimmed node and its Noise key, if it has one."""

    basic: SkimmedNode
    noise_key: NoiseKey | None = None


@dataclass(frozen=True, slots=True)
class KeyRotationInfo:
    """When node keys change (docs/protocol/04 §4.5, §10.2). Times in nanoseconds since 1970 or as lengths."""

    validity_epochs: int
    initial_epoch_id: int
    current_absolute_epoch_id: int
    current_epoch_start: int
    epoch_duration: int

    @property
    def epoch_seconds(self) -> float:
        return self.epoch_duration / NANOSECONDS

    @property
    def rotation_seconds(self) -> float:
        """How long one key rotation lasts."""
        return self.epoch_seconds * self.validity_epochs

    def rotation_of(self, epoch_id: int) -> int:
        """The key rotation of an epoch; 0 before the first."""
        return max(0, epoch_id - self.initial_epoch_id) // self.validity_epochs

    def expected_epoch(self, now_unix: float) -> int:
        """The epoch it should be by now, counting on from the last known one; never negative."""
        elapsed = int(now_unix * NANOSECONDS) - self.current_epoch_start
        return max(0, self.current_absolute_epoch_id + elapsed // self.epoch_duration)

    def expected_rotation(self, now_unix: float) -> int:
        return self.rotation_of(self.expected_epoch(now_unix))

    def rotation_start_unix(self, rotation_id: int) -> float:
        """Unix seconds at which that rotation began or will begin."""
        first_epoch = self.initial_epoch_id + rotation_id * self.validity_epochs
        start = (
            self.current_epoch_start - (self.current_absolute_epoch_id - first_epoch) * self.epoch_duration
        )
        return start / NANOSECONDS


def build_topology(
    rewarded: RewardedSet,
    mixnodes: NodesPage,
    gateways: NodesPage,
    *,
    minimum_mixnode_percent: int = MINIMUM_MIXNODE_PERFORMANCE_PERCENT,
    minimum_gateway_percent: int = MINIMUM_GATEWAY_PERFORMANCE_PERCENT,
) -> Topology:
    """The topology of two node lists that belong together (docs/protocol/04 §5.4).

    Nodes that perform below the limits, and nodes without an address, are left out. Raises
    `MalformedTopology` if the lists are of different epochs.
    """
    if not mixnodes.metadata.agrees_with(gateways.metadata):
        raise MalformedTopology("metadata", "the lists of mix nodes and of gateways are of different epochs")
    chosen = [node for node in mixnodes.nodes if node.performance_percent >= minimum_mixnode_percent]
    chosen += [node for node in gateways.nodes if node.performance_percent >= minimum_gateway_percent]
    routing = (node.routing_node() for node in chosen)
    metadata = mixnodes.metadata
    return Topology(
        rotation_id=metadata.rotation_id,
        absolute_epoch_id=metadata.absolute_epoch_id,
        refreshed_at=to_datetime(metadata.refreshed_at),
        rewarded_set=rewarded,
        nodes={node.node_id: node for node in routing if node is not None},
    )
