"""nymgate as a library: streams, HTTP clients and isolation, through a real local network."""

import asyncio
import datetime
import hashlib
import ipaddress
import random
import ssl
import subprocess
import sys

import aiohttp
import httpx
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import nymgate
from nym_exit.errors import StreamLost
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate.apps.library_io import Gateway, NotRunning
from nymgate.apps.stream_transport_io import StreamTransport
from nymgate.config_layers import load
from nymgate.errors import ConfigError, NetworkUnreachable, NymgateError, StoreBusy, StreamRefused
from nymgate.listener.handshake import Target
from tests.nymgate.listener_upstreams import TestUpstream

BODY = random.Random(3).randbytes(300_000)
HELLO = b"hello through the mixnet"


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@pytest.fixture(scope="module")
def trust(tmp_path_factory):
    """Two contexts for TLS, of a server that is `localhost` and of its clients."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate, private = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, private)
    return server, ssl.create_default_context(cafile=certificate)


@pytest.fixture
async def site():
    """Starts web sites: `/` small, `/body` big, POST `/hash`, `/ws` echoes, `/cut` ends in the middle."""
    runners = []

    async def small(_request):
        return web.Response(body=HELLO)

    async def body(_request):
        return web.Response(body=BODY)

    async def hashed(request):
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    async def start(tls=None):
        app = web.Application(client_max_size=1 << 24)
        app.add_routes(
            [
                web.get("/", small),
                web.get("/body", body),
                web.post("/hash", hashed),
                web.get("/ws", echo),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        return runner.addresses[0][1]

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def gateway(network, tmp_path, monkeypatch):
    """Makes gateways in a folder of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def make(**keywords):
        given = {
            "network": network.net.data_dir / "localnet.toml",
            "data_dir": tmp_path / "data",
            "profile": "uncovered",
        }
        return Gateway(**(given | keywords))

    return make


def request(host):
    return b"GET /body HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % host.encode()


@pytest.mark.slow
@pytest.mark.both_loops
async def test_streams_with_and_without_tls(gateway, site, trust):
    server, client = trust
    plain, secure = await site(), await site(server)
    async with gateway() as gw:
        assert gw.ready
        for port, tls in ((plain, False), (secure, client)):
            reader, writer = await gw.open("localhost", port, ssl=tls)
            writer.write(request("localhost"))
            await writer.drain()
            answer = await reader.read(-1)
            assert answer.endswith(b"\r\n\r\n" + BODY)
            writer.close()
            await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await gw.open("localhost", secure, ssl=True)
        with pytest.raises(ssl.SSLCertVerificationError):
            await gw.open("localhost", secure, ssl=client, server_hostname="example.com")
        assert gw._proxy.server.gate.admission.streams == 0, "every stream has left"
    assert not gw.ready
    with pytest.raises(NotRunning):
        await gw.open("localhost", plain)


async def test_a_half_closed_stream_and_a_late_answer(gateway):
    async def answer(reader, writer):
        data = await reader.read(-1)
        writer.write(hashlib.sha256(data).digest())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, gateway() as gw:
        reader, writer = await gw.open("127.0.0.1", server.sockets[0].getsockname()[1])
        writer.write(BODY)
        await writer.drain()
        writer.write_eof()
        assert await reader.read(-1) == hashlib.sha256(BODY).digest()
        writer.close()


async def test_errors_are_of_one_tree(gateway, unused_tcp_port):
    async with gateway() as gw:
        with pytest.raises(StreamRefused) as caught:
            await gw.open("127.0.0.1", unused_tcp_port)
        assert caught.value.code == "E_TARGET_CONNECT"
        assert caught.value.layer == "target"
        with pytest.raises(StreamRefused) as caught:
            await gw.open("10.255.255.1", 80)
        assert caught.value.code in ("E_EXIT_POLICY", "E_DESTINATION_RULE")
        for host, port in (("", 80), ("a b", 80), ("localhost", 0), ("localhost", 65536)):
            with pytest.raises(NymgateError):
                await gw.open(host, port)


async def test_a_stream_that_breaks_off_is_no_end_of_data():
    upstream, left = TestUpstream(), []
    stream = await upstream.open(Target("example.com", 80))
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport = StreamTransport(stream, protocol, lambda: left.append(True))
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
    writer.write(b"early")
    transport.begin()
    assert stream.received == b"early"
    stream.consumer.stream_data(b"half")
    assert await reader.readexactly(4) == b"half"
    stream.consumer.stream_paused()
    draining = asyncio.get_running_loop().create_task(writer.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    stream.consumer.stream_resumed()
    await draining
    stream.consumer.stream_failed(StreamLost())
    with pytest.raises(ConnectionResetError) as caught:
        await reader.read(-1)
    assert isinstance(caught.value, NymgateError)
    assert caught.value.code == "E_STREAM_LOST"
    assert caught.value.layer == "mixnet"
    assert left == [True]
    writer.close()
    assert left == [True]


@pytest.mark.slow
async def test_leaving_the_gateway_is_no_end_of_data(gateway):
    async def answer(reader, writer):
        writer.write(await reader.readline())
        if await reader.read(1) == b"":
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with gateway() as way:
            reader, writer = await way.open("127.0.0.1", port)
            writer.write(b"half\n")
            assert await reader.readline() == b"half\n"
            whole, ending = await way.open("127.0.0.1", port)
            ending.write(b"all\n")
            ending.write_eof()
            assert await whole.read(-1) == b"all\n"
            reading = asyncio.get_running_loop().create_task(reader.read(-1))
            await asyncio.sleep(0)
        with pytest.raises(ConnectionResetError) as caught:
            await reading
        assert caught.value.code == "E_STREAM_CLOSED"
        assert await whole.read(-1) == b"", "that one had come to its end"
        assert not way._streams
        writer.close()
        ending.close()


@pytest.mark.slow
async def test_another_event_loop_is_told_so(gateway, site):
    port = await site()
    async with gateway() as way:

        def elsewhere():
            return asyncio.run(way.open("127.0.0.1", port))

        with pytest.raises(ConfigError, match="another event loop"):
            await asyncio.to_thread(elsewhere)
        assert way.proxies["http"] == await asyncio.to_thread(lambda: way.http_url)


async def test_rules_hold_for_the_library_too(gateway, site):
    port = await site()
    async with gateway(settings={"rules.deny": [f"localhost:{port}"]}) as gw:
        with pytest.raises(StreamRefused) as caught:
            await gw.open("localhost", port)
        assert caught.value.code == "E_DESTINATION_RULE"


async def test_isolated_streams_have_another_identity(gateway, site):
    port = await site()
    async with gateway() as gw:
        _reader, common = await gw.open("localhost", port)
        _reader, first = await gw.open("localhost", port, isolate="first")
        identities = gw._proxy.identities
        assert len(identities) == 2
        # The same text by way of the proxy is the same identity.
        async with (
            aiohttp.ClientSession(proxy=gw.proxy_url("http", "first")) as session,
            session.get(f"http://localhost:{port}/") as response,
        ):
            assert await response.read() == HELLO
        assert len(identities) == 2
        common.close()
        first.close()


@pytest.mark.slow
@pytest.mark.both_loops
async def test_httpx(gateway, site, trust):
    server, client = trust
    plain, secure = await site(), await site(server)
    async with (
        gateway() as gw,
        httpx.AsyncClient(transport=gw.httpx_transport(verify=client), timeout=60) as http,
    ):
        for url in (f"http://localhost:{plain}", f"https://localhost:{secure}"):
            for _ in range(2):
                assert (await http.get(f"{url}/body")).content == BODY
            answer = await http.post(f"{url}/hash", content=BODY)
            assert answer.text == hashlib.sha256(BODY).hexdigest()
        with pytest.raises(httpx.ConnectError, match="address"):
            await http.get("http://10.255.255.1/")
        async with httpx.AsyncClient(transport=gw.httpx_transport(), timeout=60) as untrusting:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await untrusting.get(f"https://localhost:{secure}/")


@pytest.mark.slow
async def test_httpx_by_a_proxy_that_runs(gateway, site, trust):
    server, client = trust
    plain, secure = await site(), await site(server)
    async with gateway() as gw:
        transport = nymgate.httpx_transport(gw.http_url, isolate="mine", verify=client)
        async with httpx.AsyncClient(transport=transport, timeout=60) as http:
            assert (await http.get(f"http://localhost:{plain}/body")).content == BODY
            assert (await http.get(f"https://localhost:{secure}/body")).content == BODY


@pytest.mark.slow
@pytest.mark.both_loops
async def test_aiohttp(gateway, site, trust):
    server, client = trust
    plain, secure = await site(), await site(server)
    async with (
        gateway() as gw,
        aiohttp.ClientSession(connector=gw.aiohttp_connector(ssl=client)) as session,
    ):
        for url in (f"http://localhost:{plain}", f"https://localhost:{secure}"):
            for _ in range(2):
                async with session.get(f"{url}/body") as response:
                    assert await response.read() == BODY
            async with session.ws_connect(f"{url}/ws") as socket:
                await socket.send_str("one")
                assert await socket.receive_str() == "one"
        with pytest.raises(aiohttp.ClientConnectorError, match="E_"):
            await session.get("http://10.255.255.1/")
    async with gateway() as gw, aiohttp.ClientSession(connector=gw.aiohttp_connector()) as session:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await session.get(f"https://localhost:{secure}/")


@pytest.mark.slow
async def test_requests(gateway, site):
    requests = pytest.importorskip("requests")
    port = await site()

    def fetch(proxies):
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = proxies
            return session.get(f"http://localhost:{port}/body", timeout=60).content

    async with gateway() as gw:
        assert await asyncio.to_thread(fetch, gw.proxies) == BODY
        assert await asyncio.to_thread(fetch, gw.isolated_proxies("mine")) == BODY


@pytest.mark.slow
async def test_one_folder_has_one_gateway(gateway):
    async with gateway():
        with pytest.raises(StoreBusy):
            async with gateway():
                pass


async def test_no_way_into_the_mixnet(tmp_path, unused_tcp_port):
    dead = tmp_path / "dead.toml"
    dead.write_text(f'name = "dead"\nnym_api = ["http://127.0.0.1:{unused_tcp_port}/api"]\n')
    with pytest.raises(NetworkUnreachable) as caught:
        async with Gateway(network=dead, data_dir=tmp_path / "data", start_timeout=1.0):
            pass
    assert caught.value.layer == "topology"


def test_configurations(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "other.toml"
    file.write_text('network = "sandbox"\n[listen]\nmixed = ["127.0.0.1:1080"]\nsocks = ["127.0.0.1:1081"]\n')
    config = load(file=file, environ={}).config
    for made in (Gateway(file), Gateway(str(file)), Gateway(config)):
        assert made._config.network == "sandbox"
        assert made._config.listen.mixed == ["127.0.0.1:0"], "nothing that others look for is opened"
        assert made._config.listen.socks == []
    assert Gateway(file, network="mainnet", settings={"streams.limit": 7})._config.streams.limit == 7
    with pytest.raises(ConfigError):
        Gateway(config, network="mainnet")
    with pytest.raises(ConfigError, match="nonsense"):
        Gateway(settings={"nonsense": 1})
    with pytest.raises(ConfigError):
        Gateway(profile="nonsense")


def run(program):
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_importing_nymgate_is_light():
    heavy = ("asyncio", "aiohttp", "pydantic", "httpx", "cosmpy")
    assert run(f"import nymgate, sys; print([n for n in {heavy} if n in sys.modules])") == "[]"
    assert run("from nymgate import Gateway; print(Gateway.__name__)") == "Gateway"
    assert not hasattr(nymgate, "nonsense")


def test_without_httpx_the_error_says_what_to_install():
    program = """
import sys
sys.modules["httpx"] = None
import nymgate
try:
    nymgate.httpx_transport
except nymgate.NymgateError as error:
    print(error)
"""
    assert "pip install 'nymgate[httpx]'" in run(program)
