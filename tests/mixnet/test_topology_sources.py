"""Where topologies come from: a directory on a real socket, with fail-over and pages, and a file."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet.described import (
    PATH_DESCRIBED,
    PATH_DESCRIBED_V1,
    DescribedNode,
    encode_described_page,
)
from nym_mixnet.errors import MalformedTopology, NymApiError, TopologyUnusable
from nym_mixnet.nym_api import (
    NO_UPDATES,
    PATH_ACTIVE_MIXNODES,
    PATH_ENTRY_GATEWAYS,
    PATH_KEY_ROTATION_INFO,
    PATH_REWARDED_SET,
    DeclaredRoles,
    EntryInformation,
    KeyRotationInfo,
    NodesMetadata,
    NodesPage,
    SkimmedNode,
    encode_key_rotation_info,
    encode_nodes_page,
    encode_nodes_page_bincode,
    encode_rewarded_set,
)
from nym_mixnet.topology import RewardedSet, Topology, topology_from_network_json, topology_to_network_json
from nym_mixnet.topology_io import FileSource, NymApiOptions, NymApiSource
from nym_sphinx.addressing import NodeAddress

QUICK = NymApiOptions(request_timeout_seconds=10.0, attempts=2, retry_seconds=0.0)
METADATA = NodesMetadata(absolute_epoch_id=12, rotation_id=3, refreshed_at=1_767_225_600_000_000_000)
REWARDED = RewardedSet(12, entry_gateways=(4,), exit_gateways=(5,), layer1=(1,), layer2=(2,), layer3=(3,))
INFO = KeyRotationInfo(24, 0, 12, 1_767_225_600_000_000_000, 3600 * 10**9)


def node(node_id, performance="1"):
    gateway = node_id > 3
    return SkimmedNode(
        node_id=node_id,
        identity=bytes((node_id,)) * 32,
        ip_addresses=(f"127.0.0.{node_id}",),
        mix_port=1789,
        sphinx_key=bytes((node_id + 100,)) * 32,
        role="EntryGateway" if gateway else node_id,
        supported_roles=DeclaredRoles(not gateway, gateway, gateway, gateway),
        entry=EntryInformation(9000) if gateway else None,
        performance=performance,
    )


MIXNODES = [node(1), node(2), node(3)]
GATEWAYS = [node(4), node(5)]


class Directory:
    """A nym-api whose answers can be replaced. `answers`: path → what makes a response of the page number."""

    def __init__(self):
        self.asked = []
        self.url = ""
        self.answers = {
            PATH_REWARDED_SET: lambda _: json_response(encode_rewarded_set(REWARDED)),
            PATH_ACTIVE_MIXNODES: lambda _: nodes_response(MIXNODES),
            PATH_ENTRY_GATEWAYS: lambda _: nodes_response(GATEWAYS),
            PATH_KEY_ROTATION_INFO: lambda _: json_response(encode_key_rotation_info(INFO)),
        }

    async def answer(self, request):
        page = int(request.query["page"]) if "page" in request.query else None
        path = request.path.removeprefix("/api")
        self.asked.append((path, page))
        if path not in self.answers:
            return web.Response(status=404)
        return self.answers[path](page)

    def always(self, response):
        for path in self.answers:
            self.answers[path] = lambda _: response()


def json_response(text):
    return web.Response(text=text, content_type="application/json")


def nodes_response(nodes, metadata=METADATA, total=None, page=0):
    total = len(nodes) if total is None else total
    return json_response(encode_nodes_page(NodesPage(metadata, tuple(nodes), total, page)))


@asynccontextmanager
async def serving(directory):
    app = web.Application()
    app.router.add_get("/{path:.*}", directory.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        directory.url = f"http://{host}:{port}/api"
        yield directory
    finally:
        await runner.cleanup()


@pytest.fixture
async def directory():
    async with serving(Directory()) as running:
        yield running


class InOrder(random.Random):
    """Leaves the addresses in the order in which they are given."""

    def shuffle(self, x):
        pass


def source(*urls, options=QUICK):
    return NymApiSource(urls, options=options, rng=InOrder(1))


@pytest.fixture
def unreachable():
    return "http://127.0.0.1:1"  # nobody listens there, and no other process of ours can


# --- one directory -------------------------------------------------------------------------------------


async def test_a_topology(directory):
    topology = await source(directory.url + "/").fetch()
    assert (topology.rotation_id, topology.absolute_epoch_id) == (3, 12)
    assert topology.rewarded_set == REWARDED
    assert topology.refreshed_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert topology.nodes == {n.node_id: n.routing_node() for n in MIXNODES + GATEWAYS}
    assert topology.nodes[4].mix_host == NodeAddress(ip_address("127.0.0.4"), 1789)
    topology.random_route(bytes((5,)) * 32, random.Random(1))
    assert directory.asked == [
        (PATH_REWARDED_SET, None),
        (PATH_ACTIVE_MIXNODES, 0),
        (PATH_ENTRY_GATEWAYS, 0),
    ]


async def test_key_rotation_info(directory):
    assert await source(directory.url).key_rotation_info() == INFO


async def test_a_list_in_bincode(directory):
    directory.answers[PATH_ACTIVE_MIXNODES] = lambda _: web.Response(
        body=encode_nodes_page_bincode(NodesPage.whole(METADATA, MIXNODES)),
        content_type="application/bincode",
    )
    assert set((await source(directory.url).fetch()).nodes) == {1, 2, 3, 4, 5}


async def test_slow_nodes_are_left_out(directory):
    directory.answers[PATH_ACTIVE_MIXNODES] = lambda _: nodes_response([*MIXNODES, node(6, "0.49")])
    directory.answers[PATH_ENTRY_GATEWAYS] = lambda _: nodes_response([*GATEWAYS, node(7, "0.6")])
    assert set((await source(directory.url).fetch()).nodes) == {1, 2, 3, 4, 5, 7}
    strict = NymApiOptions(minimum_mixnode_percent=40, minimum_gateway_percent=61)
    assert set((await source(directory.url, options=strict).fetch()).nodes) == {1, 2, 3, 4, 5, 6}


# --- pages ---------------------------------------------------------------------------------------------


async def test_pages_are_put_together(directory):
    directory.answers[PATH_ACTIVE_MIXNODES] = lambda page: nodes_response(
        [MIXNODES[page]], total=3, page=page
    )
    assert set((await source(directory.url).fetch()).nodes) == {1, 2, 3, 4, 5}
    assert [page for path, page in directory.asked if path == PATH_ACTIVE_MIXNODES] == [0, 1, 2]


@pytest.mark.parametrize(
    "second_page, path",
    [
        (lambda: nodes_response([], total=3), "nodes.pagination.total"),
        (
            lambda: nodes_response(MIXNODES[1:], NodesMetadata(13, 3, METADATA.refreshed_at)),
            "metadata",
        ),
        (
            lambda: nodes_response([], NodesMetadata(12, 3, METADATA.refreshed_at, NO_UPDATES)),
            "metadata.status",
        ),
        (lambda: json_response("{}"), "nodes"),
    ],
)
async def test_pages_that_do_not_fit(directory, second_page, path):
    directory.answers[PATH_ACTIVE_MIXNODES] = lambda page: (
        second_page() if page else nodes_response(MIXNODES[:1], total=3)
    )
    with pytest.raises(MalformedTopology) as caught:
        await source(directory.url).fetch()
    assert caught.value.path == path
    assert f"{directory.url}{PATH_ACTIVE_MIXNODES}" in str(caught.value)


async def test_lists_of_two_epochs(directory):
    later = NodesMetadata(13, 3, METADATA.refreshed_at)
    directory.answers[PATH_ENTRY_GATEWAYS] = lambda _: nodes_response(GATEWAYS, later)
    with pytest.raises(MalformedTopology, match="different epochs"):
        await source(directory.url).fetch()


async def test_described_nodes_by_pages(directory):
    described = [DescribedNode(i, bytes((i,)) * 32, bytes((i,)) * 32, ("127.0.0.1",)) for i in range(1, 6)]

    def page_of(page):
        text = encode_described_page(described[2 * page : 2 * page + 2])
        return json_response(text.replace('"total":2', '"total":5').replace('"total":1', '"total":5'))

    directory.answers[PATH_DESCRIBED] = page_of
    assert await source(directory.url).described_nodes() == described
    assert directory.asked == [(PATH_DESCRIBED, page) for page in range(3)]


async def test_described_nodes_of_a_directory_that_has_only_the_older_route(directory):
    described = [DescribedNode(1, bytes(32), bytes(32), ("127.0.0.1",))]
    directory.answers[PATH_DESCRIBED_V1] = lambda _: json_response(encode_described_page(described))
    assert await source(directory.url).described_nodes() == described
    assert directory.asked == [(PATH_DESCRIBED, 0), (PATH_DESCRIBED_V1, 0)]


# --- what goes wrong, and fail-over --------------------------------------------------------------------


@pytest.mark.parametrize(
    "response, kind, says",
    [
        (lambda: web.Response(status=404), NymApiError, "does not exist there: is this the address"),
        (lambda: web.Response(status=500, text="no\x1b[31m luck"), NymApiError, "answered 500: no\ufffd"),
        (lambda: web.Response(text=""), NymApiError, "empty body"),
        (lambda: web.Response(text="x" * 200), NymApiError, "more than 100 bytes"),
        (lambda: web.Response(text="<html>"), MalformedTopology, "not valid JSON"),
        (lambda: json_response('{"epoch_id":-1}'), MalformedTopology, "entry_gateways: missing"),
        (
            lambda: json_response(encode_rewarded_set(REWARDED).replace(":12", ":-1")[:100]),
            MalformedTopology,
            "not valid JSON",
        ),
    ],
)
async def test_bad_answers_are_told_with_their_address(directory, response, kind, says):
    directory.always(response)
    limited = NymApiOptions(attempts=2, retry_seconds=0.0, body_limit_bytes=100)
    with pytest.raises(kind) as caught:
        await source(directory.url, options=limited).fetch()
    assert says in str(caught.value)
    assert directory.url + PATH_REWARDED_SET in str(caught.value)
    assert len(directory.asked) == limited.attempts
    assert "\x1b" not in str(caught.value)


async def test_the_field_of_a_bad_answer_is_named(directory):
    bad = encode_nodes_page(NodesPage.whole(METADATA, MIXNODES)).replace('"mix_port":1789', '"mix_port":"x"')
    directory.answers[PATH_ACTIVE_MIXNODES] = lambda _: json_response(bad)
    with pytest.raises(MalformedTopology) as caught:
        await source(directory.url).fetch()
    assert caught.value.path == "nodes.data[0].mix_port"


async def test_the_next_address_takes_over_and_stays(directory, unreachable):
    async with serving(Directory()) as broken:
        broken.always(lambda: web.Response(status=503))
        nym_api = source(unreachable, broken.url, directory.url)
        assert set((await nym_api.fetch()).nodes) == {1, 2, 3, 4, 5}
        assert nym_api.current_url == directory.url
        assert len(broken.asked) == 1
        await nym_api.fetch()
        assert len(broken.asked) == 1  # the one that works is asked first from now on


@pytest.mark.parametrize(
    "written", ["9999-12-31 23:59:59.0 -23:59:00", "0001-01-01 00:00:00.0 +00:01:00", "now"]
)
async def test_a_time_outside_the_calendar_is_1970(directory, written):
    text = encode_nodes_page(NodesPage.whole(METADATA, MIXNODES))
    directory.answers[PATH_ACTIVE_MIXNODES] = lambda _: json_response(
        text.replace("2026-01-01 00:00:00.0 +00:00:00", written)
    )
    assert (await source(directory.url).fetch()).refreshed_at == datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("written", ["9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+00:01", "now"])
async def test_an_epoch_outside_the_calendar_is_refused(directory, written):
    text = encode_key_rotation_info(INFO).replace("2026-01-01T00:00:00Z", written)
    directory.answers[PATH_KEY_ROTATION_INFO] = lambda _: json_response(text)
    with pytest.raises(MalformedTopology) as caught:
        await source(directory.url).key_rotation_info()
    assert caught.value.path == "current_epoch_start"


async def test_a_failure_in_the_middle_starts_over_elsewhere(directory):
    async with serving(Directory()) as broken:
        broken.answers[PATH_ENTRY_GATEWAYS] = lambda _: json_response("[]")
        await source(broken.url, directory.url).fetch()
        assert directory.asked[0] == (PATH_REWARDED_SET, None)


async def test_an_unusable_topology_counts_as_a_failure(directory):
    async with serving(Directory()) as empty:
        empty.answers[PATH_ACTIVE_MIXNODES] = lambda _: nodes_response([])
        assert (await source(empty.url, directory.url).fetch()).nodes
        with pytest.raises(TopologyUnusable):
            await source(empty.url).fetch()


async def test_all_addresses_fail(unreachable):
    with pytest.raises(NymApiError, match=r"http://127\.0\.0\.1:1/.* cannot be reached") as caught:
        await source(unreachable, unreachable + "/other").fetch()
    assert caught.value.retryable


async def test_it_comes_back_at_the_second_attempt(directory):
    good = directory.answers[PATH_KEY_ROTATION_INFO]

    def at_first(_):
        directory.answers[PATH_KEY_ROTATION_INFO] = good
        return web.Response(status=502)

    directory.answers[PATH_KEY_ROTATION_INFO] = at_first
    assert await source(directory.url).key_rotation_info() == INFO
    assert len(directory.asked) == 2


def test_addresses_are_shuffled_and_must_be_given():
    urls = [f"http://127.0.0.1:{port}" for port in range(1, 9)]
    first = {NymApiSource(urls, rng=random.Random(seed)).current_url for seed in range(40)}
    assert len(first) > 3
    with pytest.raises(NymApiError, match="no nym-api address"):
        NymApiSource([])


# --- files ---------------------------------------------------------------------------------------------

TOPOLOGY = Topology(
    3,
    12,
    datetime(2026, 1, 1, tzinfo=UTC),
    REWARDED,
    {n.node_id: n.routing_node() for n in MIXNODES + GATEWAYS},  # type: ignore[misc]
)
TEXT = topology_to_network_json(TOPOLOGY)


async def test_a_file_is_read_anew(tmp_path):
    path = tmp_path / "network.json"
    path.write_text(TEXT)
    file = FileSource(path)
    assert await file.fetch() == TOPOLOGY
    path.write_text(TEXT.replace('"key_rotation_id":3', '"key_rotation_id":4'))
    assert (await file.fetch()).rotation_id == 4
    assert await file.key_rotation_info() is None
    assert await file.described_nodes() == []


@pytest.mark.parametrize(
    "old, new, field",
    [
        ('"node_id":2', '"node_id":"2"', "node_details.2.node_id"),
        ("127.0.0.3:1789", "localhost:1789", "node_details.3.mix_host"),
        ('"clients_ws_port":9000', '"clients_ws_port":70000', "node_details.4.entry.clients_ws_port"),
        ('"layer1":[1]', '"layer1":[1,-1]', "rewarded_set.layer1[1]"),
        ("2026-01-01T00:00:00Z", "yesterday", "metadata.refreshed_at"),
        ('"epoch_id":12', '"epoch":12', "rewarded_set.epoch_id"),
    ],
)
async def test_a_wrong_file_is_named_with_its_field(tmp_path, old, new, field):
    path = tmp_path / "network.json"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(MalformedTopology) as caught:
        await FileSource(path).fetch()
    assert caught.value.path == field
    assert str(caught.value).startswith(f"{path}: {field}: ")


async def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "network.json"
    with pytest.raises(MalformedTopology, match=r"network\.json: cannot be read: No such file"):
        await FileSource(path).fetch()
    with pytest.raises(MalformedTopology, match="cannot be read: Is a directory"):
        await FileSource(tmp_path).fetch()
    path.write_text(TEXT)
    with pytest.raises(MalformedTopology, match="larger than 10 bytes"):
        await FileSource(path, limit_bytes=10).fetch()
    assert await FileSource(path, limit_bytes=len(TEXT)).fetch() == TOPOLOGY
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedTopology, match="not valid JSON"):
        await FileSource(path).fetch()


@given(st.integers(0, len(TEXT) - 1), st.sampled_from('"{}[],:0-9e.\\ux\n'), st.booleans())
def test_any_damaged_file_is_read_or_refused(position, character, cut):
    text = TEXT[:position] if cut else TEXT[:position] + character + TEXT[position + 1 :]
    try:
        topology_from_network_json(text)
    except MalformedTopology:
        pass
    else:
        assert not cut
