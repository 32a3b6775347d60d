"""HTTP and SOCKS4 over real sockets: the listener with upstreams that answer, dawdle, refuse and break off."""

import asyncio
import contextlib
import os
import socket
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nym_exit.errors import ConnectFailed, ExitRefused, ExitSilent
from nymgate.listener.detect import Speaks
from nymgate.listener.server import ServerOptions, SocksServer
from nymgate.refusals import REFUSALS
from tests.nymgate.listener_upstreams import EchoUpstream, RefusingUpstream, SlowUpstream, TestUpstream
from tests.nymgate.socks_client import dial

GET = b"GET http://site.example/page HTTP/1.1\r\nHost: site.example\r\n\r\n"
CONNECT = b"CONNECT site.example:443 HTTP/1.1\r\nHost: site.example:443\r\n\r\n"
SOCKS4A = b"\x04\x01\x01\xbb\x00\x00\x00\x01me\x00site.example\x00"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class AnswerUpstream(TestUpstream):
    """Answers each head of a request with the same bytes."""

    def __init__(self, answer: bytes = HELLO) -> None:
        super().__init__()
        self.answer = answer

    def wrote(self, stream, data):
        if bytes(stream.received).endswith(b"\r\n\r\n"):
            stream.consumer.stream_data(self.answer)


@contextlib.asynccontextmanager
async def serving(upstream, speaks=Speaks.MIXED, **options):
    async with SocksServer(upstream, ServerOptions(**options)) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)], speaks)
        yield server, port


async def eventually(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is another task's business
            await asyncio.sleep(0.005)


def leave(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_a_connection_is_kept_and_so_is_its_stream():
    upstream = AnswerUpstream()
    async with serving(upstream) as (server, port):
        async with dial(port) as (reader, writer):
            for _ in range(3):
                writer.write(GET)
                assert await reader.readexactly(len(HELLO)) == HELLO
            (stream,) = upstream.streams
            assert server.stats.streams == 1
        await eventually(lambda: server.open_connections == 0)
        assert stream.aborted
        assert server.stats.streams == 0
        assert server.stats.ended == {"ok": 1}
        assert server.stats.bytes_up == 3 * len(GET)
        assert server.stats.bytes_down == 3 * len(HELLO)


async def test_one_byte_at_a_time():
    async with serving(AnswerUpstream()) as (_server, port), dial(port) as (reader, writer):
        for byte in GET + GET:
            writer.write(bytes((byte,)))
            await asyncio.sleep(0)
        assert await reader.readexactly(2 * len(HELLO)) == HELLO + HELLO


@pytest.mark.parametrize(
    "said, granted",
    [(CONNECT, b"HTTP/1.1 200 Connection established\r\n\r\n"), (SOCKS4A, b"\x00\x5a" + bytes(6))],
)
async def test_tunnels_carry_anything_both_ways(said, granted):
    upstream = EchoUpstream()
    body = os.urandom(1_000_000)
    async with serving(upstream) as (server, port):
        async with dial(port) as (reader, writer):
            writer.write(said + body)
            writer.write_eof()
            assert await reader.read(-1) == granted + body
        await eventually(lambda: server.stats.ended == {"ok": 1})
    (stream,) = upstream.streams
    assert stream.target.reveal() == "site.example:443"


async def test_a_tunnel_after_requests():
    class AnswerThenEcho(AnswerUpstream):
        def wrote(self, stream, data):
            if stream.target.port == 80:
                super().wrote(stream, data)
            else:
                stream.consumer.stream_data(data)

        def wrote_eof(self, stream):
            stream.consumer.stream_eof()

    upstream = AnswerThenEcho()
    body = os.urandom(500_000)
    async with serving(upstream) as (server, port):
        async with dial(port) as (reader, writer):
            writer.write(GET)
            assert await reader.readexactly(len(HELLO)) == HELLO
            writer.write(CONNECT + body)
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            writer.write_eof()
            assert await reader.read(-1) == body
        await eventually(lambda: server.stats.ended == {"ok": 1})
        assert server.stats.streams == 0
    assert upstream.streams[0].aborted


@pytest.mark.parametrize(
    "error", [ExitRefused(), ConnectFailed(), ExitSilent("to a connect", 60), RuntimeError("secret")]
)
@pytest.mark.parametrize("said", [CONNECT, GET, SOCKS4A])
async def test_refusals_have_their_status_and_identifier(error, said):
    async with serving(RefusingUpstream(error)) as (server, port):
        async with dial(port) as (reader, writer):
            writer.write(said + b"more" * 10_000)
            got = await reader.read(-1)
        row = REFUSALS[getattr(error, "code", "E_INTERNAL")]
        if said is SOCKS4A:
            assert got == b"\x00\x5b" + bytes(6)
        else:
            assert got.startswith(b"HTTP/1.1 %d " % row.status)
            assert f"\r\n\r\n{row.code} ({row.layer}): ".encode() in got
            assert b"secret" not in got
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {row.code: 1}
        assert server.stats.streams == 0


@pytest.mark.parametrize("first", [b"", GET])
async def test_a_destination_may_speak_first_in_a_tunnel(first):
    class Banner(AnswerUpstream):
        def started(self, stream):
            if stream.target.port == 443:
                stream.consumer.stream_data(b"220 ready")
                stream.consumer.stream_eof()

    async with serving(Banner()) as (server, port):
        async with dial(port) as (reader, writer):
            if first:
                writer.write(first)
                assert await reader.readexactly(len(HELLO)) == HELLO
            writer.write(CONNECT)
            assert (await reader.read(-1)).endswith(b"\r\n\r\n220 ready")
            assert server.open_connections == 1, "the application has not ended yet"
        await eventually(lambda: server.stats.ended == {"ok": 1})


async def test_an_answer_that_comes_while_the_request_is_still_written():
    class Hasty(TestUpstream):
        def wrote(self, stream, data):
            stream.consumer.stream_data(HELLO)

    post = b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    async with serving(Hasty()) as (server, port):
        for _ in range(2):
            async with dial(port) as (reader, writer):
                writer.write(post + post)
                assert (await reader.read(len(HELLO))) == HELLO
        await eventually(lambda: server.open_connections == 0)
        assert "E_INTERNAL" not in server.stats.ended
        assert server.stats.streams == 0


async def test_a_crash_while_a_stream_starts_ends_that_connection_only():
    class Crashes(AnswerUpstream):
        def started(self, stream):
            if stream.target.host == "crash.example":
                raise ZeroDivisionError("a bug")

    async with serving(Crashes()) as (server, port):
        async with dial(port) as (reader, writer):
            writer.write(GET.replace(b"site.", b"crash."))
            assert b"E_INTERNAL" in await reader.read(-1)
        async with dial(port) as (reader, writer):
            writer.write(GET)
            assert await reader.readexactly(len(HELLO)) == HELLO
        assert server.stats.ended["E_INTERNAL"] == 1


async def test_too_many_streams_is_an_answer_too():
    upstream = AnswerUpstream()
    async with serving(upstream, limit=1) as (server, port), dial(port) as (reader, writer):
        writer.write(GET)
        assert await reader.readexactly(len(HELLO)) == HELLO
        for said in (GET, CONNECT):
            async with dial(port) as (other, other_writer):
                other_writer.write(said)
                got = await other.read(-1)
                assert got.startswith(b"HTTP/1.1 503 ")
                assert b"E_ADMISSION" in got
        writer.write(GET.replace(b"site.", b"other."))  # its own kept stream makes room
        assert await reader.readexactly(len(HELLO)) == HELLO
        assert server.stats.streams == 1
        assert len(upstream.streams) == 2


@pytest.mark.parametrize(
    "speaks, said, answer, code",
    [
        (Speaks.SOCKS, GET, b"HTTP/1.1 400 ", "E_NOT_SOCKS"),
        (Speaks.SOCKS, CONNECT, b"HTTP/1.1 400 ", "E_NOT_SOCKS"),
        (Speaks.HTTP, b"\x05\x01\x00", b"\x05\xff", "E_NOT_HTTP"),
        (Speaks.HTTP, SOCKS4A, b"\x00\x5b", "E_NOT_HTTP"),
        (Speaks.HTTP, b"\x16\x03\x01", b"\x15\x03\x01", "E_TLS"),
        (Speaks.SOCKS, b"\x16\x03\x01", b"\x15\x03\x01", "E_TLS"),
        (Speaks.HTTP, b"\x00", b"", "E_UNKNOWN_PROTOCOL"),
    ],
)
async def test_a_port_for_one_protocol_says_so_to_the_others(speaks, said, answer, code):
    async with serving(TestUpstream(), speaks) as (server, port):
        async with dial(port) as (reader, writer):
            writer.write(said)
            got = await reader.read(-1)
            assert got.startswith(answer)
            assert got or not answer
        await eventually(lambda: server.stats.ended == {code: 1})


@pytest.mark.parametrize(
    "speaks, said, answer",
    [
        (Speaks.SOCKS, b"\x05\x01\x00", b"\x05\x00"),
        (Speaks.SOCKS, SOCKS4A, b"\x00\x5a"),
        (Speaks.HTTP, CONNECT, b"HTTP/1.1 200 "),
        (Speaks.HTTP, GET, b"HTTP/1.1 200 "),
    ],
)
async def test_a_port_for_one_protocol_speaks_it(speaks, said, answer):
    async with serving(AnswerUpstream(), speaks) as (_server, port), dial(port) as (reader, writer):
        writer.write(said)
        assert await reader.readexactly(len(answer)) == answer


@pytest.mark.parametrize("said", [b"C", CONNECT[:-1], b"G", GET[:-1], SOCKS4A[:-1], GET + GET[:-1]])
async def test_slow_loris_is_cut_off(said):
    async with (
        serving(AnswerUpstream(), handshake_timeout_seconds=0.2) as (server, port),
        dial(port) as (reader, writer),
    ):
        writer.write(said)
        async with asyncio.timeout(60):
            await reader.read(-1)
        await eventually(lambda: server.stats.ended == {"E_HANDSHAKE_TIMEOUT": 1})


@pytest.mark.parametrize(
    "start",
    [b"CONNECT a:80 HTTP/1.1\r\n", b"GET http://a/ HTTP/1.1\r\n", b"\x04\x01\x00\x50\x01\x01\x01\x01"],
)
async def test_one_byte_at_a_time_does_not_buy_time(start):
    async with (
        serving(TestUpstream(), handshake_timeout_seconds=0.3) as (server, port),
        dial(port) as (reader, writer),
    ):
        writer.write(start)
        with contextlib.suppress(OSError, RuntimeError):
            for _ in range(100):
                writer.write(b"x")
                await asyncio.sleep(0.02)
        with contextlib.suppress(OSError):
            assert await reader.read(-1) == b""
        assert server.stats.ended == {"E_HANDSHAKE_TIMEOUT": 1}


async def test_a_kept_connection_without_requests_ends_after_a_while():
    async with (
        serving(AnswerUpstream(), keep_alive_seconds=0.2) as (server, port),
        dial(port) as (reader, writer),
    ):
        writer.write(GET)
        async with asyncio.timeout(60):
            assert await reader.read(-1) == HELLO
        await eventually(lambda: server.stats.ended == {"ok": 1})
        assert server.stats.streams == 0


async def test_a_request_longer_than_the_times_for_heads_is_not_cut_off():
    upstream = AnswerUpstream()
    head = b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"
    options = {"handshake_timeout_seconds": 1.0, "keep_alive_seconds": 0.1}
    async with serving(upstream, **options) as (_server, port), dial(port) as (reader, writer):
        writer.write(head)
        await eventually(lambda: upstream.streams)
        await asyncio.sleep(1.5)
        writer.write(b"12345\r\n\r\n")
        received = await reader.readexactly(len(HELLO))
        assert received == HELLO


async def test_half_closed_applications_get_their_answer():
    class Later(TestUpstream):
        def wrote(self, stream, data):
            asyncio.get_running_loop().call_later(0.05, stream.consumer.stream_data, HELLO)

    async with serving(Later()) as (server, port):
        async with dial(port) as (reader, writer):
            writer.write(GET)
            writer.write_eof()
            assert (await reader.read(-1)).endswith(b"\r\n\r\nhello")
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {"ok": 1}


async def test_half_open_and_gone():
    """Applications that leave while a stream opens, while it answers, and between requests."""
    upstream = SlowUpstream()
    async with serving(upstream) as (server, port):
        for said in (GET, CONNECT, SOCKS4A):
            async with dial(port) as (_reader, writer):
                writer.write(said)
                await eventually(lambda: server.stats.streams == 1)
                leave(writer)
                await eventually(lambda: server.open_connections == 0)
        assert upstream.cancelled == 3
        assert server.stats.streams == 0
        assert server.stats.ended == {"E_APPLICATION_GONE": 3}
    quiet = TestUpstream()
    async with serving(quiet) as (server, port), dial(port) as (_reader, writer):
        writer.write(GET)
        await eventually(lambda: quiet.streams and quiet.streams[0].received)
        leave(writer)
        await eventually(lambda: quiet.streams[0].aborted)
        assert server.stats.ended == {"E_APPLICATION_GONE": 1}


async def test_half_an_answer_is_a_reset():
    class Breaks(TestUpstream):
        def wrote(self, stream, data):
            stream.consumer.stream_data(HELLO[:-2])
            asyncio.get_running_loop().call_later(
                0.05, stream.consumer.stream_failed, ExitSilent("to data", 12)
            )

    async with serving(Breaks()) as (server, port), dial(port) as (reader, writer):
        writer.write(GET)
        assert await reader.readexactly(len(HELLO) - 2) == HELLO[:-2]
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        await eventually(lambda: server.stats.ended == {"E_EXIT_SILENT": 1})


async def test_a_slow_application_makes_the_destination_wait():
    body = os.urandom(8_000_000)

    class Source(TestUpstream):
        sent = 0

        def wrote(self, stream, data):
            asyncio.get_running_loop().call_soon(self.answer, stream)

        def answer(self, stream):
            stream.consumer.stream_data(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            self.resumed(stream)

        def resumed(self, stream):
            while not stream.paused and not stream.closed and self.sent < len(body):
                piece = body[self.sent : self.sent + 16_000]
                self.sent += len(piece)
                stream.consumer.stream_data(piece)

    upstream = Source()
    async with serving(upstream, buffer_bytes=65536) as (_server, port), dial(port) as (reader, writer):
        writer.write(GET)
        await eventually(lambda: upstream.streams and upstream.streams[0].paused)
        await asyncio.sleep(0.05)
        assert upstream.sent < len(body)
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(body)) == body


async def test_a_slow_destination_makes_the_application_wait():
    class Stuck(TestUpstream):
        def wrote(self, stream, data):
            if len(stream.received) >= 100_000:
                stream.consumer.stream_paused()

    upstream = Stuck()
    async with serving(upstream) as (_server, port), dial(port) as (_reader, writer):
        writer.write(
            b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n" + bytes(50_000_000)
        )
        await eventually(lambda: upstream.streams and len(upstream.streams[0].received) >= 100_000)
        await asyncio.sleep(0.05)
        (stream,) = upstream.streams
        held = len(stream.received)
        assert held < 1_000_000
        stream.consumer.stream_resumed()
        await eventually(lambda: len(stream.received) > held)
        leave(writer)


async def test_pipelined_requests_beyond_the_buffer_wait_outside():
    upstream = SlowUpstream()
    async with serving(upstream, buffer_bytes=8192) as (server, port), dial(port) as (_reader, writer):
        writer.write(GET * 200_000)
        await eventually(lambda: upstream.waiting)
        await asyncio.sleep(0.05)
        (connection,) = server._connections
        assert connection.up < 8192 + 600_000
        leave(writer)


async def test_draining_ends_idle_connections_and_lets_exchanges_finish():
    upstream = TestUpstream()
    async with (
        serving(upstream) as (server, port),
        dial(port) as (idle, idle_writer),
        dial(port) as (busy, busy_writer),
    ):
        idle_writer.write(GET)
        await eventually(lambda: upstream.streams)
        upstream.streams[0].consumer.stream_data(HELLO)
        assert await idle.readexactly(len(HELLO)) == HELLO
        busy_writer.write(GET)
        await eventually(lambda: len(upstream.streams) == 2)
        async with asyncio.TaskGroup() as group:
            drained = group.create_task(server.drain(5))
            assert await idle.read(-1) == b""
            upstream.streams[1].consumer.stream_data(HELLO)
            assert await busy.read(-1) == HELLO
            assert await drained


async def test_early_success_is_said_to_tunnels_only():
    upstream = SlowUpstream()
    async with serving(upstream, early_success=True) as (_server, port):
        for said, granted in ((CONNECT, b"HTTP/1.1 200 "), (SOCKS4A, b"\x00\x5a")):
            async with dial(port) as (reader, writer):
                writer.write(said)
                assert await reader.readexactly(len(granted)) == granted
        async with dial(port) as (reader, writer):
            writer.write(GET)
            await eventually(lambda: upstream.waiting == 3)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await reader.read(1)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.sampled_from(
                [GET, CONNECT, SOCKS4A, b"GET ", b"CONNECT ", b"\x04\x01", b"\r\n\r\n", b"HEAD http://a/"]
            ),
        ),
        max_size=5,
    )
)
async def test_the_listener_outlives_anything(pieces):
    async with serving(AnswerUpstream(), handshake_timeout_seconds=1, keep_alive_seconds=1) as (server, port):
        async with dial(port) as (reader, writer):
            with contextlib.suppress(OSError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                writer.write_eof()
                with contextlib.suppress(TimeoutError):  # an open tunnel may stay silent
                    async with asyncio.timeout(0.2):
                        await reader.read(-1)
        async with dial(port) as (reader, writer):
            writer.write(GET)
            assert await reader.readexactly(len(HELLO)) == HELLO
        assert "E_INTERNAL" not in server.stats.ended
