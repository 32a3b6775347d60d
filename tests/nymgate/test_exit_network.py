"""Exits of a real local network: choice by country and score, fail-over, policies, restarts, and what is listed."""

import asyncio
import contextlib
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from nym_exit.errors import ExitStalled
from nym_exit.facade_io import AsyncStream
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_mixnet.store_io import remembered_gateway
from nym_sphinx import Recipient, b58encode
from nymgate import wiring
from nymgate.cli import app
from nymgate.config_layers import load
from nymgate.daemon import Proxy
from nymgate.errors import ConfigError, Reply
from nymgate.exits.pool import PoolLimits
from nymgate.ways.upstream_io import UpstreamOptions
from tests.nymgate.socks_client import through

HTTPS_ONLY = "ExitPolicy accept *:443\nExitPolicy reject *:*"
COUNTRIES = {"gateway1": "US", "gateway2": "CH", "gateway3": "DE", "gateway4": "CH"}


@pytest.fixture(scope="module")
def network():
    """exit1 is at gateway4 (CH) and permits port 443 only, exit2 at gateway3 (DE), exit3 at gateway2 (CH)."""
    options = LocalnetOptions(
        mode=Mode.PROCESSES,
        gateways=4,
        exits=3,
        countries=COUNTRIES,
        performances={"gateway3": 0.83},
        exit_policies={"exit1": HTTPS_ONLY},
    )
    with BackgroundLocalnet(options) as background:
        yield background


@pytest.fixture(autouse=True)
def healthy(network):
    yield
    for handle in network.net.nodes.values():
        handle.loss, handle.stall, handle.refuse = 0.0, False, False


def identity_of(network, name):
    node_id = network.net.nodes[name].plan.node_id
    return next(node.identity for node in network.net.gateways if node.node_id == node_id)


def exit_of(network, connected):
    """Name of the exit in use."""
    addresses = network.net.exit_addresses
    return f"exit{addresses.index(str(connected.exit.recipient)) + 1}"


def plan_for(network, folder, **flags):
    settings = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "mixnet.profile": "uncovered",
        "mixnet.entry": b58encode(identity_of(network, "gateway1")),
    }
    return wiring.make_plan(load(environ={"HOME": str(folder)}, flags=settings | flags).config, folder)


@contextlib.asynccontextmanager
async def proxy_on(network, folder, **flags):
    async with Proxy(plan_for(network, folder, **flags)) as proxy, asyncio.timeout(100):
        await proxy.ready()
        yield proxy


@contextlib.asynccontextmanager
async def echo():
    """A server that sends back what it gets; yields its port.

    It hangs up at its end: a silent exit keeps its connections, and a server may wait for them.
    """
    writers = set()

    async def serve(reader, writer):
        writers.add(writer)
        try:
            while data := await reader.read(4096):
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in writers:
                writer.transport.abort()


async def say(proxy, port, host="127.0.0.1"):
    """SOCKS reply, and whether an echo came back."""
    async with through(proxy.addresses[0][1], host, port) as (reader, writer, code):
        if code != Reply.SUCCEEDED:
            return code, False
        writer.write(b"hello")
        return code, await reader.readexactly(5) == b"hello"


async def set_stall(network, name, stalled):
    """Returns when it is in force: the worker carries out one thing after the other."""
    network.net.nodes[name].stall = stalled
    await network_counters(network, name)


@pytest.mark.parametrize("wish, possible", [("country:DE", {"exit2"}), ("country:ch,FR", {"exit1", "exit3"})])
async def test_an_exit_by_country(network, tmp_path, wish, possible):
    async with proxy_on(network, tmp_path, **{"mixnet.exit": wish}) as proxy:
        assert exit_of(network, proxy.connected) in possible
        assert {state.country for state in proxy.connected.exit.exits()} <= {"CH", "DE"}


async def test_an_exit_by_the_identity_of_its_gateway(network, tmp_path):
    wish = b58encode(identity_of(network, "gateway3"))
    async with proxy_on(network, tmp_path, **{"mixnet.exit": wish}) as proxy:
        assert exit_of(network, proxy.connected) == "exit2"


async def test_an_entry_by_country_leaves_an_exit_elsewhere(network, tmp_path):
    flags = {"mixnet.entry": "country:DE", "mixnet.exit": "auto"}
    async with proxy_on(network, tmp_path, **flags) as proxy:
        assert proxy.connected.entry.identity == identity_of(network, "gateway3")
        assert exit_of(network, proxy.connected) != "exit2"
        assert remembered_gateway(tmp_path / "localnet") == identity_of(network, "gateway3"), "while it runs"
    async with proxy_on(network, tmp_path, **{"mixnet.entry": "country:US"}) as proxy:
        assert proxy.connected.entry.identity == identity_of(network, "gateway1"), "not the remembered one"


def test_entry_and_exit_at_one_gateway_are_refused(network, tmp_path):
    wish = b58encode(identity_of(network, "gateway3"))
    with pytest.raises(ConfigError, match="same gateway"):
        plan_for(network, tmp_path, **{"mixnet.entry": wish, "mixnet.exit": wish})


@pytest.mark.parametrize(
    "flags, layer, reason",
    [
        ({"mixnet.exit": "country:FR"}, "exit", "no exit in FR; there are some in CH, DE"),
        ({"mixnet.entry": "country:FR"}, "gateway", "no entry gateway in FR; there are some in CH, DE, US"),
    ],
)
async def test_no_node_matches(network, tmp_path, monkeypatch, flags, layer, reason):
    monkeypatch.setattr(wiring, "upstream_options", lambda _plan: UpstreamOptions(link_wait_seconds=0.5))
    async with Proxy(plan_for(network, tmp_path, **flags)) as proxy:
        async with asyncio.timeout(60):
            while reason not in proxy.upstream.missing[1]:  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(0.05)
        assert proxy.upstream.missing[0] == layer
        code, _ = await say(proxy, 9)
        assert code == Reply.NETWORK_UNREACHABLE


@pytest.mark.slow
async def test_streams_move_to_another_exit_when_theirs_falls_silent(network, tmp_path):
    async with echo() as port, proxy_on(network, tmp_path, **{"mixnet.exit": "country:CH,DE"}) as proxy:
        pool = proxy.connected.exit
        async with asyncio.timeout(60):  # exit1 permits nothing of use here: take one of the others
            while exit_of(network, proxy.connected) == "exit1":
                pool.roster.doubt(pool.roster.current, "the test says so")
                await asyncio.sleep(0.2)
        assert await say(proxy, port) == (Reply.SUCCEEDED, True)
        first = exit_of(network, proxy.connected)
        old = AsyncStream(await pool.open("127.0.0.1", port))
        await set_stall(network, first, True)
        assert await say(proxy, port) == (Reply.SUCCEEDED, True), "within the time that connecting may take"
        states = {state.address: state for state in pool.exits()}
        silent = states[network.net.exit_addresses[int(first[-1]) - 1]]
        assert silent.state == "down"
        assert silent.streams >= 1, "the old one stays; one that is being given up may still be there"
        await set_stall(network, first, False)
        await old.write(b"still there")
        assert await old.read(5), "an exit that comes back goes on with its streams"
        old.abort()


@pytest.mark.slow
async def test_streams_of_an_exit_that_is_gone_end_with_its_layer(network, tmp_path, monkeypatch):
    usual = PoolLimits()
    monkeypatch.setattr(wiring, "pool_limits", lambda _plan: replace(usual, gone=4.0, quiet=2.0))
    async with (
        echo() as port,
        proxy_on(network, tmp_path, **{"mixnet.exit": "country:DE"}) as proxy,
        through(proxy.addresses[0][1], "127.0.0.1", port) as (reader, writer, code),
    ):
        assert code == Reply.SUCCEEDED
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        old = AsyncStream(await proxy.connected.exit.open("127.0.0.1", port))
        await set_stall(network, "exit2", True)
        with pytest.raises(ExitStalled) as ended:
            await old.read()
        assert (ended.value.code, ended.value.layer) == ("E_EXIT_STALLED", "exit")
        with pytest.raises(ConnectionResetError):  # never a clean end: the answer may be cut short
            await reader.read()


async def test_an_exit_that_is_started_anew_is_used_again(network, tmp_path):
    flags = {"mixnet.exit": network.net.exit_addresses[1]}
    async with echo() as port, proxy_on(network, tmp_path, **flags) as proxy:
        assert await say(proxy, port) == (Reply.SUCCEEDED, True)
        await asyncio.to_thread(network.do, network.net.nodes["exit2"].restart())
        async with asyncio.timeout(60):
            while await say(proxy, port) != (Reply.SUCCEEDED, True):
                pass


async def test_a_port_that_the_exit_in_use_does_not_permit_goes_to_another(network, tmp_path):
    async with echo() as port, proxy_on(network, tmp_path) as proxy:
        pool = proxy.connected.exit
        strict = Recipient.parse(network.net.exit_addresses[0])
        member = pool.roster.member(next(r for r in pool.roster.usable() if r.recipient == strict))
        pool.roster._adopt(member)
        await member.read_policy()
        before = (await network_counters(network, "exit1"))["connects"]
        assert await say(proxy, port) == (Reply.SUCCEEDED, True)
        assert exit_of(network, proxy.connected) == "exit1", "for everything else it stays"
        assert (await network_counters(network, "exit1"))["connects"] == before


async def network_counters(network, name):
    counters = await asyncio.to_thread(network.do, network.net.nodes[name].counters())
    return counters["exit"]


async def test_a_port_that_nobody_permits_is_refused_at_once(network, tmp_path):
    flags = {"mixnet.exit": network.net.exit_addresses[0]}
    async with proxy_on(network, tmp_path, **flags) as proxy:
        await proxy.connected.exit.roster.current.read_policy()
        assert await say(proxy, 80) == (Reply.NOT_ALLOWED, False)
        assert proxy.connected.exit.stats.refused_beforehand == 1


@pytest.mark.slow
async def test_streams_are_refused_when_no_exit_is_left_and_the_pool_recovers(network, tmp_path):
    flags = {"mixnet.exit": "country:DE", "streams.connect_timeout": "20s"}
    async with echo() as port, proxy_on(network, tmp_path, **flags) as proxy:
        assert await say(proxy, port) == (Reply.SUCCEEDED, True)
        await set_stall(network, "exit2", True)
        assert await say(proxy, port) == (Reply.TTL_EXPIRED, False), "E_EXIT_SILENT"
        async with asyncio.timeout(60):
            while await say(proxy, port) != (Reply.NETWORK_UNREACHABLE, False):  # noqa: ASYNC110 - a state
                await asyncio.sleep(0.5)
        await set_stall(network, "exit2", False)
        async with asyncio.timeout(60):
            while await say(proxy, port) != (Reply.SUCCEEDED, True):  # noqa: ASYNC110 - a state
                await asyncio.sleep(0.5)


# The commands.


def call(network, home, *words):
    flags = ["--network", str(network.net.data_dir / "localnet.toml")]
    return CliRunner().invoke(app, [*words, *flags], env={"HOME": str(home)})


def test_exits_are_listed(network, tmp_path):
    result = call(network, tmp_path, "exits", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.output)
    assert {(row["country"], row["performance_percent"], row["usable"]) for row in rows} == {
        ("CH", 100, True),
        ("DE", 83, True),
    }
    assert {row["address"] for row in rows} == set(network.net.exit_addresses)
    text = call(network, tmp_path, "exits", "--country", "de").output
    assert b58encode(identity_of(network, "gateway3")) in text
    assert len(text.strip().splitlines()) == 2
    assert call(network, tmp_path, "exits", "--country", "Germany").exit_code == 2
    assert "no exits here" in call(network, tmp_path, "exits", "--country", "FR").output


def test_gateways_are_listed_by_country(network, tmp_path):
    rows = json.loads(call(network, tmp_path, "gateways", "--country", "us,de", "--json").output)
    assert [(row["country"], row["performance_percent"]) for row in rows] == [("DE", 83), ("US", 100)]


@pytest.mark.slow
def test_exits_are_probed(network, tmp_path):
    network.net.nodes["exit3"].stall = True
    result = call(network, tmp_path, "exits", "--probe", "--json")
    assert result.exit_code == 0, result.stderr
    rows = {row["address"]: row for row in json.loads(result.output)}
    strict, open_, silent = (rows[address] for address in network.net.exit_addresses)
    asked = [row for row in rows.values() if "answers" in row]
    assert len(asked) >= 2, "at most one is at the gateway that this took as entry"
    if "answers" in strict:
        assert strict["ports"]["permitted"] == [443]
    if "answers" in open_:
        assert 80 in open_["ports"]["permitted"]
        assert open_["latency_seconds"] > 0
    if "answers" in silent:
        assert (silent["answers"], silent["ports"]) == (False, None)
