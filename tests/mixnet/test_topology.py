"""Topologies: usability, routes, the choice of an entry, and the file format."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet.errors import MalformedTopology, TopologyUnusable, UnknownGateway
from nym_mixnet.topology import (
    UNKNOWN_ROTATION,
    EntryDetails,
    NodeRoles,
    RewardedSet,
    RoutingNode,
    Topology,
    choose_entry,
    topology_from_network_json,
    topology_to_network_json,
)
from nym_sphinx.addressing import NodeAddress
from nym_sphinx.base58 import b58encode
from nym_sphinx.packet import Hop
from nym_sphinx.sizes import KeyRotation


def node(node_id: int, *, entry: EntryDetails | None = None, roles: NodeRoles | None = None) -> RoutingNode:
    return RoutingNode(
        node_id=node_id,
        mix_host=NodeAddress.parse(f"10.0.0.{node_id}:1789"),
        identity=bytes([node_id]) * 32,
        sphinx_key=bytes([100 + node_id]) * 32,
        roles=roles or NodeRoles(mixnode=entry is None, mixnet_entry=entry is not None),
        entry=entry,
    )


def gateway(node_id: int) -> RoutingNode:
    return node(node_id, entry=EntryDetails((f"10.0.0.{node_id}",), 9000))


def topology(nodes: list[RoutingNode] | None = None, **changes: Any) -> Topology:
    everyone = [node(i) for i in range(1, 7)] + [gateway(7), gateway(8)] if nodes is None else nodes
    rewarded = {
        "epoch_id": 1,
        "entry_gateways": (7,),
        "exit_gateways": (8,),
        "layer1": (1, 2),
        "layer2": (3, 4),
        "layer3": (5, 6),
        **changes,
    }
    return Topology(
        rotation_id=9,
        absolute_epoch_id=100,
        refreshed_at=datetime(2026, 1, 1, tzinfo=UTC),
        rewarded_set=RewardedSet(**rewarded),
        nodes={n.node_id: n for n in everyone},
    )


def hop(node_id: int) -> Hop:
    return Hop(NodeAddress.parse(f"10.0.0.{node_id}:1789"), bytes([100 + node_id]) * 32)


# ---- routes ---------------------------------------------------------------------------------------------


def test_a_route_is_one_node_of_each_layer_and_the_egress() -> None:
    network, rng = topology(), random.Random(1)
    drawn = Counter(network.random_route(bytes([8]) * 32, rng) for _ in range(800))
    assert len(drawn) == 8  # two to the three
    assert min(drawn.values()) > 60  # evenly
    layers = [(hop(1), hop(2)), (hop(3), hop(4)), (hop(5), hop(6))]
    for route in drawn:
        assert all(mix in layer for mix, layer in zip(route[:3], layers, strict=True))
        assert route[3] == hop(8)


def test_nodes_without_details_are_passed_over() -> None:
    network = topology(layer1=(1, 20, 21, 22))
    assert {network.random_route(bytes([7]) * 32, random.Random(i))[0] for i in range(20)} == {hop(1)}


def test_any_known_node_may_be_the_egress() -> None:
    assert topology().random_route(bytes([1]) * 32, random.Random(1))[3] == hop(1)


def test_an_unknown_egress_is_named() -> None:
    with pytest.raises(UnknownGateway, match=b58encode(b"x" * 32)):
        topology().random_route(b"x" * 32, random.Random(1))


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (topology(layer1=()), "mix layer 1"),
        (topology(layer2=(99,)), "mix layer 2"),
        (topology(layer3=()), "mix layer 3"),
        (topology(entry_gateways=(), exit_gateways=()), "no gateway"),
        (topology(nodes=[]), "no nodes"),
    ],
)
def test_unusable_topologies_say_why(broken: Topology, problem: str) -> None:
    with pytest.raises(TopologyUnusable, match=problem):
        broken.ensure_usable()


def test_no_route_through_a_missing_layer() -> None:
    with pytest.raises(TopologyUnusable, match="mix layer 2"):
        topology(layer2=()).random_route(bytes([8]) * 32, random.Random(1))


@pytest.mark.parametrize(
    ("rotation_id", "marker"),
    [
        (0, KeyRotation.UNKNOWN),
        (1, KeyRotation.ODD),
        (2, KeyRotation.EVEN),
        (UNKNOWN_ROTATION, KeyRotation.UNKNOWN),
    ],
)
def test_the_marker_of_a_rotation(rotation_id: int, marker: KeyRotation) -> None:
    network = topology()
    assert Topology(rotation_id, 1, network.refreshed_at, network.rewarded_set, {}).key_rotation is marker


# ---- gateways -------------------------------------------------------------------------------------------


def test_gateways_by_identity() -> None:
    network = topology()
    assert network.gateway(bytes([7]) * 32) == gateway(7)
    assert [n.node_id for n in network.entry_gateways()] == [7, 8]
    with pytest.raises(UnknownGateway):
        network.gateway(bytes(32))


def test_entries_need_the_role_and_an_address() -> None:
    nodes = [
        node(1, entry=EntryDetails((), 9000)),
        node(2, entry=EntryDetails(("1.2.3.4",), 9000), roles=NodeRoles(mixnode=True)),
        node(3, roles=NodeRoles(mixnet_entry=True)),
        node(4, entry=EntryDetails((), 9000, hostname="gw.example")),
    ]
    assert [n.node_id for n in topology(nodes=nodes).entry_gateways()] == [4]


def test_addresses_in_order_with_brackets() -> None:
    entry = EntryDetails(("1.2.3.4", "2001:db8::1"), 9000, hostname="gw.example", wss_port=9443)
    assert node(1, entry=entry).gateway_urls() == [
        "wss://gw.example:9443",
        "ws://gw.example:9000",
        "ws://1.2.3.4:9000",
        "ws://[2001:db8::1]:9000",
    ]
    assert node(1, entry=EntryDetails(("1.2.3.4",), 9000, wss_port=9443)).gateway_urls() == [
        "ws://1.2.3.4:9000"
    ]
    assert node(1).gateway_urls() == []


@pytest.mark.parametrize("selector", [None, "auto"])
def test_any_entry(selector: str | None) -> None:
    chosen = {choose_entry(topology(), selector, random.Random(i)).node_id for i in range(20)}
    assert chosen == {7, 8}


def test_an_entry_by_identity() -> None:
    assert choose_entry(topology(), b58encode(bytes([8]) * 32), random.Random(1)).node_id == 8


def test_an_entry_by_country() -> None:
    countries = {7: "CH", 8: "de", 1: "FR"}
    assert choose_entry(topology(), "country:DE", random.Random(1), countries).node_id == 8
    both = {
        choose_entry(topology(), "country:ch, de", random.Random(i), countries).node_id for i in range(20)
    }
    assert both == {7, 8}
    with pytest.raises(UnknownGateway, match=r"country:FR; there are some in CH, DE"):
        choose_entry(topology(), "country:FR", random.Random(1), countries)


@pytest.mark.parametrize("countries", [None, {}])
def test_a_source_without_countries_says_so(countries: dict[int, str] | None) -> None:
    with pytest.raises(UnknownGateway, match="does not say where nodes are"):
        choose_entry(topology(), "country:CH", random.Random(1), countries)


@pytest.mark.parametrize(
    ("selector", "problem"),
    [
        ("nonsense!", "names no gateway"),
        ("", "names no gateway"),
        ("1" * 10_000, "names no gateway"),
        (b58encode(b"x" * 32), "not in the topology"),
        (b58encode(bytes([1]) * 32), "takes no clients"),
    ],
)
def test_entries_that_cannot_be_had(selector: str, problem: str) -> None:
    with pytest.raises(UnknownGateway, match=problem):
        choose_entry(topology(), selector, random.Random(1))


def test_a_network_without_entries() -> None:
    with pytest.raises(TopologyUnusable):
        choose_entry(topology(nodes=[node(1)]), None, random.Random(1))


# ---- network.json ---------------------------------------------------------------------------------------

GOOD = json.loads(topology_to_network_json(topology()))


def changed(path: str, value: Any) -> str:
    """`GOOD` with the field at `path` replaced, or removed if `value` is ..."""
    document = json.loads(json.dumps(GOOD))
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return json.dumps(document)


def test_files_round_trip() -> None:
    assert topology_from_network_json(json.dumps(GOOD)) == topology()
    assert topology_from_network_json(json.dumps(GOOD).encode()) == topology()


def test_ipv6_hosts_and_unknown_fields() -> None:
    document = json.loads(changed("node_details.1.mix_host", "[::1]:80"))
    document["node_details"]["1"]["version"] = "1.2.3"
    document["more"] = None
    assert str(topology_from_network_json(json.dumps(document)).nodes[1].mix_host) == "[::1]:80"


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("metadata.key_rotation_id", "7", "an integer"),
        ("metadata.key_rotation_id", 2**32, "0 to 4294967295"),
        ("metadata.absolute_epoch_id", ..., "missing"),
        ("metadata.refreshed_at", "2026-01-01", "RFC 3339"),
        ("metadata.refreshed_at", "9999-99-99T00:00:00Z", "RFC 3339"),
        ("metadata.refreshed_at", 5, "a string"),
        ("metadata", None, "an object"),
        ("rewarded_set", ..., "missing"),
        ("rewarded_set.layer1", [1, "2"], "integer"),
        ("rewarded_set.layer2", {}, "a list"),
        ("rewarded_set.epoch_id", -1, "0 to"),
        ("node_details", [], "an object"),
        ("node_details.1.mix_host", "localhost:80", "not a node address"),
        ("node_details.1.mix_host", "1.2.3.4", "not a node address"),
        ("node_details.1.identity_key", [1] * 31, "32 bytes expected, found 31"),
        ("node_details.1.identity_key", [256] * 32, "0 to 255"),
        ("node_details.1.sphinx_key", "base58", "a list"),
        ("node_details.1.supported_roles", ..., "missing"),
        ("node_details.1.supported_roles.mixnode", 1, "true or false"),
        ("node_details.1.node_id", 2, "1 expected"),
        ("node_details.7.entry.ip_addresses", ["somewhere"], "an IP address"),
        ("node_details.7.entry.ip_addresses", ["fe80::1%eth0"], "an IP address"),
        ("node_details.7.entry.clients_ws_port", 65536, "0 to 65535"),
        ("node_details.7.entry.hostname", 5, "a string"),
        ("node_details.x", {}, "decimal number"),
        ("node_details.99999999999", {}, "decimal number"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(path: str, value: Any, problem: str) -> None:
    with pytest.raises(MalformedTopology, match=problem) as caught:
        topology_from_network_json(changed(path, value))
    assert caught.value.path.startswith(path)


@pytest.mark.parametrize("text", ["", "[]", "{", "null", b"\xff\xfe", "[" * 5000])
def test_what_is_no_topology_at_all(text: str | bytes) -> None:
    with pytest.raises(MalformedTopology):
        topology_from_network_json(text)


@given(st.text() | st.binary())
def test_garbage_is_malformed_and_nothing_else(text: str | bytes) -> None:
    with pytest.raises(MalformedTopology):
        topology_from_network_json(text)


@given(st.data())
def test_any_field_of_any_type_is_read_or_named(data: st.DataObject) -> None:
    paths = []

    def walk(place: Any, path: str) -> None:
        if isinstance(place, dict):
            for name, value in place.items():
                paths.append(f"{path}.{name}" if path else name)
                walk(value, paths[-1])

    walk(GOOD, "")
    junk = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([]) | st.just({})
    text = changed(data.draw(st.sampled_from(paths)), data.draw(junk))
    try:
        topology_from_network_json(text)
    except MalformedTopology as error:
        assert error.path  # noqa: PT017 - most values are refused, some are not
