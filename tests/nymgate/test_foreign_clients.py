"""Programs that others wrote, through proxy and local network: each speaks its own kind of proxy, all at one port."""

import asyncio
import contextlib
import datetime
import hashlib
import ipaddress
import os
import random
import shutil
import ssl
import subprocess
import time

import pytest
from aiohttp import ClientSession, web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy as ForeignProxy

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate import wiring
from nymgate.config_layers import load
from nymgate.daemon import Proxy
from nymgate.detect import Speaks

BODY = random.Random(2).randbytes(400_000)
HELLO = b"hello through the mixnet"
KINDS = ["socks4", "socks4a", "socks5", "socks5h", "http", "http-tunnel"]


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for localhost and 127.0.0.1 that signs itself: paths of certificate and key."""
    folder = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "certificate.pem", folder / "key.pem"


@contextlib.asynccontextmanager
async def website(tls=None):
    """`/` is small, `/body` big, `/stream` chunked, `/ws` echoes; POST `/hash` hashes; `/seen` shows the request."""
    connections = set()

    async def small(request):
        connections.add(request.transport)
        return web.Response(body=HELLO)

    async def body(_request):
        return web.Response(body=BODY)

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for start in range(0, len(BODY), 50_000):
            await response.write(BODY[start : start + 50_000])
        await response.write_eof()
        return response

    async def hashed(request):
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    async def seen(request):
        return web.json_response(
            {"path": request.raw_path, "headers": sorted(k.lower() for k in request.headers)}
        )

    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data)
        return socket

    site = web.Application(client_max_size=1 << 30)
    site.add_routes(
        [
            web.get("/", small),
            web.get("/body", body),
            web.get("/stream", stream),
            web.get("/seen", seen),
            web.post("/hash", hashed),
            web.get("/ws", echo),
        ]
    )
    runner = web.AppRunner(site, access_log=None)
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1], connections
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def proxy_on(network, folder, **flags):
    settings = {
        "network": str(network.net.data_dir / "localnet.toml"),
        "listen.mixed": ["127.0.0.1:0"],
        "listen.metrics": "",
        "mixnet.profile": "uncovered",
    }
    config = load(environ={"HOME": str(folder)}, flags=settings | flags).config
    async with Proxy(wiring.make_plan(config, folder)) as proxy, asyncio.timeout(100):
        await proxy.ready()
        yield proxy


def program(name):
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is needed by this test")
    return found


async def run(*command, **environment):
    """Exit code, output, errors; with no proxy variables but those given."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=kept | environment
    )
    output, errors = await process.communicate()
    return process.returncode, output, errors.decode()


def curl(kind, port, *more):
    proxy = {
        "http": ("--proxy", f"http://127.0.0.1:{port}"),
        "http-tunnel": ("--proxy", f"http://127.0.0.1:{port}", "--proxytunnel"),
    }.get(kind, ("--proxy", f"{kind}://127.0.0.1:{port}"))
    return run(program("curl"), "--disable", "-sS", "--noproxy", "", "--max-time", "60", *proxy, *more)


@pytest.mark.parametrize("kind", KINDS)
async def test_curl_by_every_kind_of_proxy(network, tmp_path, certificate, kind):
    (tmp_path / "upload").write_bytes(BODY)
    async with (
        website() as (plain, _),
        website(certificate) as (secure, _),
        proxy_on(network, tmp_path) as proxy,
    ):
        port = proxy.addresses[0][1]
        host = "localhost" if kind in ("socks4a", "socks5h", "http", "http-tunnel") else "127.0.0.1"
        assert await curl(kind, port, f"http://{host}:{plain}/") == (0, HELLO, "")
        assert await curl(kind, port, f"http://{host}:{plain}/stream") == (0, BODY, "")
        upload = ("--data-binary", f"@{tmp_path}/upload")
        expected = hashlib.sha256(BODY).hexdigest().encode()
        assert await curl(kind, port, *upload, f"http://{host}:{plain}/hash") == (0, expected, "")
        chunked = (*upload, "-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue")
        assert await curl(kind, port, *chunked, f"http://{host}:{plain}/hash") == (0, expected, "")
        trust = ("--cacert", certificate[0])
        assert await curl(kind, port, *trust, f"https://{host}:{secure}/body") == (0, BODY, "")


@pytest.mark.parametrize("kind", KINDS)
async def test_curl_is_told_why_not(network, tmp_path, kind):
    async with proxy_on(network, tmp_path) as proxy:
        port = proxy.addresses[0][1]
        cases = [
            ("http://10.255.255.1:80/", 403, 2, "E_EXIT_POLICY"),
            ("http://127.0.0.1:1/", 502, 5, "E_TARGET_CONNECT"),
        ]
        for url, status, reply, code in cases:
            started = time.monotonic()
            result, output, errors = await curl(kind, port, "-w", "%{http_code} %{http_connect}", url)
            assert time.monotonic() - started < 20
            if kind == "http":
                assert result == 0
                assert output.startswith(code.encode())
                assert output.endswith(b"%d 000" % status)
            elif kind == "http-tunnel":
                assert (result, output) == (56, b"000 %d" % status)
            else:
                assert result == 97
                assert f"({91 if kind.startswith('socks4') else reply})" in errors


@contextlib.asynccontextmanager
async def http2_site(tls):
    """The least of HTTP/2 (RFC 9113): answers every request with 200 and the same body."""
    body = BODY[:60_000]  # fits the first flow control window

    def frame(kind, flags, stream, payload=b""):
        return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload

    async def serve(reader, writer):
        assert await reader.readexactly(24) == b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        writer.write(frame(4, 0, 0))
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                if kind == 4 and not flags & 1:
                    writer.write(frame(4, 1, 0))
                elif kind == 1:
                    writer.write(frame(1, 4, stream, b"\x88"))  # :status 200 of the static table
                    for start in range(0, len(body), 15_000):
                        last = start + 15_000 >= len(body)
                        writer.write(frame(0, int(last), stream, body[start : start + 15_000]))
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    context.set_alpn_protocols(["h2"])
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], body


@pytest.mark.parametrize("kind", KINDS)
async def test_curl_speaks_http2_through_every_kind_of_tunnel(network, tmp_path, certificate, kind):
    async with http2_site(certificate) as (secure, body), proxy_on(network, tmp_path) as proxy:
        more = ("--http2", "--cacert", certificate[0], "-w", "%{http_version}")
        url = f"https://127.0.0.1:{secure}/"
        assert await curl(kind, proxy.addresses[0][1], *more, url) == (0, body + b"2", "")


async def test_curl_reuses_connection_and_stream(network, tmp_path):
    async with website() as (plain, connections), proxy_on(network, tmp_path) as proxy:
        port = proxy.addresses[0][1]
        url = f"http://localhost:{plain}/"
        result, output, _errors = await curl("http", port, "-w", "%{num_connects}", url, url, url)
        assert (result, output) == (0, HELLO + b"1" + HELLO + b"0" + HELLO + b"0")
        assert len(connections) == 1, "one stream through the mixnet"
        assert proxy.server.stats.accepted == 1


async def test_the_destination_sees_nothing_of_the_proxy(network, tmp_path):
    async with website() as (plain, _), proxy_on(network, tmp_path) as proxy:
        port = proxy.addresses[0][1]
        header = ("--proxy-user", "me:secret", "-H", "X-Tor-Stream-Isolation: x")
        url = f"http://localhost:{plain}/seen?a=b"
        result, output, _errors = await curl("http", port, *header, url)
        assert result == 0
        assert output == b'{"path": "/seen?a=b", "headers": ["accept", "host", "user-agent"]}'


async def test_ports_for_one_protocol(network, tmp_path):
    flags = {"listen.socks": ["127.0.0.1:0"], "listen.http": ["127.0.0.1:0"]}
    async with website() as (plain, _), proxy_on(network, tmp_path, **flags) as proxy:
        ((_host, socks),) = proxy.addresses_apart[Speaks.SOCKS]
        ((_host, http),) = proxy.addresses_apart[Speaks.HTTP]
        url = f"http://localhost:{plain}/"
        assert await curl("socks5h", socks, url) == (0, HELLO, "")
        assert await curl("http", http, url) == (0, HELLO, "")
        assert b"E_NOT_SOCKS" in (await curl("http", socks, url))[1]
        assert (await curl("socks5h", http, url))[0] == 97
        assert (await curl("socks4a", http, url))[0] == 97


async def test_wget(network, tmp_path, certificate):
    async with (
        website() as (plain, _),
        website(certificate) as (secure, _),
        proxy_on(network, tmp_path) as proxy,
    ):
        proxies = dict.fromkeys(("http_proxy", "https_proxy"), f"http://127.0.0.1:{proxy.addresses[0][1]}")
        quiet = ("-q", "-O", "-", "--tries=1", "--timeout=60", f"--ca-certificate={certificate[0]}")
        wget = program("wget")
        assert await run(wget, *quiet, f"http://localhost:{plain}/body", **proxies) == (0, BODY, "")
        assert await run(wget, *quiet, f"https://localhost:{secure}/body", **proxies) == (0, BODY, "")
        code, _output, errors = await run(wget, "-O", "-", "--tries=1", "http://10.255.255.1/", **proxies)
        assert code == 8
        assert "403 Forbidden" in errors


async def test_aiohttp(network, tmp_path, certificate):
    trust = ssl.create_default_context(cafile=certificate[0])
    async with (
        website() as (plain, _),
        website(certificate) as (secure, _),
        proxy_on(network, tmp_path) as proxy,
        ClientSession(proxy=f"http://127.0.0.1:{proxy.addresses[0][1]}") as session,
    ):
        for url in (f"http://localhost:{plain}/stream", f"https://localhost:{secure}/stream"):
            async with session.get(url, ssl=trust) as response:
                assert await response.read() == BODY
        async with session.ws_connect(f"ws://localhost:{plain}/ws") as socket:
            for text in ("one", "two"):
                await socket.send_str(text)
                assert await socket.receive_str() == text
        async with session.get("http://10.255.255.1/") as response:
            assert response.status == 403
            assert response.headers["Proxy-Status"].endswith('details="E_EXIT_POLICY"')
            assert (await response.text()).startswith("E_EXIT_POLICY (exit): ")


@pytest.mark.parametrize("kind", ["http", "socks5h"])
async def test_requests(network, tmp_path, certificate, kind):
    requests = pytest.importorskip("requests")
    if kind == "socks5h":
        pytest.importorskip("socks", reason="requests needs PySocks for it")

    def fetch(url, proxy):
        with requests.Session() as session:
            session.trust_env = False
            got = [
                session.get(
                    url, proxies=dict.fromkeys(("http", "https"), proxy), verify=certificate[0], timeout=60
                )
            ]
            return got[0].content

    async with (
        website() as (plain, _),
        website(certificate) as (secure, _),
        proxy_on(network, tmp_path) as proxy,
    ):
        through = f"{kind}://127.0.0.1:{proxy.addresses[0][1]}"
        assert await asyncio.to_thread(fetch, f"http://localhost:{plain}/body", through) == BODY
        assert await asyncio.to_thread(fetch, f"https://localhost:{secure}/body", through) == BODY


@pytest.mark.parametrize("kind", list(ProxyType))
async def test_python_socks(network, tmp_path, kind):
    async with website() as (plain, _), proxy_on(network, tmp_path) as proxy:
        foreign = ForeignProxy(kind, "127.0.0.1", proxy.addresses[0][1], rdns=True)
        sock = await foreign.connect("localhost", plain, timeout=60)
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert (await reader.read(-1)).endswith(HELLO)
        writer.close()
        with pytest.raises(ProxyError):
            await foreign.connect("10.255.255.1", 80, timeout=60)
