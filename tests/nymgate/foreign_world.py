"""Web sites, a proxy on a local network and foreign programs: what tests of foreign clients share."""

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

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from nymgate import wiring
from nymgate.config_layers import load
from nymgate.daemon import Proxy

BODY = random.Random(2).randbytes(400_000)
HELLO = b"hello through the mixnet"


def make_certificate(folder):
    """A certificate for localhost and 127.0.0.1 that signs itself: paths of certificate and key."""
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
        "listen.web": "",
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
