"""A running proxy seen from outside: its port for metrics, its control socket, and the numbers they give."""

import asyncio
import contextlib
import shutil
import socket
import stat
import subprocess
import types

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate.daemon import Proxy
from nymgate.errors import ListenError
from nymgate.listener.unix_socket import NAME
from nymgate.watch.asking_io import NotRunning, ask_folder, ask_port
from nymgate.watch.control_io import bound_in
from nymgate.watch.exporter_io import Exporter
from nymgate.watch.health import LAYERS
from nymgate.watch.watch_io import serve_metrics
from nymgate.ways.sleep import Rest
from tests.nymgate.paid_world import until
from tests.nymgate.socks_client import connect_request, dial, through
from tests.nymgate.test_end_to_end import website
from tests.nymgate.watched_world import get, readyz, snapshot_of, until_health, watched, watched_plan


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background.net


def numbers(text):
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_proxy_tells_what_it_does(network, tmp_path):
    async with website() as web_port, watched(network, tmp_path) as proxy:
        before = await snapshot_of(proxy)
        for _ in range(3):
            assert b"hello" in await fetch(proxy, web_port)
        body, _ = await until_health(proxy, lambda status, body: body["layers"][6]["state"] == "ok")
        assert body["ready"] is True
        assert (body["layer"], body["code"]) == (None, None)
        assert [layer["layer"] for layer in body["layers"]] == list(LAYERS)
        assert all(layer["age_seconds"] is None or layer["age_seconds"] < 60 for layer in body["layers"])
        status, text = await get(proxy, "/metrics")
        assert status == 200
        found = numbers(text)
        (listener,) = (await snapshot_of(proxy)).listening
        assert found["nymgate_streams_total", frozenset({("listener", listener), ("outcome", "ok")})] == 3
        assert found["nymgate_connections_accepted_total", frozenset({("listener", listener)})] == 3
        assert found["nymgate_stream_first_byte_seconds_count", frozenset()] == 3
        assert found["nymgate_stream_bytes_total", frozenset({("direction", "down")})] > 100
        assert found["nymgate_packets_sent_total", frozenset({("kind", "real")})] > before.packets.sent_first
        assert found["nymgate_ack_seconds_count", frozenset()] > 0
        assert found["nymgate_gateway_links", frozenset({("state", "ready")})] == 1
        assert found["nymgate_gateway_used_bytes_total", frozenset()] > 10_000
        assert found["nymgate_exits", frozenset({("state", "in_use")})] == 1
        assert found["nymgate_ready", frozenset()] == 1
        assert found["nymgate_event_loop_lag_seconds_count", frozenset()] > 0
        assert found["nymgate_process_resident_memory_bytes", frozenset()] > 1 << 20
        promtool = shutil.which("promtool")
        if promtool is not None:
            check = [promtool, "check", "metrics"]
            done = await asyncio.to_thread(subprocess.run, check, input=text.encode(), capture_output=True)
            assert (done.returncode, done.stdout) == (0, b"")
        assert "localhost" not in text, "where streams go to"
        assert str(proxy.connected.exit.recipient) not in text


async def fetch(proxy, web_port):
    async with through(proxy.addresses[0][1], "localhost", web_port) as (reader, writer, reply):
        assert reply == 0
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return await reader.read()


async def test_what_an_identity_has_counted_stays_when_it_is_gone(network, tmp_path):
    async with website() as web_port, watched(network, tmp_path, **{"isolation.keep": "2s"}) as proxy:

        async def identities():
            return sum((await snapshot_of(proxy)).identities.states.values())

        async with dial(proxy.addresses[0][1]) as (reader, writer):
            writer.write(b"\x05\x01\x02\x01\x05alice\x05alice")
            assert await reader.readexactly(4) == b"\x05\x02\x01\x00"
            writer.write(connect_request("localhost", web_port))
            assert (await reader.readexactly(10))[1] == 0
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert b"hello" in await reader.read()
            seen = await snapshot_of(proxy)
        assert seen.identities.states == {"awake": 1, "busy": 1} or await identities() == 2
        assert seen.links.states == {"ready": 2}

        async def alone():
            return await identities() == 1

        await until(alone)
        left = await snapshot_of(proxy)
        assert left.links.states == {"ready": 1}
        assert left.links.sessions == seen.links.sessions == 2
        assert left.packets.sent_first >= seen.packets.sent_first
        assert left.packets.ack_seconds.count >= seen.packets.ack_seconds.count
        assert left.links.bytes_charged >= seen.links.bytes_charged
        own = proxy.connected.client.stats
        assert left.packets.sent_first > own.sent_real, "more than the one that is left has sent"


async def test_openmetrics_is_served_to_who_asks_for_it(network, tmp_path):
    async with watched(network, tmp_path, ready=False) as proxy:
        host, port = proxy.watch.metrics
        process = await asyncio.create_subprocess_exec(
            *("curl", "--disable", "-sS", "-i", "-H", "Accept: application/openmetrics-text; version=1.0.0"),
            f"http://{host}:{port}/metrics",
            stdout=subprocess.PIPE,
        )
        output = (await process.communicate())[0].decode()
        assert "application/openmetrics-text" in output
        assert output.rstrip().endswith("# EOF")


async def test_nothing_else_is_served_and_only_to_this_machine(network, tmp_path):
    async with watched(network, tmp_path, ready=False) as proxy:
        for path in ("/", "/snapshot", "/metrics/", "/debug", "/readyz/x"):
            assert (await get(proxy, path))[0] == 404
        assert await get(proxy, "/livez") == (200, '{"alive": true}')
        host, port = proxy.watch.metrics
        for name, status in (
            ("evil.example", 403),
            (f"evil.example:{port}", 403),
            ("", 403),
            ("[::1]:80", 200),
        ):
            assert await raw_status(host, port, name) == status
        assert await raw_status(host, port, f"localhost:{port}") == 200
        assert await raw_status(host, port, f"127.0.0.1:{port}", method="POST") == 405


async def raw_status(host, port, name, method="GET"):
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"{method} /livez HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
    try:
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


async def test_while_there_is_no_way_it_says_so(network, tmp_path):
    plan = watched_plan(network, tmp_path, **{"mixnet.nym_api": ["http://127.0.0.1:9"]})
    async with Proxy(plan) as proxy:
        body, _ = await until_health(proxy, lambda status, body: "looking" not in body["what"])
        status, _ = await readyz(proxy)
        assert status == 503
        assert (body["ready"], body["state"], body["layer"]) == (False, "failing", "mixnet")
        assert body["code"] == "E_NO_WAY"
        assert (await get(proxy, "/livez"))[0] == 200, "it is alive all the same"


async def test_asleep_it_is_ready_and_says_that_it_did_not_look(network, tmp_path):
    async with watched(network, tmp_path, **{"mixnet.sleep_after": "1s"}) as proxy:
        body, _ = await until_health(proxy, lambda status, body: body["asleep"])
        assert body["ready"] is True
        assert "Asleep" in body["what"]
        states = {layer["layer"]: layer["state"] for layer in body["layers"]}
        assert (states["gateway"], states["mixnet"], states["exit"]) == ("ok", "unknown", "unknown")
        asked = (await snapshot_of(proxy)).probes.asked
        sent = proxy.connected.client.stats.sent_real
        await asyncio.sleep(2.5)
        assert (await snapshot_of(proxy)).probes.asked == asked, "nobody is asked"
        assert proxy.connected.client.stats.sent_real == sent, "and nothing is sent"


async def test_while_the_default_identity_sleeps_one_with_streams_is_looked_at(network, tmp_path):
    async with website() as web_port, watched(network, tmp_path, **{"mixnet.sleep_after": "1s"}) as proxy:
        await until_health(proxy, lambda status, body: body["asleep"])
        async with dial(proxy.addresses[0][1]) as (reader, writer):
            writer.write(b"\x05\x01\x02\x01\x05alice\x05alice" + connect_request("localhost", web_port))
            assert (await reader.readexactly(14))[-9:-8] == b"\x00"
            body, _ = await until_health(proxy, lambda status, body: body["layers"][6]["state"] == "ok")
            assert (body["ready"], body["asleep"]) == (True, False)
            assert proxy.connected.sleeper.state is Rest.ASLEEP
        await until_health(proxy, lambda status, body: body["asleep"])


async def test_the_control_socket_is_for_this_user_and_goes_with_the_proxy(network, tmp_path):
    folder = tmp_path / ("deep" * 20) / ("deeper" * 20)
    folder.mkdir(parents=True)
    async with watched(network, folder, ready=False) as proxy:
        path = proxy.plan.folder / NAME
        assert len(str(path)) > 107, "longer than the kernel takes"
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        assert (await snapshot_of(proxy)).network == "localnet"
        answer = await asyncio.to_thread(ask_folder, proxy.plan.folder, "/health")
        assert answer.status in (200, 503)
        assert (await asyncio.to_thread(ask_folder, proxy.plan.folder, "/nothing")).status == 404
    assert not path.exists()
    with pytest.raises(NotRunning, match="No running nymgate answers"):
        await asyncio.to_thread(ask_folder, proxy.plan.folder, "/health")


async def test_a_socket_left_behind_is_replaced_and_that_of_another_is_not(network, tmp_path):
    plan = watched_plan(network, tmp_path)
    plan.folder.mkdir(parents=True)
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(plan.folder / NAME))
    left.close()
    async with watched(network, tmp_path, ready=False) as first:
        assert first.watch.control.listening
        with pytest.raises(FileExistsError):
            bound_in(plan.folder)
        assert (await snapshot_of(first)).network == "localnet", "the first one still answers"


async def test_a_port_that_is_taken_is_an_error_if_it_was_asked_for(network, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        plan = watched_plan(network, tmp_path, **{"listen.metrics": f"127.0.0.1:{port}"})
        with pytest.raises(ListenError, match=f"Cannot serve metrics on 127.0.0.1:{port}"):
            async with Proxy(plan):
                pass


async def test_a_default_port_that_is_taken_is_left_out():
    async def nothing():
        raise AssertionError("nobody asks")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = types.SimpleNamespace(metrics=f"127.0.0.1:{taken.getsockname()[1]}", model_fields_set=set())
        plan = types.SimpleNamespace(config=types.SimpleNamespace(listen=listen), metrics_socket=None)
        async with contextlib.AsyncExitStack() as stack:
            assert await serve_metrics(plan, stack, nothing, nothing, lambda peer: True) is None
        listen.model_fields_set.add("metrics")
        async with contextlib.AsyncExitStack() as stack:
            with pytest.raises(ListenError):
                await serve_metrics(plan, stack, nothing, nothing, lambda peer: True)


async def test_whoever_may_not_ask_hears_nothing():
    async def nothing():
        raise AssertionError("nobody is asked")

    peers = []
    exporter = Exporter(
        "127.0.0.1", 0, snapshot=nothing, health=nothing, permits=lambda peer: peers.append(peer)
    )
    async with exporter:
        for path in ("/metrics", "/readyz", "/livez", "/nothing"):
            assert (await asyncio.to_thread(ask_port, *exporter.address, path)).status == 403
    assert set(peers) == {"127.0.0.1"}


async def test_without_an_address_nothing_is_served(network, tmp_path):
    async with watched(network, tmp_path, ready=False, **{"listen.metrics": ""}) as proxy:
        assert proxy.watch.metrics is None
        assert (await snapshot_of(proxy)).workers == 1


async def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(NotRunning) as caught:
        await asyncio.to_thread(ask_port, "127.0.0.1", port, "/readyz")
    assert f"http://127.0.0.1:{port}" in caught.value.what
