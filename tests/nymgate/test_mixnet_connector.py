"""HTTP that goes by a SOCKS listener of ours, or not at all."""

import asyncio
import contextlib
import socket
import ssl

import aiohttp
import pytest
from aiohttp import web

from nymgate.errors import Reply
from nymgate.ways.mixnet_connector_io import mixnet_connector


@contextlib.asynccontextmanager
async def socks(reply=Reply.SUCCEEDED, *, cut=None):
    """A SOCKS5 listener that connects directly; yields its port and the targets it was asked for."""
    asked = []

    async def serve(reader, writer):
        with contextlib.closing(writer):
            assert await reader.readexactly(3) == b"\x05\x01\x00"
            writer.write(b"\x05\x00" if cut != "greeting" else b"HTTP/1.1 400 no\r\n\r\n")
            if cut == "greeting":
                return
            head = await reader.readexactly(4)
            size = {1: 4, 4: 16}.get(head[3]) or (await reader.readexactly(1))[0]
            host = await reader.readexactly(size)
            port = int.from_bytes(await reader.readexactly(2), "big")
            asked.append((head[3], host, port))
            if cut == "answer":
                writer.write(b"\x05\x00")
                return
            writer.write(
                bytes((5, reply, 0, 4)) + bytes(18) if head[3] == 4 else bytes((5, reply, 0, 1)) + bytes(6)
            )
            if reply is not Reply.SUCCEEDED:
                return
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)

            async def pump(source, sink):
                while data := await source.read(1 << 16):
                    sink.write(data)
                sink.close()

            await asyncio.gather(pump(reader, up_writer), pump(up_reader, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


@contextlib.asynccontextmanager
async def website():
    async def hello(request):
        return web.Response(text=f"hello {request.host}")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def session(port):
    async with aiohttp.ClientSession(connector=mixnet_connector("127.0.0.1", port)()) as http:
        yield http


@pytest.fixture
def no_names(monkeypatch):
    """Nobody looks a name up, or connects to anything but loopback."""

    async def look_up(*_arguments, **_options):
        raise AssertionError("a name was looked up")

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)


async def test_names_go_to_the_listener_as_they_are(no_names):
    async with website() as web_port, socks() as (port, asked), session(port) as http:
        async with http.get(f"http://Signer.Example:{web_port}/") as answer:
            assert await answer.text() == f"hello signer.example:{web_port}"
        assert asked == [(3, b"signer.example", web_port)]


@pytest.mark.parametrize(
    "host, kind, sent", [("127.0.0.1", 1, b"\x7f\0\0\1"), ("[::1]", 4, bytes(15) + b"\x01")]
)
async def test_addresses_do_not_go_around_it(no_names, host, kind, sent):
    async with website() as web_port, socks() as (port, asked), session(port) as http:
        async with http.get(f"http://{host}:{web_port}/") as answer:
            assert answer.status == 200
        assert asked == [(kind, sent, web_port)]


async def test_connections_are_kept(no_names):
    async with website() as web_port, socks() as (port, asked), session(port) as http:
        for _ in range(3):
            async with http.get(f"http://a.example:{web_port}/") as answer:
                await answer.read()
        assert len(asked) == 1


async def test_tls_is_spoken_with_the_destination_by_its_name(no_names):
    """The listener sees a ClientHello; what answers here does not speak TLS."""
    async with website() as web_port, socks() as (port, asked), session(port) as http:
        with pytest.raises((aiohttp.ClientConnectorError, ssl.SSLError)):
            await http.get(f"https://a.example:{web_port}/")
        assert asked == [(3, b"a.example", web_port)]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"reply": Reply.HOST_UNREACHABLE}, "SOCKS reply 4"),
        ({"cut": "greeting"}, "no proxy of ours|reset"),
        ({"cut": "answer"}, "hung up|reset"),
    ],
)
async def test_what_the_listener_refuses_is_refused(no_names, options, said):
    async with website() as web_port, socks(**options) as (port, _asked), session(port) as http:
        with pytest.raises(aiohttp.ClientConnectorError, match=said):
            await http.get(f"http://127.0.0.1:{web_port}/")


async def test_without_a_listener_nothing_is_sent(no_names):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with website() as web_port, session(port) as http:
        with pytest.raises(aiohttp.ClientConnectorError, match="no proxy of ours listens"):
            await http.get(f"http://127.0.0.1:{web_port}/")


async def test_should_aiohttp_change_the_way_it_connects_nothing_goes_around(monkeypatch, no_names):
    """Its own way of connecting, which ours replaces, finds no socket to connect with."""
    from nymgate.ways import mixnet_connector_io

    monkeypatch.delattr(mixnet_connector_io.MixnetConnector, "_wrap_create_connection")
    async with website() as web_port, socks() as (port, asked), session(port) as http:
        with pytest.raises(aiohttp.ClientConnectorError, match="around the mixnet"):
            await http.get(f"http://127.0.0.1:{web_port}/")
        assert asked == []
