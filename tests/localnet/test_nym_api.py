"""The directory: every route of docs/protocol/04 §10, in the shapes that the reference writes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest

from nym_localnet.directory import Directory, PublishedNode
from nym_localnet.epochs import EpochClock
from nym_localnet.nym_api_io import NymApi
from nym_localnet.options import ExternalNode
from nym_mixnet.described import parse_described_page
from nym_mixnet.errors import NymApiError
from nym_mixnet.nym_api import (
    EntryInformation,
    NoiseKey,
    build_topology,
    parse_addresses_response,
    parse_key_rotation_info,
    parse_nodes_page,
    parse_nodes_page_bincode,
    parse_rewarded_set,
    parse_semi_skimmed,
)
from nym_mixnet.topology import topology_from_network_json, topology_to_network_json
from nym_mixnet.topology_io import NymApiOptions, NymApiSource
from nym_sphinx import b58encode
from tests.vector_files import load

NOW = 1_800_000_123.0
LOOPBACK = "127.0.0.1"
SKIMMED = "/v2/unstable/nym-nodes/skimmed"
EXIT = "3DbZGVNRcGSXK2cB5cnvWqyHWCxYBqr1KrJmrPrfWuJd.8AuRM9mE1sZHxSNWnFuoQhZrS5oTHDhVjsGHBKeyMBqQ@" + "1" * 32


def node(number: int, **changes: Any) -> PublishedNode:
    plain = PublishedNode(
        node_id=number,
        identity=bytes([number]) * 32,
        sphinx_key=bytes([number + 100]) * 32,
        ip=f"127.0.0.{number}",
        mix_port=1000 + number,
    )
    return replace(plain, **changes)


def make_directory() -> Directory:
    clock = EpochClock.starting(3, NOW, epoch_seconds=3600, validity_epochs=24)
    return Directory(
        clock,
        [
            node(1, layer=1),
            node(2, layer=2),
            node(3, layer=3, noise_key=NoiseKey(1, bytes([9]) * 32)),
            node(4, entry=EntryInformation(9000)),
            node(5, entry=EntryInformation(9001), requester=EXIT),
        ],
        sphinx_key=lambda node_id, rotation: bytes([rotation]) * 32 if node_id == 1 else None,
    )


class Served:
    def __init__(self, api: NymApi, session: aiohttp.ClientSession) -> None:
        self.api = api
        self.session = session
        self.url = f"http://{LOOPBACK}:{api.port}"

    async def get(self, path: str, **query: str) -> aiohttp.ClientResponse:
        response = await self.session.get(self.url + path, params=query)
        await response.read()
        return response

    async def text(self, path: str, **query: str) -> str:
        response = await self.get(path, **query)
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        return await response.text()


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    api = NymApi(make_directory(), clock=lambda: NOW + 7200.5)
    await api.start(LOOPBACK, 0)
    try:
        async with aiohttp.ClientSession() as session:
            yield Served(api, session)
    finally:
        await api.close()


def fits(ours: Any, theirs: Any) -> bool:
    """True if `ours` has the keys and types of `theirs`; null may stand for anything optional."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(fits(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return not theirs or all(any(fits(item, other) for other in theirs) for item in ours)
    return ours is None or theirs is None or type(ours) is type(theirs)


@pytest.mark.vectors
@pytest.mark.parametrize(
    ("vector", "path"),
    [
        ("key_rotation_info_json_text", "/v1/epoch/key-rotation-info"),
        ("rewarded_set_json_text", "/v1/nym-nodes/rewarded-set"),
        ("skimmed_v2_active_json_text", f"{SKIMMED}/mixnodes/active"),
        ("skimmed_v2_active_json_text", f"{SKIMMED}/entry-gateways"),
        ("skimmed_v2_all_json_text", SKIMMED),
        ("semi_skimmed_v2_json_text", "/v2/unstable/nym-nodes/semi-skimmed"),
    ],
)
async def test_bodies_have_the_shape_of_the_references(vector: str, path: str) -> None:
    theirs = json.loads(load("gateway")["nym_api"][vector])
    async with serving() as served:
        ours = json.loads(await served.text(path, page="0"))
    assert fits(ours, theirs), (ours, theirs)


def test_the_shape_comparison_notices_differences() -> None:
    body = {"a": [{"b": 1}], "c": None}
    assert fits(body, {"a": [{"b": 2}, {"b": 3}], "c": "text"})
    for other in ({"a": [{"b": 1}]}, {"a": [{"b": "1"}], "c": None}, {"a": [{"x": 1}], "c": None}):
        assert not fits(body, other)


async def test_every_body_can_be_read_back() -> None:
    async with serving() as served:
        info = parse_key_rotation_info(await served.text("/v1/epoch/key-rotation-info"))
        assert info.current_absolute_epoch_id == 3 * 24 + 2
        assert info.expected_rotation(NOW + 7200) == 3
        rewarded = parse_rewarded_set(await served.text("/v1/nym-nodes/rewarded-set"))
        assert (rewarded.layer1, rewarded.layer2, rewarded.layer3) == ((1,), (2,), (3,))
        assert (rewarded.entry_gateways, rewarded.exit_gateways) == ((4, 5), (5,))
        mixnodes = parse_nodes_page(await served.text(f"{SKIMMED}/mixnodes/active"))
        assert [each.role for each in mixnodes.nodes] == [1, 2, 3]
        assert mixnodes.nodes[0].sphinx_key == bytes([3]) * 32  # the key of the rotation
        gateways = parse_nodes_page(await served.text(f"{SKIMMED}/entry-gateways"))
        assert [each.role for each in gateways.nodes] == ["EntryGateway", "ExitGateway"]
        every = parse_nodes_page(await served.text(SKIMMED, page="0"))
        assert every.total == len(every.nodes) == 5
        assert every.metadata.status is None
        _, semi = parse_semi_skimmed(await served.text("/v2/unstable/nym-nodes/semi-skimmed"))
        assert [each.noise_key is not None for each in semi] == [False, False, True, False, False]
        build_topology(rewarded, mixnodes, gateways).ensure_usable()
        for version in ("v1", "v2"):
            described = parse_described_page(await served.text(f"/{version}/nym-nodes/described"))
            found = [each.network_requester for each in described.nodes if each.network_requester]
            assert [requester.address for requester in found] == [EXIT]
            assert described.nodes[3].ws_port == 9000


async def test_bincode_where_it_is_asked_for() -> None:
    async with serving() as served:
        for path in (SKIMMED, f"{SKIMMED}/mixnodes/active", f"{SKIMMED}/entry-gateways"):
            response = await served.get(path, output="bincode")
            assert response.content_type == "application/bincode"
            page = parse_nodes_page_bincode(await response.read())
            assert page == parse_nodes_page(await served.text(path))
        assert await served.text("/v1/nym-nodes/rewarded-set", output="bincode")


async def test_roles_and_known_epochs() -> None:
    async with serving() as served:
        ids = {}
        for role in ("active-mixnode", "entry-gateway", "gateway", "exit"):
            page = parse_nodes_page(await served.text(SKIMMED, role=role))
            ids[role] = [each.node_id for each in page.nodes]
        assert ids == {"active-mixnode": [1, 2, 3], "entry-gateway": [4, 5], "gateway": [4, 5], "exit": [5]}
        assert (await served.get(SKIMMED, role="nonsense")).status == 400
        known = parse_nodes_page(await served.text(f"{SKIMMED}/mixnodes/active", epoch_id=str(3 * 24 + 2)))
        assert (known.nodes, known.metadata.status) == ((), "no-updates")
        other = parse_nodes_page(await served.text(f"{SKIMMED}/mixnodes/active", epoch_id="1"))
        assert len(other.nodes) == 3


async def test_active_mixnodes_say_when_they_expire() -> None:
    async with serving() as served:
        response = await served.get(f"{SKIMMED}/mixnodes/active")
        assert parsedate_to_datetime(response.headers["Expires"]).timestamp() == NOW + 3 * 3600 + 120
        assert "Expires" not in (await served.get(SKIMMED)).headers


async def test_nodes_by_addresses() -> None:
    async with serving() as served:
        url = f"{served.url}/v1/unstable/nym-nodes/by-addresses"
        async with served.session.post(url, json={"addresses": ["127.0.0.4", "10.0.0.1"]}) as response:
            found = parse_addresses_response(await response.text())
        assert found == {"127.0.0.4": 4, "10.0.0.1": None}
        async with served.session.post(url, data=b"nonsense") as response:
            assert response.status == 422


async def test_a_node_asks_to_be_looked_at() -> None:
    async with serving() as served:
        url = f"{served.url}/v1/nym-nodes/refresh-described"
        body = {"node_identity": b58encode(bytes([2]) * 32), "request_timestamp": 1, "signature": "x"}
        async with served.session.post(url, json=body) as response:
            assert (response.status, await response.text()) == (200, "null")
        async with served.session.post(url, json=body | {"node_identity": "unknown"}) as response:
            assert response.status == 404
            assert "message" in await response.json()
        async with served.session.post(url, json={}) as response:
            assert response.status == 422


async def test_other_paths_are_refused_in_json() -> None:
    async with serving() as served:
        for path in ("/", "/v1/nonsense", "/v2/unstable/nym-nodes"):
            response = await served.get(path)
            assert response.status == 404
            assert "message" in await response.json()
        async with served.session.post(served.url + SKIMMED) as response:
            assert response.status == 405


async def test_a_client_gets_its_topology_and_notices_a_failing_directory() -> None:
    async with serving() as served:
        source = NymApiSource([served.url], options=NymApiOptions(attempts=1))
        hasty = NymApiSource([served.url], options=NymApiOptions(attempts=1, request_timeout_seconds=0.3))
        topology = await source.fetch()
        topology.ensure_usable()
        assert topology.rotation_id == 3
        served.api.faults.refuse = True
        with pytest.raises(NymApiError):
            await source.fetch()
        served.api.faults.refuse = False
        served.api.set_stall(True)
        with pytest.raises(NymApiError):
            await hasty.fetch()
        served.api.set_stall(False)
        async with asyncio.timeout(60):
            assert await source.fetch()


def test_the_topology_file() -> None:
    directory = make_directory()
    topology = directory.topology(NOW)
    topology.ensure_usable()
    assert topology_from_network_json(topology_to_network_json(topology)) == topology
    assert topology.nodes[5].roles.mixnet_exit
    assert not topology.nodes[4].roles.mixnet_exit
    directory.announce_requester(4, EXIT)
    assert directory.topology(NOW).nodes[4].roles.mixnet_exit


def test_nodes_of_somebody_else_are_published() -> None:
    outside = ExternalNode(
        identity=b58encode(bytes([7]) * 32),
        sphinx_key=b58encode(bytes([8]) * 32),
        mix_port=1789,
        ws_port=9000,
        noise_key=b58encode(bytes([9]) * 32),
        network_requester=EXIT,
    )
    published = PublishedNode.external(outside, 77)
    assert (published.node_id, published.entry, published.role) == (77, EntryInformation(9000), "ExitGateway")
    assert published.noise_key == NoiseKey(1, bytes([9]) * 32)
    directory = make_directory()
    directory.publish(published)
    assert directory.node(77).requester == EXIT
    assert directory.ids_of_addresses(["127.0.0.1"]) == {"127.0.0.1": 1}
