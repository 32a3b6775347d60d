"""What the test network says about itself: the content of every directory route.

Made of a list of nodes and a clock.

docs/protocol/04 §10 and 05 §5.5. Pure; `nym_api_io` serves it. Nodes of this network and nodes started by
somebody else are published alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from nym_localnet.epochs import EPOCHS_IN_INTERVAL, EpochClock
from nym_localnet.options import ExternalNode
from nym_mixnet.described import DescribedNode, NetworkRequester, encode_described_page
from nym_mixnet.nym_api import (
    NO_UPDATES,
    DeclaredRoles,
    EntryInformation,
    Interval,
    KeyRotationInfo,
    NodesMetadata,
    NodesPage,
    NoiseKey,
    SemiSkimmedNode,
    SkimmedNode,
)
from nym_mixnet.timestamps import NANOSECONDS
from nym_mixnet.topology import EntryDetails, NodeRoles, RewardedSet, RoutingNode, Topology
from nym_sphinx import NodeAddress, b58decode

EXPIRES_GRACE_SECONDS: Final = 120.0
"""docs/protocol/04 §10.2: the list of active mix nodes is good until the epoch's end and a little longer"""
BUILD_VERSION: Final = "1.21.0"
"""what our nodes call themselves: clients choose nodes by it, so it is a version of upstream's"""


@dataclass(frozen=True, slots=True)
class PublishedNode:
    """One node as the directory knows it. `layer` is None for gateways."""

    node_id: int
    identity: bytes
    sphinx_key: bytes
    ip: str
    mix_port: int
    layer: int | None = None
    entry: EntryInformation | None = None
    requester: str | None = None
    """Nym address of the exit that this gateway hosts"""
    uses_exit_policy: bool = True
    noise_key: NoiseKey | None = None
    performance: str = "1"
    country: str | None = None

    @property
    def roles(self) -> DeclaredRoles:
        """What the node says it can do."""
        return DeclaredRoles(
            mixnode=self.layer is not None,
            entry=self.entry is not None,
            exit_nr=self.requester is not None,
            exit_ipr=False,
        )

    @property
    def role(self) -> int | str:
        """What it does in this epoch."""
        if self.layer is not None:
            return self.layer
        return "EntryGateway" if self.requester is None else "ExitGateway"

    @classmethod
    def external(cls, node: ExternalNode, node_id: int) -> PublishedNode:
        """A node that somebody else runs."""
        entry = None if node.ws_port is None else EntryInformation(node.ws_port)
        noise = None if node.noise_key is None else NoiseKey(1, b58decode(node.noise_key))
        return cls(
            node_id=node_id,
            identity=b58decode(node.identity),
            sphinx_key=b58decode(node.sphinx_key),
            ip=node.ip,
            mix_port=node.mix_port,
            layer=node.layer,
            entry=entry,
            requester=node.network_requester,
            noise_key=noise,
        )


class Directory:
    """The published state of the network; every method takes the Unix time of the question.

    `sphinx_key(node_id, rotation_id)` gives the key of a node in a rotation, None for a node whose key is the
    published one whatever the rotation.
    """

    def __init__(
        self,
        clock: EpochClock,
        nodes: Iterable[PublishedNode] = (),
        *,
        sphinx_key: Callable[[int, int], bytes | None] = lambda node_id, rotation_id: None,
    ) -> None:
        self.clock = clock
        self._sphinx_key = sphinx_key
        self._nodes: dict[int, PublishedNode] = {node.node_id: node for node in nodes}

    @property
    def nodes(self) -> tuple[PublishedNode, ...]:
        """All nodes by id."""
        return tuple(self._nodes[node_id] for node_id in sorted(self._nodes))

    def publish(self, node: PublishedNode) -> None:
        """Add a node, or replace the one with its id."""
        self._nodes[node.node_id] = node

    def announce_requester(self, node_id: int, address: str) -> None:
        """A gateway hosts an exit from now on."""
        self._nodes[node_id] = replace(self._nodes[node_id], requester=address)

    def node(self, node_id: int) -> PublishedNode:
        """One node. KeyError for an id that there is not."""
        return self._nodes[node_id]

    def _current(self, now_unix: float) -> list[PublishedNode]:
        """All nodes with their keys of the current rotation."""
        rotation = self.clock.rotation_at(now_unix)
        found = []
        for node in self.nodes:
            key = self._sphinx_key(node.node_id, rotation)
            found.append(node if key is None else replace(node, sphinx_key=key))
        return found

    # Bodies

    def rewarded_set(self, now_unix: float) -> RewardedSet:
        """Who mixes in which layer, and the gateways. A gateway with an exit is listed as entry as well."""
        gateways = [node for node in self.nodes if node.layer is None]

        def layer(number: int) -> tuple[int, ...]:
            return tuple(node.node_id for node in self.nodes if node.layer == number)

        return RewardedSet(
            epoch_id=self.clock.epoch_at(now_unix),
            entry_gateways=tuple(node.node_id for node in gateways if node.entry is not None),
            exit_gateways=tuple(node.node_id for node in gateways if node.requester is not None),
            layer1=layer(1),
            layer2=layer(2),
            layer3=layer(3),
        )

    def key_rotation_info(self, now_unix: float) -> KeyRotationInfo:
        """Where the epochs stand."""
        clock = self.clock
        epoch = clock.epoch_at(now_unix)
        return KeyRotationInfo(
            validity_epochs=clock.validity_epochs,
            initial_epoch_id=clock.initial_epoch,
            current_absolute_epoch_id=epoch,
            current_epoch_start=_nanoseconds(clock.epoch_start(epoch)),
            epoch_duration=_nanoseconds(clock.epoch_seconds),
        )

    def interval(self, now_unix: float) -> Interval:
        """The epoch as node lists state it."""
        clock = self.clock
        epoch = clock.epoch_at(now_unix)
        return Interval(
            interval_id=epoch // EPOCHS_IN_INTERVAL,
            epochs_in_interval=EPOCHS_IN_INTERVAL,
            current_epoch_start=_nanoseconds(clock.epoch_start(epoch)),
            current_epoch_id=epoch % EPOCHS_IN_INTERVAL,
            epoch_length=_nanoseconds(clock.epoch_seconds),
            total_elapsed_epochs=epoch,
        )

    def metadata(self, now_unix: float, *, with_interval: bool) -> NodesMetadata:
        """The head of a node list."""
        return NodesMetadata(
            absolute_epoch_id=self.clock.epoch_at(now_unix),
            rotation_id=self.clock.rotation_at(now_unix),
            refreshed_at=_nanoseconds(now_unix),
            status=self.interval(now_unix) if with_interval else None,
        )

    def skimmed(self, wanted: Callable[[PublishedNode], bool], now_unix: float, **head: bool) -> NodesPage:
        """The nodes for which `wanted` holds, with the epoch in the head if `with_interval`."""
        metadata = self.metadata(now_unix, with_interval=head.get("with_interval", False))
        return NodesPage.whole(metadata, [_skimmed(node) for node in self._current(now_unix) if wanted(node)])

    def no_updates(self, now_unix: float) -> NodesPage:
        """The answer to somebody who knows this epoch already."""
        metadata = replace(self.metadata(now_unix, with_interval=False), status=NO_UPDATES)
        return NodesPage.whole(metadata, ())

    def semi_skimmed(self, now_unix: float) -> tuple[NodesMetadata, list[SemiSkimmedNode]]:
        """All nodes with their Noise keys."""
        nodes = [SemiSkimmedNode(_skimmed(node), node.noise_key) for node in self._current(now_unix)]
        return self.metadata(now_unix, with_interval=False), nodes

    def described(self, now_unix: float) -> str:
        """The body of the described nodes."""
        rotation = self.clock.rotation_at(now_unix)
        return encode_described_page(_described(node, rotation) for node in self._current(now_unix))

    def ids_of_addresses(self, addresses: Iterable[str]) -> dict[str, int | None]:
        """IP address to node id."""
        known = {node.ip: node.node_id for node in reversed(self.nodes)}
        return {address: known.get(address) for address in addresses}

    def expires(self, now_unix: float) -> datetime:
        """Until when the list of active mix nodes is good."""
        end = self.clock.epoch_start(self.clock.epoch_at(now_unix) + 1)
        return datetime.fromtimestamp(end + EXPIRES_GRACE_SECONDS, UTC)

    def topology(self, now_unix: float) -> Topology:
        """The network as a client's topology, also the content of `network.json` (docs/protocol/04 §10.4)."""
        return Topology(
            rotation_id=self.clock.rotation_at(now_unix),
            absolute_epoch_id=self.clock.epoch_at(now_unix),
            refreshed_at=datetime.fromtimestamp(now_unix, UTC),
            rewarded_set=self.rewarded_set(now_unix),
            nodes={node.node_id: _routing(node) for node in self._current(now_unix)},
        )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1_000_000) * (NANOSECONDS // 1_000_000)


def _skimmed(node: PublishedNode) -> SkimmedNode:
    return SkimmedNode(
        node_id=node.node_id,
        identity=node.identity,
        ip_addresses=(node.ip,),
        mix_port=node.mix_port,
        sphinx_key=node.sphinx_key,
        role=node.role,
        supported_roles=node.roles,
        entry=node.entry,
        performance=node.performance,
    )


def _routing(node: PublishedNode) -> RoutingNode:
    entry = node.entry
    return RoutingNode(
        node_id=node.node_id,
        mix_host=NodeAddress(ip_address(node.ip), node.mix_port),
        identity=node.identity,
        sphinx_key=node.sphinx_key,
        roles=NodeRoles(node.layer is not None, entry is not None, node.requester is not None),
        entry=None
        if entry is None
        else EntryDetails((node.ip,), entry.ws_port, entry.hostname, entry.wss_port),
    )


def _described(node: PublishedNode, rotation_id: int) -> DescribedNode:
    requester = None
    if node.requester is not None:
        requester = NetworkRequester(node.requester, node.uses_exit_policy)
    entry = node.entry or EntryInformation(0)
    return DescribedNode(
        node_id=node.node_id,
        identity=node.identity,
        sphinx_key=node.sphinx_key,
        ip_addresses=(node.ip,),
        roles=node.roles,
        rotation_id=rotation_id,
        hostname=entry.hostname,
        mix_port=node.mix_port,
        ws_port=entry.ws_port,
        wss_port=entry.wss_port,
        country=node.country,
        network_requester=requester,
        version=BUILD_VERSION,
    )
