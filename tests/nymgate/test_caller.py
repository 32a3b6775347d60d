"""Who asks for streams: told apart, never shown, seen by the upstream and by nobody beyond it."""

import asyncio
import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nymgate.listener.caller import ANYBODY, Caller
from nymgate.listener.credential import Credential, credential, of_authorization
from nymgate.listener.server import SocksServer
from tests.nymgate.listener_upstreams import EchoUpstream
from tests.nymgate.socks_client import connect_request, dial


def test_a_caller_shows_the_listener_only():
    shown = repr(Caller("127.0.0.1:1080", "192.0.2.7", "alice", "sesame", "token"))
    assert "127.0.0.1:1080" in shown
    for hidden in ("192.0.2.7", "alice", "sesame", "token="):
        assert hidden not in shown
    assert not ANYBODY.listener


secrets = st.binary(max_size=20)


@given(secrets, secrets, secrets, secrets)
def test_different_credentials_are_different_texts(a, b, c, d):
    assert (Credential(a, b).joined() == Credential(c, d).joined()) == ((a, b) == (c, d))
    assert Credential(a, b, "http").joined() != Credential(c, d).joined()


@given(secrets.filter(lambda name: b":" not in name), secrets)
def test_basic_is_the_same_caller_as_a_socks_login(name, password):
    header = b"Basic " + base64.b64encode(name + b":" + password)
    assert of_authorization([header]) == credential(name, password)


def socks5_login(name: bytes, password: bytes) -> bytes:
    login = bytes((1, len(name))) + name + bytes((len(password),)) + password
    return b"\x05\x02\x00\x02" + login + connect_request("site.example", 80)


def http_connect(*headers: bytes) -> bytes:
    return b"\r\n".join((b"CONNECT site.example:80 HTTP/1.1", *headers)) + b"\r\n\r\n"


def http_get(*headers: bytes) -> bytes:
    return b"\r\n".join((b"GET http://site.example/ HTTP/1.1", b"Host: site.example", *headers)) + b"\r\n\r\n"


BASIC = b"Proxy-Authorization: Basic " + base64.b64encode(b"alice:secret")
TOKEN = b"X-Tor-Stream-Isolation: red"
LOGIN = Credential(b"alice", b"secret").joined()


@pytest.mark.parametrize(
    "said, seen, token",
    [
        (b"\x05\x01\x00" + connect_request("site.example", 80), None, None),
        (socks5_login(b"alice", b"secret"), LOGIN, None),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01bob\x00site.example\x00", Credential(b"bob", b"").joined(), None),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01\x00site.example\x00", None, None),
        (http_connect(), None, None),
        (http_connect(BASIC, TOKEN), LOGIN, "red"),
        (http_get(), None, None),
        (http_get(BASIC, TOKEN), LOGIN, "red"),
    ],
)
async def test_the_upstream_hears_who_asks(said, seen, token):
    upstream = EchoUpstream()
    async with SocksServer(upstream) as server:
        ((host, port),) = await server.listen([("127.0.0.1", 0)])
        async with dial(port) as (_reader, writer):
            writer.write(said)
            async with asyncio.timeout(60):
                while not upstream.callers:  # noqa: ASYNC110 - the listener opens it
                    await asyncio.sleep(0.005)
        assert upstream.callers == [Caller(f"{host}:{port}", "127.0.0.1", None, seen, token)]
        for stream in upstream.streams:
            assert b"YWxpY2U6c2VjcmV0" not in stream.received
            assert b"solation" not in stream.received


async def test_an_http_connection_of_two_callers_has_two_streams():
    class Site(EchoUpstream):
        def wrote(self, stream, data):
            with contextlib.suppress(AssertionError):
                stream.consumer.stream_data(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    upstream = Site()
    async with SocksServer(upstream) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)])
        async with dial(port) as (reader, writer):
            for headers in ((BASIC,), (BASIC,), (TOKEN,), ()):
                writer.write(http_get(*headers))
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200")
                assert await reader.readexactly(2) == b"hi"
    assert [(caller.credential, caller.token) for caller in upstream.callers] == [
        (LOGIN, None),
        (None, "red"),
        (None, None),
    ]
