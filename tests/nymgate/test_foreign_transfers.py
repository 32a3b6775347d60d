"""Programs that others wrote, at their real work through proxy and local network: clone, install, chain, move bulk."""

import asyncio
import contextlib
import hashlib
import os
import random
import ssl
import subprocess
import sys
import zipfile

import httpx
import pytest
from aiohttp import ClientSession, web

from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nymgate.apps.library_io import Gateway
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

pytestmark = pytest.mark.slow
BULK_BYTES = 6 << 20


@pytest.fixture(scope="module")
def network():
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        yield background


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@contextlib.asynccontextmanager
async def serving(routes, tls=None):
    app = web.Application(client_max_size=1 << 30)
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("kind", ["socks5h", "http", "http-tunnel"])
async def test_bulk_in_both_directions(network, tmp_path, kind):
    bulk = random.Random(7).randbytes(BULK_BYTES)
    (tmp_path / "bulk").write_bytes(bulk)
    digest = hashlib.sha256(bulk).hexdigest()

    async def send(_request):
        return web.FileResponse(tmp_path / "bulk")

    async def take(request):
        found = hashlib.sha256()
        async for chunk in request.content.iter_chunked(1 << 16):
            found.update(chunk)
        return web.Response(text=found.hexdigest())

    async with (
        serving([web.get("/bulk", send), web.put("/bulk", take)]) as site,
        proxy_on(network, tmp_path) as proxy,
    ):
        port, url = proxy.addresses[0][1], f"http://localhost:{site}/bulk"
        more = ("--max-time", "90", "-o", tmp_path / "got", url)
        assert await curl(kind, port, *more) == (0, b"", "")
        assert hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest() == digest
        upload = ("--max-time", "90", "--upload-file", tmp_path / "bulk", url)
        assert await curl(kind, port, *upload) == (0, digest.encode(), "")


def git_backend(root):
    """`git http-backend`, as web servers run it (CGI)."""

    async def serve(request):
        environ = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "REQUEST_METHOD": request.method,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        body = await request.read()
        process = await asyncio.create_subprocess_exec(
            program("git"),
            "http-backend",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environ | {"CONTENT_LENGTH": str(len(body))},
        )
        output, _errors = await process.communicate(body)
        head, _blank, content = output.partition(b"\r\n\r\n")
        headers = dict(line.decode().split(": ", 1) for line in head.split(b"\r\n"))
        status = int(headers.pop("Status", "200 OK").split()[0])
        return web.Response(status=status, headers=headers, body=content)

    return serve


async def git(*words, **environment):
    isolated = {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GIT_TERMINAL_PROMPT": "0",
    }
    code, output, errors = await run(program("git"), *words, **isolated, **environment)
    assert code == 0, errors
    return output


@pytest.mark.parametrize("scheme", ["socks5h", "http"])
async def test_git_clones_and_pushes_over_https(network, tmp_path, certificate, scheme):
    work, bare = tmp_path / "work", tmp_path / "served" / "project.git"
    await git("init", "-q", "-b", "main", work)
    (work / "big").write_bytes(random.Random(5).randbytes(500_000))
    me = ("-c", "user.name=Test", "-c", "user.email=test@example.com")
    await git("-C", work, "add", "big")
    await git("-C", work, *me, "commit", "-q", "-m", "Begin")
    await git("clone", "-q", "--bare", work, bare)
    await git("-C", bare, "config", "http.receivepack", "true")
    async with (
        serving([web.route("*", "/{path:.*}", git_backend(bare.parent))], certificate) as site,
        proxy_on(network, tmp_path / "home") as proxy,
    ):
        url = f"https://localhost:{site}/project.git"
        through = {
            "GIT_SSL_CAINFO": str(certificate[0]),
            "https_proxy": f"{scheme}://127.0.0.1:{proxy.addresses[0][1]}",
        }
        clone = tmp_path / "clone"
        await git("clone", "-q", url, clone, **through)
        assert (clone / "big").read_bytes() == (work / "big").read_bytes()
        (clone / "more").write_text("more")
        await git("-C", clone, "add", "more")
        await git("-C", clone, *me, "commit", "-q", "-m", "Go on")
        await git("-C", clone, "push", "-q", **through)
        assert await git("-C", bare, "log", "--format=%s", "main") == b"Go on\nBegin\n"


def make_wheel(path):
    """The least that pip takes for a package."""
    facts = "example_package-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("example_package.py", "ANSWER = 42\n")
        wheel.writestr(f"{facts}/METADATA", "Metadata-Version: 2.1\nName: example-package\nVersion: 1.0\n")
        wheel.writestr(
            f"{facts}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{facts}/RECORD", "")


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_pip_installs_from_an_index(network, tmp_path, certificate, scheme):
    name = "example_package-1.0-py3-none-any.whl"
    make_wheel(tmp_path / name)
    asked = []

    async def index(_request):
        asked.append("index")
        return web.Response(text=f'<a href="/files/{name}">{name}</a>', content_type="text/html")

    async def wheel(_request):
        asked.append("wheel")
        return web.FileResponse(tmp_path / name)

    routes = [web.get("/simple/example-package/", index), web.get(f"/files/{name}", wheel)]
    async with serving(routes, certificate) as site, proxy_on(network, tmp_path / "home") as proxy:
        through = f"{scheme}://127.0.0.1:{proxy.addresses[0][1]}"
        code, _output, errors = await run(
            sys.executable,
            *("-m", "pip", "--isolated", "--proxy", through, "--cert", certificate[0], "--timeout", "60"),
            *("install", "--quiet", "--no-deps", "--no-cache-dir", "--disable-pip-version-check"),
            *("--index-url", f"https://localhost:{site}/simple/", "--target", tmp_path / "target"),
            "example-package",
            PIP_CONFIG_FILE=os.devnull,
            REQUESTS_CA_BUNDLE=str(certificate[0]),  # where it is set it goes before --cert
        )
        assert code == 0, errors
    assert (tmp_path / "target" / "example_package.py").read_text() == "ANSWER = 42\n"
    assert asked == ["index", "wheel"]


# By itself pproxy takes uvloop where it finds it, and then fails for want of a loop.
PPROXY = """
import asyncio, sys
sys.modules["uvloop"] = None
asyncio.set_event_loop(asyncio.new_event_loop())
from pproxy.server import main
main()
"""


@contextlib.asynccontextmanager
async def pproxy_before(upstream, port):
    """pproxy as a server whose way out is the given proxy."""
    listen = f"http+socks4+socks5://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PPROXY, "-l", listen, "-r", upstream, stdout=subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError):
                    _reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@pytest.mark.parametrize("scheme", ["socks4", "socks5", "http"])
async def test_pproxy_in_front_of_us(network, tmp_path, certificate, unused_tcp_port, scheme):
    async with (
        website() as (plain, _),
        website(certificate) as (secure, _),
        proxy_on(network, tmp_path) as proxy,
        pproxy_before(f"{scheme}://127.0.0.1:{proxy.addresses[0][1]}", unused_tcp_port),
    ):
        host = "127.0.0.1" if scheme == "socks4" else "localhost"
        for kind in ("socks5h", "http-tunnel"):
            assert await curl(kind, unused_tcp_port, f"http://{host}:{plain}/") == (0, HELLO, "")
            url = ("--cacert", certificate[0], f"https://{host}:{secure}/body")
            assert await curl(kind, unused_tcp_port, *url) == (0, BODY, "")


async def test_httpx_by_its_own_proxy_support(network, tmp_path, certificate):
    trust = ssl.create_default_context(cafile=certificate[0])
    async with (
        website() as (plain, _),
        website(certificate) as (secure, _),
        http2_site(certificate) as (h2, body),
        proxy_on(network, tmp_path) as proxy,
        httpx.AsyncClient(
            proxy=f"http://127.0.0.1:{proxy.addresses[0][1]}",
            verify=trust,
            http2=True,
            timeout=60,
            trust_env=False,
        ) as client,
    ):
        assert (await client.get(f"http://localhost:{plain}/stream")).content == BODY
        assert (await client.get(f"https://localhost:{secure}/stream")).content == BODY
        answer = await client.get(f"https://localhost:{h2}/")
        assert (answer.http_version, answer.content) == ("HTTP/2", body)
        refused = await client.get("http://10.255.255.1/")
        assert refused.status_code == 403
        with pytest.raises(httpx.ProxyError, match="403"):
            await client.get("https://10.255.255.1/")


async def test_our_transport_and_connector_at_the_same_sites(network, tmp_path, certificate):
    trust = ssl.create_default_context(cafile=certificate[0])
    settings = {
        "network": network.net.data_dir / "localnet.toml",
        "data_dir": tmp_path,
        "profile": "uncovered",
    }
    async with (
        website(certificate) as (secure, connections),
        http2_site(certificate) as (h2, body),
        Gateway(**settings) as gateway,
        httpx.AsyncClient(transport=gateway.httpx_transport(verify=trust, http2=True), timeout=60) as client,
        ClientSession(connector=gateway.aiohttp_connector(ssl=trust)) as session,
    ):
        for _ in range(2):
            answer = await client.get(f"https://localhost:{h2}/")
            assert (answer.http_version, answer.content) == ("HTTP/2", body)
        both = await asyncio.gather(*(client.get(f"https://localhost:{h2}/") for _ in range(2)))
        assert [answer.content for answer in both] == [body, body]
        for _ in range(3):
            assert (await client.get(f"https://localhost:{secure}/")).content == HELLO
        assert len(connections) == 1, "kept alive through the mixnet"
        async with session.get(f"https://localhost:{secure}/stream") as response:
            assert await response.read() == BODY
        async with session.ws_connect(f"wss://localhost:{secure}/ws") as socket:
            await socket.send_str("one")
            assert await socket.receive_str() == "one"
