"""The whole path: curl, proxy, a local network of real processes, a web server; and what happens when parts fail."""

import asyncio
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from aiohttp import web
from typer.testing import CliRunner

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_sphinx import b58encode
from nymgate import wiring
from nymgate.cli import app
from nymgate.config_layers import load
from nymgate.daemon import Proxy
from nymgate.errors import ExitCode, Reply, StoreBusy
from nymgate.ways import identity_io
from nymgate.ways.sleep import Rest
from nymgate.ways.upstream_io import UpstreamOptions
from tests.nymgate.socks_client import through

BODY = random.Random(1).randbytes(1_500_000)
CURL = shutil.which("curl")


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@pytest.fixture(autouse=True)
def healthy(network):
    """Each test leaves the network as it found it."""
    yield
    for handle in network.net.nodes.values():
        handle.loss, handle.stall, handle.refuse = 0.0, False, False


@contextlib.asynccontextmanager
async def website():
    """A web server: `/` small, `/body` big, POST `/count` says how much it got. Yields its port."""

    async def small(_request):
        return web.Response(text="hello through the mixnet")

    async def body(_request):
        return web.Response(body=BODY)

    async def count(request):
        return web.Response(text=str(len(await request.read())))

    site = web.Application(client_max_size=1 << 30)
    site.add_routes([web.get("/", small), web.get("/body", body), web.post("/count", count)])
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def plan_for(network, folder, **flags):
    settings = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "listen.metrics": "",
        "listen.web": "",
        "mixnet.profile": "uncovered",
    }
    config = load(environ={"HOME": str(folder)}, flags=settings | flags).config
    return wiring.make_plan(config, folder)


@contextlib.asynccontextmanager
async def proxy_on(network, folder, **flags):
    async with Proxy(plan_for(network, folder, **flags)) as proxy, asyncio.timeout(60):
        await proxy.ready()
        yield proxy


async def curl(proxy, url, *more):
    """Exit code, output, errors. curl's code 97 is a SOCKS refusal, its message ends in the reply code."""
    if CURL is None:
        pytest.fail("curl is needed: the README says so")
    port = proxy.addresses[0][1]
    process = await asyncio.create_subprocess_exec(
        *(CURL, "--disable", "-sS", "--noproxy", "", "--max-time", "50"),
        *("--socks5-hostname", f"127.0.0.1:{port}", *more, url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output, errors.decode()


async def test_a_page_and_a_file_come_through(network, tmp_path):
    async with website() as web_port, proxy_on(network, tmp_path) as proxy:
        assert await curl(proxy, f"http://localhost:{web_port}/") == (0, b"hello through the mixnet", "")
        code, output, errors = await curl(proxy, f"http://127.0.0.1:{web_port}/body")
        assert (code, errors) == (0, "")
        assert hashlib.sha256(output).digest() == hashlib.sha256(BODY).digest()
        connected = proxy.connected
        assert connected.entry.identity != connected.exit.recipient.gateway, (
            "entry and exit are different nodes"
        )
        assert (tmp_path / "localnet").stat().st_mode & 0o777 == 0o700


async def test_an_upload_arrives_whole(network, tmp_path):
    (tmp_path / "upload").write_bytes(BODY)
    async with website() as web_port, proxy_on(network, tmp_path) as proxy:
        result = await curl(
            proxy,
            f"http://localhost:{web_port}/count",
            "--data-binary",
            f"@{tmp_path}/upload",
            "-H",
            "Expect:",
        )
        assert result == (0, str(len(BODY)).encode(), "")


async def test_many_at_once(network, tmp_path):
    async with website() as web_port, proxy_on(network, tmp_path) as proxy:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(curl(proxy, f"http://localhost:{web_port}/")) for _ in range(20)]
        assert {task.result() for task in tasks} == {(0, b"hello through the mixnet", "")}


@pytest.mark.parametrize(
    "url, reply",
    [
        ("http://10.255.255.1:80/", Reply.NOT_ALLOWED),
        ("http://does-not-exist.invalid/", Reply.NOT_ALLOWED),
        ("http://127.0.0.1:1/", Reply.CONNECTION_REFUSED),
    ],
)
async def test_refusals_have_their_reply_code(network, tmp_path, url, reply):
    async with proxy_on(network, tmp_path) as proxy:
        started = time.monotonic()
        code, _output, errors = await curl(proxy, url)
        assert (code, errors.rstrip().endswith(f"({reply.value})")) == (97, True), errors
        assert time.monotonic() - started < 20


async def test_ipv6_destinations_travel(network, tmp_path):
    server = await asyncio.start_server(lambda _r, w: (w.write(b"six"), w.close()), "::1", 0)
    async with server, proxy_on(network, tmp_path) as proxy:
        _host, port, *_ = server.sockets[0].getsockname()
        code, output, _errors = await curl(proxy, f"http://[::1]:{port}/", "--http0.9")
        assert (code, output) == (0, b"six")


async def test_a_silent_exit_is_bounded(network, tmp_path):
    async with proxy_on(network, tmp_path, **{"streams.connect_timeout": "3s"}) as proxy:
        network.net.nodes["exit1"].stall = True
        started = time.monotonic()
        code, _output, errors = await curl(proxy, "http://127.0.0.1:80/")
        assert (code, errors.rstrip().endswith(f"({Reply.TTL_EXPIRED.value})")) == (97, True), errors
        assert time.monotonic() - started < 30, "what it is without the setting"


async def test_half_close_works_end_to_end(network, tmp_path):
    async def count(reader, writer):
        writer.write(b"%d" % len(await reader.read(-1)))
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    async with server, proxy_on(network, tmp_path) as proxy:
        port = server.sockets[0].getsockname()[1]
        await proxy.connected.exit.binary_info()
        async with through(proxy.addresses[0][1], "127.0.0.1", port) as (reader, writer, code):
            assert code == Reply.SUCCEEDED
            writer.write(bytes(12_345))
            writer.write_eof()
            assert await reader.read(-1) == b"12345"


@pytest.mark.slow
async def test_packet_loss_does_not_change_a_byte(network, tmp_path):
    async with website() as web_port, proxy_on(network, tmp_path) as proxy:
        network.net.nodes["mix2"].loss = 0.05
        code, output, errors = await curl(proxy, f"http://localhost:{web_port}/body")
        assert (code, errors) == (0, "")
        assert output == BODY


async def test_a_lost_gateway_refuses_in_bounded_time_and_comes_back(network, tmp_path):
    async with website() as web_port, proxy_on(network, tmp_path) as proxy:
        entry = next(
            handle
            for handle in network.net.nodes.values()
            if handle.plan.node_id == proxy.connected.entry.node_id and handle.name.startswith("gateway")
        )
        network.do(entry.restart())
        async with asyncio.timeout(60):
            while True:  # until then: refused with a reply, or broken off, never hanging
                code, output, _errors = await curl(proxy, f"http://localhost:{web_port}/")
                if code == 0:
                    assert output == b"hello through the mixnet"
                    break
                assert code in (52, 56, 97)


async def test_it_sleeps_without_streams_and_wakes_for_the_next(network, tmp_path):
    flags = {"mixnet.profile": "fast", "mixnet.sleep_after": "1s"}
    async with website() as web_port, proxy_on(network, tmp_path, **flags) as proxy:
        connected = proxy.connected
        async with asyncio.timeout(60):
            while connected.sleeper.state is not Rest.ASLEEP:  # noqa: ASYNC110 - a state, not an event
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.2)
        sent = connected.client.link_stats.packets_sent
        await asyncio.sleep(1)
        assert connected.client.link_stats.packets_sent == sent, "no cover while asleep"
        code, output, _errors = await curl(proxy, f"http://localhost:{web_port}/")
        assert (code, output) == (0, b"hello through the mixnet")
        assert connected.client.link_stats.packets_sent > sent


async def test_own_address_mode_works(network, tmp_path):
    async with (
        website() as web_port,
        proxy_on(network, tmp_path, **{"mixnet.replies": "own-address"}) as proxy,
    ):
        code, output, _errors = await curl(proxy, f"http://localhost:{web_port}/")
        assert (code, output) == (0, b"hello through the mixnet")


async def test_keys_and_entry_stay_from_start_to_start(network, tmp_path):
    addresses = set()
    for _ in range(3):
        async with proxy_on(network, tmp_path) as proxy:
            addresses.add(proxy.connected.client.address)
    assert len(addresses) == 1


async def test_one_that_is_ending_is_not_ready(network, tmp_path):
    async with proxy_on(network, tmp_path) as proxy:
        before = await proxy.watch.health()
        assert before.ready
        assert await proxy.drain(1.0)
        after = await proxy.watch.health()
        assert (after.ready, after.code, after.layers) == (False, "E_SHUTDOWN", before.layers)


async def test_a_second_instance_on_the_same_folder_is_refused(network, tmp_path):
    async with proxy_on(network, tmp_path):
        with pytest.raises(StoreBusy) as caught:
            async with Proxy(plan_for(network, tmp_path)):
                pass
        assert caught.value.exit_code is ExitCode.BUSY


async def test_it_is_refused_as_well_while_the_first_has_no_way_in(network, tmp_path):
    network.net.nym_api.faults.refuse = True
    try:
        async with Proxy(plan_for(network, tmp_path)):
            with pytest.raises(StoreBusy):
                async with Proxy(plan_for(network, tmp_path)):
                    pass
    finally:
        network.net.nym_api.faults.refuse = False


async def test_without_a_directory_listeners_are_up_and_refuse_then_recover(network, tmp_path, monkeypatch):
    monkeypatch.setattr(wiring, "upstream_options", lambda _plan: UpstreamOptions(link_wait_seconds=1.0))
    network.net.nym_api.faults.refuse = True
    try:
        async with website() as web_port, Proxy(plan_for(network, tmp_path)) as proxy:
            started = time.monotonic()
            code, _output, errors = await curl(proxy, f"http://localhost:{web_port}/")
            assert (code, errors.rstrip().endswith(f"({Reply.NETWORK_UNREACHABLE.value})")) == (97, True), (
                errors
            )
            assert time.monotonic() - started < 20
            network.net.nym_api.faults.refuse = False
            async with asyncio.timeout(60):
                await proxy.ready()
            code, output, _errors = await curl(proxy, f"http://localhost:{web_port}/")
            assert (code, output) == (0, b"hello through the mixnet")
    finally:
        network.net.nym_api.faults.refuse = False


async def test_the_proxy_connects_to_directory_and_gateway_only(network, tmp_path):
    """What the process really does, besides what test_architecture reads in its source."""
    seen: list[tuple] = []
    recording = True

    def hook(event, arguments):
        if recording and event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
            seen.append((event, arguments[1] if event == "socket.connect" else arguments[0]))

    async with website() as web_port:
        sys.addaudithook(hook)
        async with proxy_on(network, tmp_path) as proxy:
            for url in (
                f"http://localhost:{web_port}/",
                "http://does-not-exist.invalid/",
                "http://10.255.255.1/",
            ):
                await curl(proxy, url)
            entry = proxy.connected.entry
        recording = False
    connections = {address[1] for event, address in seen if event == "socket.connect"}
    assert connections == {network.net.nym_api.port, entry.entry.ws_port}
    assert web_port not in connections
    asked = {host for event, host in seen if event != "socket.connect"}
    assert asked <= {"127.0.0.1", None}, "no name is resolved here"


def test_gateways_are_listed_with_what_the_directory_knows(network):
    result = CliRunner().invoke(
        app, ["gateways", "--network", str(network.net.data_dir / "localnet.toml"), "--json"]
    )
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.output)
    assert len(rows) == 2
    assert [row["exit"] for row in rows if row["exit"]] == [network.net.exit_address]
    assert all(row["performance_percent"] == 100 for row in rows)


# Choosing at the start, in a network with a choice: exit1 is at gateway3, exit2 at gateway2.


@pytest.fixture(scope="module")
def wide_network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES, gateways=3, exits=2)) as background:
        yield background


@pytest.fixture
def choice(wide_network):
    yield wide_network
    for handle in wide_network.net.nodes.values():
        handle.stall = False


def gateway_of(network, name):
    node_id = network.net.nodes[name].plan.node_id
    return next(node for node in network.net.gateways if node.node_id == node_id)


@pytest.mark.slow
async def test_a_silent_exit_is_passed_over_even_if_the_entry_has_to_change(choice, tmp_path):
    live = choice.net.exit_addresses[1]
    home = gateway_of(choice, "gateway2")
    assert live.endswith(b58encode(home.identity)), "exit2 is where this test thinks it is"
    settings = {"mixnet.entry": b58encode(home.identity)}
    async with proxy_on(choice, tmp_path, **settings) as proxy:
        assert proxy.connected.entry.identity == home.identity
        assert str(proxy.connected.exit.recipient) == choice.net.exit_addresses[0]
    choice.net.nodes["exit1"].stall = True
    await asyncio.to_thread(choice.do, choice.net.nodes["exit1"].counters())  # it is in force by then
    async with proxy_on(choice, tmp_path) as proxy:  # the entry it remembers is at the only live exit
        assert str(proxy.connected.exit.recipient) == live
        assert proxy.connected.entry.identity != home.identity


@pytest.mark.slow
async def test_an_entry_that_does_not_answer_is_passed_over(choice, tmp_path, monkeypatch):
    monkeypatch.setattr(identity_io, "GATEWAY_START_SECONDS", 2.0)
    dead = gateway_of(choice, "gateway1")
    async with proxy_on(choice, tmp_path, **{"mixnet.entry": b58encode(dead.identity)}):
        pass
    choice.net.nodes["gateway1"].stall = True
    async with proxy_on(choice, tmp_path) as proxy:  # the entry it remembers is the dead one
        assert proxy.connected.entry.identity != dead.identity
        assert proxy.connected.entry.identity != proxy.connected.exit.recipient.gateway


# As a process.


@contextlib.contextmanager
def nymgate_run(network, folder, *flags):
    command = [sys.executable, "-c", "from nymgate.cli import main; main()", "run", "--listen", "127.0.0.1:0"]
    command += ["--network", str(network.net.data_dir / "localnet.toml"), "--data-dir", str(folder), *flags]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("NYMGATE_")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=20)


def test_run_says_what_it_is_and_costs_and_ends_on_sigterm(network, tmp_path):
    with nymgate_run(network, tmp_path, "--profile", "standard") as process:
        lines = [process.stdout.readline() for _ in range(4)]
        assert lines[0].startswith("nymgate ")
        assert "localnet" in lines[0]
        assert "socks5h://127.0.0.1:" in lines[0]
        assert lines[1].split()[0] == "entry"
        assert lines[2].split()[0] == "exit"
        assert "standard" in lines[3]
        assert "tickets an hour" in lines[3]
        assert "tickets a day" in lines[3]
        assert "sleeps after 10m" in lines[3]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=90) == 0
        assert "Traceback" not in process.stderr.read()


@pytest.mark.slow
def test_run_for_programs_says_it_in_json(network, tmp_path):
    with nymgate_run(network, tmp_path, "--json") as process:
        events = []
        for line in process.stderr:
            events.append(json.loads(line))
            if events[-1]["event"] == "ready":
                break
        ready = events[-1]
        assert ready["network"] == "localnet"
        assert ready["tickets_per_day"] > 50
        assert ready["listening"][0].startswith("127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=90) == 0


@pytest.mark.slow
def test_a_second_run_on_the_same_folder_ends_with_code_6(network, tmp_path):
    with nymgate_run(network, tmp_path) as first:
        assert first.stdout.readline().startswith("nymgate ")
        with nymgate_run(network, tmp_path) as second:
            _output, errors = second.communicate(timeout=90)
            assert second.returncode == ExitCode.BUSY
            assert f"process {first.pid}" in errors
            assert "Traceback" not in errors
        assert first.poll() is None


@pytest.mark.slow
def test_sigterm_lets_streams_end_and_a_second_one_does_not_wait(network, tmp_path):
    async def scenario(process, port, *, patient):
        async def dribble(_reader, writer):
            try:
                for _ in range(8):
                    writer.write(b"drop ")
                    await writer.drain()
                    await asyncio.sleep(0.25)
            except OSError:
                pass  # the exit hung up: the proxy is gone
            finally:
                writer.close()

        server = await asyncio.start_server(dribble, "127.0.0.1", 0)
        async with (
            server,
            through(port, "127.0.0.1", server.sockets[0].getsockname()[1]) as (reader, writer, code),
        ):
            assert code == Reply.SUCCEEDED
            assert await reader.readexactly(5) == b"drop "
            process.send_signal(signal.SIGTERM)
            if patient:
                assert await reader.read(-1) == b"drop " * 7
                writer.close()
            else:
                await asyncio.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionResetError):
                    await reader.read(-1)

    for patient in (True, False):
        with nymgate_run(network, tmp_path) as process:
            port = int(process.stdout.readline().rpartition(":")[2])
            asyncio.run(scenario(process, port, patient=patient))
            assert process.wait(timeout=90) == 0
