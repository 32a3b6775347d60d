"""Programs that others wrote, through proxy and local network: each speaks its own kind of proxy, all at one port."""

import asyncio
import hashlib
import ssl
import time

import pytest
from aiohttp import ClientSession
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio import Proxy as ForeignProxy

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate.listener.detect import Speaks
from tests.nymgate.foreign_world import (
    BODY,
    HELLO,
    curl,
    http2_site,
    make_certificate,
    program,
    proxy_on,
    run,
    website,
)

KINDS = [
    "socks5h",
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in ("socks4", "socks4a", "socks5", "http", "http-tunnel")
    ),
]


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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
