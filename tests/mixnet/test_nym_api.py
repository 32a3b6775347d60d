"""Bodies of the directory: round trips, filters, what is wrong with them, and garbage."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet import described, nym_api
from nym_mixnet.bincode import Reader, Writer
from nym_mixnet.described import DescribedNode, NetworkRequester
from nym_mixnet.errors import MalformedTopology
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
    build_topology,
)
from nym_mixnet.timestamps import (
    format_rfc3339,
    format_spaced,
    from_datetime,
    parse_rfc3339,
    parse_spaced,
    time_or_epoch,
    to_datetime,
)
from nym_mixnet.topology import RewardedSet

u8, u16 = st.integers(0, 255), st.integers(0, 65535)
u32, u64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
moments = st.integers(-62_135_596_800 * 10**9, 253_402_300_799 * 10**9)
key = st.binary(min_size=32, max_size=32)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
addresses = st.lists(st.ip_addresses().map(str).filter(lambda ip: "%" not in ip), max_size=3).map(tuple)
intervals = st.builds(Interval, u32, u32, moments, u32, st.integers(0, 10**18), u32)
metadatas = st.builds(NodesMetadata, u32, u32, moments, st.none() | st.just(NO_UPDATES) | intervals)
roles = st.builds(DeclaredRoles, st.booleans(), st.booleans(), st.booleans(), st.booleans())
entries = st.builds(EntryInformation, u16, st.none() | text, st.none() | u16)
skimmed = st.builds(
    SkimmedNode,
    u32,
    key,
    addresses,
    u16,
    key,
    u8 | st.sampled_from(["EntryGateway", "ExitGateway", "Standby", "Inactive"]),
    roles,
    st.none() | entries,
    st.decimals(0, 1, places=3).map(str),
)
pages = st.builds(NodesPage, metadatas, st.lists(skimmed, max_size=3).map(tuple), u64, u32)


@given(pages)
def test_node_lists_round_trip(page: NodesPage) -> None:
    assert nym_api.parse_nodes_page(nym_api.encode_nodes_page(page)) == page
    assert nym_api.parse_nodes_page_bincode(nym_api.encode_nodes_page_bincode(page)) == page


@given(pages, st.data())
def test_cut_lists_are_malformed(page: NodesPage, data: st.DataObject) -> None:
    whole = nym_api.encode_nodes_page_bincode(page)
    with pytest.raises(MalformedTopology):
        nym_api.parse_nodes_page_bincode(whole[: data.draw(st.integers(0, len(whole) - 1))])
    with pytest.raises(MalformedTopology, match="1 bytes too many"):
        nym_api.parse_nodes_page_bincode(whole + b"\0")


@given(st.binary(max_size=300))
def test_garbage_bincode_is_malformed_and_nothing_else(data: bytes) -> None:
    with pytest.raises(MalformedTopology):
        nym_api.parse_nodes_page_bincode(data)


@pytest.mark.parametrize(
    "parse",
    [
        nym_api.parse_nodes_page,
        nym_api.parse_semi_skimmed,
        nym_api.parse_rewarded_set,
        nym_api.parse_key_rotation_info,
        nym_api.parse_addresses_request,
        nym_api.parse_addresses_response,
        described.parse_described_page,
    ],
)
@given(body=st.text() | st.binary() | st.just("{}") | st.just('{"nodes":[],"metadata":3}'))
def test_garbage_json_is_malformed_and_nothing_else(parse: Any, body: str | bytes) -> None:
    with pytest.raises(MalformedTopology):
        parse(body)


@given(
    metadatas,
    st.lists(st.builds(SemiSkimmedNode, skimmed, st.none() | st.builds(NoiseKey, u8, key)), max_size=2),
)
def test_semi_skimmed_lists_round_trip(metadata: NodesMetadata, nodes: list[SemiSkimmedNode]) -> None:
    assert nym_api.parse_semi_skimmed(nym_api.encode_semi_skimmed(metadata, nodes)) == (
        metadata,
        tuple(nodes),
    )


@given(st.builds(RewardedSet, u32, *(st.lists(u32, max_size=4).map(tuple) for _ in range(6))))
def test_rewarded_sets_round_trip(rewarded: RewardedSet) -> None:
    assert nym_api.parse_rewarded_set(nym_api.encode_rewarded_set(rewarded)) == rewarded


@given(st.builds(KeyRotationInfo, st.integers(1, 2**32 - 1), u32, u32, moments, st.integers(1, 10**18)))
def test_key_rotation_info_round_trips(info: KeyRotationInfo) -> None:
    assert nym_api.parse_key_rotation_info(nym_api.encode_key_rotation_info(info)) == info


@given(st.dictionaries(st.ip_addresses().map(str), st.none() | u32))
def test_addresses_round_trip(existence: dict[str, int | None]) -> None:
    assert nym_api.parse_addresses_response(nym_api.encode_addresses_response(existence)) == existence
    usual = [ip for ip in existence if "%" not in ip]
    assert nym_api.parse_addresses_request(nym_api.encode_addresses_request(usual)) == tuple(usual)


# ---- tolerated spellings --------------------------------------------------------------------------------

NODE = SkimmedNode(1, b"i" * 32, ("1.2.3.4",), 1789, b"s" * 32, 1)
METADATA = NodesMetadata(100, 7, 0)


def body(**changes: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(nym_api.encode_nodes_page(NodesPage.whole(METADATA, [NODE])))
    document["nodes"]["data"][0].update(changes)
    return document


@pytest.mark.parametrize(
    ("spelling", "role"),
    [
        ("entry", "EntryGateway"),
        ("gateway", "EntryGateway"),
        ("exit", "ExitGateway"),
        ("Standby", "Standby"),
        ({"Mixnode": {"layer": 3}}, 3),
    ],
)
def test_spellings_of_roles(spelling: Any, role: int | str) -> None:
    assert nym_api.parse_nodes_page(json.dumps(body(role=spelling))).nodes[0].role == role
    document = body(epoch_role=spelling)
    del document["nodes"]["data"][0]["role"]
    assert nym_api.parse_nodes_page(json.dumps(document)).nodes[0].role == role


def test_missing_roles_are_none_and_unreadable_times_are_1970() -> None:
    document = body()
    del document["nodes"]["data"][0]["supported_roles"]
    document["metadata"]["refreshed_at"] = "yesterday"
    page = nym_api.parse_nodes_page(json.dumps(document))
    assert page.nodes[0].supported_roles == DeclaredRoles()
    assert page.metadata.refreshed_at == 0


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"node_id": -1}, "node_id"),
        ({"mix_port": 70_000}, "mix_port"),
        ({"ed25519_identity_pubkey": "0OIl"}, "ed25519_identity_pubkey"),
        ({"ed25519_identity_pubkey": "1" * 31}, "ed25519_identity_pubkey"),
        ({"x25519_sphinx_pubkey": "z" * 1_000_000}, "x25519_sphinx_pubkey"),
        ({"ip_addresses": ["here"]}, "ip_addresses[0]"),
        ({"ip_addresses": "1.2.3.4"}, "ip_addresses"),
        ({"role": "King"}, "role"),
        ({"role": {"Mixnode": {}}}, "role.Mixnode.layer"),
        ({"role": None}, "role"),
        ({"performance": "1.5"}, "performance"),
        ({"performance": "NaN"}, "performance"),
        ({"performance": "much"}, "performance"),
        ({"performance": "0." + "0" * 1000}, "performance"),
        ({"performance": 1}, "performance"),
        ({"entry": {"hostname": None}}, "entry.ws_port"),
        ({"supported_roles": {"mixnode": True}}, "supported_roles.entry"),
    ],
)
def test_what_is_wrong_is_named_with_its_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedTopology) as caught:
        nym_api.parse_nodes_page(json.dumps(body(**changes)))
    assert caught.value.path == f"nodes.data[0].{field}"


@pytest.mark.parametrize(
    ("validity", "seconds", "field"),
    [(0, 3600, "key_rotation_state.validity_epochs"), (24, 0, "epoch_duration")],
)
def test_lengths_that_would_be_divided_by_are_not_zero(validity: int, seconds: int, field: str) -> None:
    document = {
        "key_rotation_state": {"validity_epochs": validity, "initial_epoch_id": 0},
        "current_absolute_epoch_id": 1,
        "current_epoch_start": "2026-01-01T00:00:00Z",
        "epoch_duration": {"secs": seconds, "nanos": 0},
    }
    with pytest.raises(MalformedTopology) as caught:
        nym_api.parse_key_rotation_info(json.dumps(document))
    assert caught.value.path == field


# ---- key rotations --------------------------------------------------------------------------------------


def test_expected_epochs_and_rotations() -> None:
    start = 1_700_000_000
    info = KeyRotationInfo(24, 90, 100, start * 10**9, 3600 * 10**9)
    assert info.epoch_seconds == 3600
    assert info.rotation_seconds == 24 * 3600
    assert info.expected_epoch(start) == 100
    assert info.expected_epoch(start + 3599.9) == 100
    assert info.expected_epoch(start + 3600) == 101
    assert info.expected_epoch(start - 1) == 99
    assert info.expected_epoch(0) == 0
    assert info.expected_rotation(start) == 0
    assert info.expected_rotation(start + 14 * 3600) == 1
    assert info.rotation_of(10) == 0
    assert info.rotation_start_unix(0) == start - 10 * 3600
    assert info.rotation_start_unix(1) == start + 14 * 3600


# ---- filters --------------------------------------------------------------------------------------------


def listed(node_id: int, performance: str, **changes: Any) -> SkimmedNode:
    return replace(NODE, node_id=node_id, identity=bytes([node_id]) * 32, performance=performance, **changes)


def test_nodes_below_the_limits_and_without_addresses_are_left_out() -> None:
    mixnodes = [listed(1, "0.50"), listed(2, "0.4999"), listed(3, "1", ip_addresses=()), listed(4, "1.000")]
    gateways = [
        listed(5, "0.6", entry=EntryInformation(9000)),
        listed(6, "0.79", entry=EntryInformation(9000)),
    ]
    network = build_topology(
        RewardedSet(1, layer1=(1, 2)),
        NodesPage.whole(METADATA, mixnodes),
        NodesPage.whole(METADATA, gateways),
        minimum_gateway_percent=70,
    )
    assert set(network.nodes) == {1, 4, 6}
    assert network.rewarded_set.layer1 == (1, 2)  # everybody shares the same set, whatever they filter
    assert (network.rotation_id, network.absolute_epoch_id) == (7, 100)


def test_an_exit_offers_both_services() -> None:
    def is_exit(**offered: bool) -> bool:
        routing = listed(1, "1", supported_roles=DeclaredRoles(**offered)).routing_node()
        assert routing is not None
        return routing.roles.mixnet_exit

    assert is_exit(exit_nr=True, exit_ipr=True)
    assert not is_exit(exit_nr=True)
    assert not is_exit(exit_ipr=True)


def test_lists_of_different_epochs_do_not_belong_together() -> None:
    for other in (
        replace(METADATA, rotation_id=8),
        replace(METADATA, absolute_epoch_id=101),
        replace(METADATA, status=NO_UPDATES),
    ):
        with pytest.raises(MalformedTopology, match="different epochs"):
            build_topology(RewardedSet(1), NodesPage.whole(METADATA, []), NodesPage.whole(other, []))
    later = NodesPage.whole(replace(METADATA, refreshed_at=5), [])
    assert build_topology(RewardedSet(1), NodesPage.whole(METADATA, []), later).nodes == {}


# ---- described nodes ------------------------------------------------------------------------------------

FULL = DescribedNode(
    node_id=4,
    identity=b"i" * 32,
    sphinx_key=b"s" * 32,
    ip_addresses=("1.2.3.4", "2001:db8::1"),
    roles=DeclaredRoles(entry=True, exit_nr=True, exit_ipr=True),
    rotation_id=7,
    hostname="gw.example",
    mix_port=1790,
    ws_port=9001,
    wss_port=9443,
    country="CH",
    network_requester=NetworkRequester("a.b@c", uses_exit_policy=True),
    ip_packet_router="d.e@f",
    version="1.2.3",
)
BARE = DescribedNode(5, b"j" * 32, b"t" * 32, ())


def test_described_nodes_round_trip() -> None:
    page = described.parse_described_page(described.encode_described_page([FULL, BARE]))
    assert page.nodes == (FULL, BARE)
    assert (page.total, page.page, page.listed) == (2, 0, 2)


def test_one_bad_node_does_not_hide_the_others() -> None:
    document = json.loads(described.encode_described_page([FULL, BARE]))
    document["data"][0]["description"]["host_information"]["keys"]["ed25519"] = "nonsense!"
    page = described.parse_described_page(json.dumps(document))
    assert page.nodes == (BARE,)
    assert page.listed == 2


@pytest.mark.parametrize(
    ("given_", "country"), [("ch", "CH"), (None, None), ("Switzerland", None), (5, None), ("1A", None)]
)
def test_countries(given_: Any, country: str | None) -> None:
    document = json.loads(described.encode_described_page([FULL]))
    document["data"][0]["description"]["auxiliary_details"]["location"] = given_
    assert described.parse_described_page(json.dumps(document)).nodes[0].country == country


def test_old_descriptions_with_little_in_them() -> None:
    document = json.loads(described.encode_described_page([BARE]))
    description = document["data"][0]["description"]
    for name in ("auxiliary_details", "declared_role", "network_requester", "ip_packet_router"):
        del description[name]
    del description["host_information"]["keys"]["current_x25519_sphinx_key"]
    assert described.parse_described_page(json.dumps(document)).nodes == (BARE,)


# ---- times and numbers ----------------------------------------------------------------------------------


@given(moments)
def test_times_round_trip_to_the_nanosecond(moment: int) -> None:
    assert parse_rfc3339(format_rfc3339(moment)) == moment
    assert parse_spaced(format_spaced(moment)) == moment
    assert time_or_epoch(format_spaced(moment)) == moment
    assert from_datetime(to_datetime(moment)) == moment // 1000 * 1000


@pytest.mark.parametrize(
    ("text_", "moment"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T22:30:00.5-01:30", 500_000_000),
        ("1970-01-01 00:00:00.001 +00:00:00", 1_000_000),
        ("1970-01-01 00:00:00.0 +00:00:00", 0),
        ("1970-01-01 02:00:00.0 +02:00:00", 0),
        ("2026-01-01T00:00:00.1234567891234Z", 1_767_225_600_123_456_789),
    ],
)
def test_spellings_of_times(text_: str, moment: int) -> None:
    assert parse_spaced(text_) == moment


@pytest.mark.parametrize(
    "text_", ["", "now", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T25:00:00Z"]
)
def test_what_is_no_time(text_: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text_)
    assert time_or_epoch(text_) == 0


def test_times_are_written_like_the_references() -> None:
    assert format_spaced(1_000_000) == "1970-01-01 00:00:00.001 +00:00:00"
    assert format_spaced(0) == "1970-01-01 00:00:00.0 +00:00:00"
    assert format_rfc3339(0) == "1970-01-01T00:00:00Z"
    assert to_datetime(1_500) == datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("number", "encoded"),
    [
        (250, "fa"),
        (251, "fbfb00"),
        (65535, "fbffff"),
        (65536, "fc00000100"),
        (2**32, "fd0000000001000000"),
    ],
)
def test_varints(number: int, encoded: str) -> None:
    writer = Writer()
    writer.varint(number)
    assert writer.data().hex() == encoded
    reader = Reader(bytes.fromhex(encoded))
    assert reader.varint(2**64 - 1) == number
    reader.end()
    with pytest.raises(ValueError, match="above"):
        Reader(bytes.fromhex(encoded)).varint(number - 1)


def test_malformed_numbers_and_flags() -> None:
    with pytest.raises(ValueError, match="too large"):
        Reader(b"\xfe" + bytes(16)).varint(2**64 - 1)
    with pytest.raises(ValueError, match="no boolean"):
        Reader(b"\x02").flag()
