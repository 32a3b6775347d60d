"""Several mixnet identities over a real network: exits and gateways see nothing that two callers have in common."""

import asyncio
import contextlib
import logging
import shutil
import subprocess
import threading
from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from nym_exit.codec import Connect, RequestMessage, Send
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.gateway_connection_io import GatewayConnection
from nym_localnet.options import LocalnetOptions
from nym_localnet.requester_io import Requester
from nym_mixnet.core import ClientCore
from nym_mixnet.store_io import ClientStore
from nym_sphinx import RepliableMessage, b58encode, decode_message
from nymgate import wiring
from nymgate.config_layers import load
from nymgate.daemon import Proxy
from nymgate.ways.identity_io import Connected, Identity, disconnect

CURL = shutil.which("curl")


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(gateways=3, exits=2)) as background:
        yield background


@dataclass
class Seen:
    """What exits and gateways were sent. Filled from the network's thread."""

    connects: list = field(default_factory=list)
    """(exit, sender tag, stream id, destination)"""
    sends: list = field(default_factory=list)
    """(exit, stream id)"""
    surbs: dict = field(default_factory=lambda: defaultdict(set))
    """By sender tag: every SURB, its key, and the key share it begins with."""
    sessions: dict = field(default_factory=lambda: defaultdict(int))
    """Packets by client of a gateway."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@pytest.fixture
def seen(monkeypatch):
    noted = Seen()
    handle, dispatch, forward = Requester._handle, ClientCore._dispatch, GatewayConnection._forward

    def handling(self, message):
        content = RequestMessage.decode(message.data).content
        with noted.lock:
            if isinstance(content, Connect):
                noted.connects.append((id(self), message.sender_tag, content.connection_id, content.remote))
            elif isinstance(content, Send):
                noted.sends.append((id(self), content.connection_id))
        handle(self, message)

    def dispatching(self, data, via, now):
        message = decode_message(data)
        if isinstance(message, RepliableMessage):
            with noted.lock:
                for surb in message.content.surbs:
                    noted.surbs[message.sender_tag] |= {surb.encode(), surb.key, surb.surb.encode()[:32]}
        return dispatch(self, data, via, now)

    def forwarding(self, session, frame):
        with noted.lock:
            noted.sessions[session.identity] += 1
        return forward(self, session, frame)

    monkeypatch.setattr(Requester, "_handle", handling)
    monkeypatch.setattr(ClientCore, "_dispatch", dispatching)
    monkeypatch.setattr(GatewayConnection, "_forward", forwarding)
    return noted


@contextlib.asynccontextmanager
async def site():
    """A web server on `127.0.0.1`; yields its port and the event that lets `/slow` end."""
    release = asyncio.Event()

    async def small(request):
        return web.Response(text=request.path)

    async def slow(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first ")
        await release.wait()
        await response.write(b"last")
        return response

    app = web.Application()
    app.add_routes([web.get("/slow", slow), web.get("/{name}", small)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1], release
    finally:
        release.set()
        await runner.cleanup()


def plan_for(network, folder, **flags):
    settings = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "mixnet.profile": "uncovered",
        "mixnet.entry": b58encode(
            next(node for node in network.net.gateways if node.node_id == gateway_ids(network)[0]).identity
        ),
    }
    environ = {"HOME": str(folder)}
    if "isolation.by" in flags:
        environ["NYMGATE_ISOLATION__BY"] = flags.pop("isolation.by")
    config = load(environ=environ, flags=settings | flags).config
    return wiring.make_plan(config, folder)


def gateway_ids(network):
    return [network.net.nodes[f"gateway{number}"].plan.node_id for number in (1, 2, 3)]


@contextlib.asynccontextmanager
async def proxy_on(network, folder, **flags):
    async with Proxy(plan_for(network, folder, **flags)) as proxy, asyncio.timeout(90):
        await proxy.ready()
        yield proxy


def curl_options(port, who):
    """``user:…`` as SOCKS user and password, ``http:…`` as Proxy-Authorization, ``token:…`` as header."""
    kind, _, word = who.partition(":")
    return {
        "": ["--socks5-hostname", f"127.0.0.1:{port}"],
        "user": ["--socks5-hostname", f"127.0.0.1:{port}", "--proxy-user", f"{word}:pass"],
        "http": ["--proxy", f"http://127.0.0.1:{port}", "--proxytunnel", "--proxy-user", f"{word}:pass"],
        "token": [
            *("--proxy", f"http://127.0.0.1:{port}", "--proxytunnel"),
            *("--proxy-header", f"X-Tor-Stream-Isolation: {word}"),
        ],
    }[kind]


async def curl(proxy, url, who="", *more):
    if CURL is None:
        pytest.fail("curl is needed: the README says so")
    process = await asyncio.create_subprocess_exec(
        *(CURL, "--disable", "-sS", "--noproxy", "", "--max-time", "60", *more),
        *(*curl_options(proxy.addresses[0][1], who), url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - states, not events
            await asyncio.sleep(0.02)


async def test_callers_share_nothing_that_exits_or_gateways_could_see(network, tmp_path, seen):
    callers = ["", "user:alice", "user:bob", "http:carol", "token:dave"]
    async with contextlib.AsyncExitStack() as stack:
        ports = [(await stack.enter_async_context(site()))[0] for _ in callers]
        proxy = await stack.enter_async_context(proxy_on(network, tmp_path))
        for _round in range(2):
            async with asyncio.TaskGroup() as group:
                for who, port in zip(callers, ports, strict=True):
                    for number in range(2):
                        group.create_task(self_checking(proxy, port, who, number))
        identities = list(proxy.identities)
        assert len(identities) == len(callers), "many streams for a new caller make one identity"
        clients = [identity.connected.client for identity in identities]
        exits = [identity.connected.exit.recipient for identity in identities]
        assert len({client.address.identity for client in clients}) == len(callers)
        assert len({client.address.encryption for client in clients}) == len(callers)
        assert len(set(exits)) == 2, "different exits are preferred where there are some"
        folders = [identity.folder for identity in identities]
        for folder in folders:
            assert folder.stat().st_mode & 0o777 == 0o700
        names = "".join(str(path) for path in tmp_path.rglob("*"))
        assert not [word for word in ("alice", "bob", "carol", "dave", "pass") if word in names]

    with seen.lock:
        by_port = {port: [item for item in seen.connects if item[3].endswith(f":{port}")] for port in ports}
        assert [len(items) for items in by_port.values()] == [4] * len(ports), "each stream was seen"
        tags = [{item[1] for item in items} for items in by_port.values()]
        streams = [{item[2] for item in items} for items in by_port.values()]
        surbs = [set().union(*(seen.surbs[tag] for tag in of_caller)) for of_caller in tags]
        sent = dict(seen.sessions)
    for kind in (tags, streams, surbs):
        assert all(kind), "there is something to compare"
        everything = [item for group in kind for item in group]
        assert len(everything) == len(set(everything)), "two callers share one"
    assert all(None not in of_caller for of_caller in tags)
    assert all(len(group) == 4 for group in streams)
    assert min(len(group) for group in surbs) >= 30
    for client in clients:
        assert sent[client.address.identity] > 0, "each sent on a session of its own"


async def self_checking(proxy, port, who, number):
    path = f"/page{number}"
    assert await curl(proxy, f"http://127.0.0.1:{port}{path}", who) == (0, path, "")


async def test_the_same_caller_comes_back_to_the_same_identity(network, tmp_path):
    addresses = set()
    for _ in range(2):
        async with site() as (port, _release), proxy_on(network, tmp_path) as proxy:
            await self_checking(proxy, port, "user:alice", 1)
            _default, alice = proxy.identities
            addresses.add(alice.connected.client.address.identity)
    assert len(addresses) == 1


async def test_idle_identities_give_way_and_busy_ones_are_kept(network, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    async with (
        site() as (port, release),
        proxy_on(network, tmp_path, **{"isolation.max_identities": 2}) as proxy,
        asyncio.TaskGroup() as group,
    ):
        slow = group.create_task(curl(proxy, f"http://127.0.0.1:{port}/slow", "user:busy"))
        await until(lambda: proxy.server.stats.streams >= 1)
        await self_checking(proxy, port, "user:first", 1)
        _default, busy, first = proxy.identities
        await until(lambda: proxy.server.stats.streams == 1)
        await self_checking(proxy, port, "user:second", 2)
        assert list(proxy.identities)[1] is busy
        assert first not in list(proxy.identities)
        await until(lambda: first.connected is None)
        await until(lambda: proxy.server.stats.streams == 1)
        also_slow = group.create_task(curl(proxy, f"http://127.0.0.1:{port}/slow", "user:second"))
        await until(lambda: proxy.server.stats.streams >= 2)
        code, _output, errors = await curl(proxy, f"http://127.0.0.1:{port}/x", "user:third")
        assert (code, errors.rstrip()[-3:]) == (97, "(1)"), errors
        code, output, _errors = await curl(proxy, f"http://127.0.0.1:{port}/x", "http:third", "--include")
        assert code != 0
        assert "503" in output
        assert "E_ISOLATION_LIMIT" in output
        release.set()
        assert (await slow)[:2] == (await also_slow)[:2] == (0, "first last")
        await until(lambda: proxy.server.stats.streams == 0)
        await self_checking(proxy, port, "user:third", 3)
        assert await curl(proxy, f"http://127.0.0.1:{port}/y") == (0, "/y", ""), (
            "the default one is always there"
        )
    for word in ("busy", "first", "second", "third", f":{port}"):
        assert f"{word}:" not in caplog.text


async def test_unused_identities_are_closed_and_in_the_end_erased(network, tmp_path):
    flags = {"isolation.keep": "300ms", "isolation.forget": "1ms"}
    async with site() as (port, _release), proxy_on(network, tmp_path, **flags) as proxy:
        await self_checking(proxy, port, "user:alice", 1)
        await until(lambda: len(proxy.identities) == 1)
        await self_checking(proxy, port, "user:alice", 2)  # while the first is still leaving, perhaps
        assert proxy.identities.made == 2
        await until(lambda: len(proxy.identities) == 1)
    folder = proxy.plan.folder / "identities"
    assert len(list(folder.iterdir())) == 2, "the secret and a folder of keys"
    async with proxy_on(network, tmp_path, **flags):
        await until(lambda: [path.name for path in folder.iterdir()] == ["secret"])
    assert (folder / "secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
async def test_isolation_can_be_off_or_go_by_destination(network, tmp_path):
    async with site() as (port, _release), proxy_on(network, tmp_path, **{"isolation.by": ""}) as proxy:
        await self_checking(proxy, port, "user:alice", 1)
        assert len(proxy.identities) == 1
        assert not (proxy.plan.folder / "identities").exists()
    flags = {"isolation.by": "destination"}
    async with site() as (port, _release), proxy_on(network, tmp_path, **flags) as proxy:
        assert (await curl(proxy, f"http://127.0.0.1:{port}/a", "user:alice"))[0] == 0
        assert (await curl(proxy, f"http://127.0.0.1:{port}/b"))[0] == 0
        assert len(proxy.identities) == 2
        assert (await curl(proxy, f"http://localhost:{port}/c"))[0] == 0
        assert len(proxy.identities) == 3


@pytest.mark.slow
async def test_without_a_way_streams_of_a_new_identity_are_refused_in_bounded_time(network, tmp_path):
    flags = {"streams.connect_timeout": "4s"}
    async with site() as (port, _release), proxy_on(network, tmp_path, **flags) as proxy:
        folder = proxy.plan.folder / "identities"
        folder.mkdir()
        (folder / "secret").write_bytes(b"too short")
        code, _output, errors = await curl(proxy, f"http://127.0.0.1:{port}/x", "user:alice")
        assert (code, errors.rstrip()[-3:]) == (97, "(1)"), errors
        (folder / "secret").unlink()
        network.net.nodes["gateway1"].stall = True
        try:
            started = asyncio.get_running_loop().time()
            code, _output, errors = await curl(proxy, f"http://127.0.0.1:{port}/x", "user:alice")
            assert code == 97, errors
            assert asyncio.get_running_loop().time() - started < 25
        finally:
            network.net.nodes["gateway1"].stall = False


async def test_a_client_that_got_there_when_it_was_given_up_is_closed(network, tmp_path, monkeypatch):
    async def too_late(self, client, work):
        await work
        raise asyncio.CancelledError

    monkeypatch.setattr(Identity, "_unless_broke", too_late)
    identity = Identity(plan_for(network, tmp_path), tmp_path)
    with pytest.raises(asyncio.CancelledError):
        await identity._connect()
    async with ClientStore(tmp_path):
        pass  # nobody holds it any more


async def test_a_client_is_closed_even_if_its_exit_cannot_be(tmp_path):
    closed = []

    class Part:
        async def resume(self):
            pass

        async def close(self):
            closed.append(self)

    class Stuck(Part):
        async def close(self):
            raise asyncio.CancelledError

    client = Part()
    with pytest.raises(asyncio.CancelledError):
        await disconnect(Connected(client, Stuck(), Part(), None), hurry=False)
    assert client in closed
