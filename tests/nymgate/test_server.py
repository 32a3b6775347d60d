"""The listener over real sockets, with upstreams that echo, refuse, dawdle and break off."""

import asyncio
import contextlib
import os
import resource
import socket
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nym_exit.errors import ConnectFailed, ExitRefused, ExitSilent
from nymgate.errors import ListenError, Reply, StreamRefused
from nymgate.listener.listener_io import Phase
from nymgate.listener.server import ServerOptions, SocksServer
from tests.nymgate.listener_upstreams import (
    EchoUpstream,
    RefusingUpstream,
    SlowUpstream,
    SourceUpstream,
    TestUpstream,
)
from tests.nymgate.socks_client import GREETING, connect_request, dial, through

HTTP_REQUEST = b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n"
CONNECT_REQUEST = b"CONNECT a.example:443 HTTP/1.1\r\n\r\n"


def leave(writer):
    """Be gone, with a reset: a FIN alone could also be a half-close."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@contextlib.asynccontextmanager
async def serving(upstream, **options):
    async with SocksServer(upstream, ServerOptions(**options)) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)])
        yield server, port


async def eventually(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is another task's business
            await asyncio.sleep(0.005)


async def test_bytes_go_there_and_back():
    upstream = EchoUpstream()
    body = os.urandom(3_000_000)
    async with serving(upstream) as (server, port):
        async with through(port, "destination.example", 4321) as (reader, writer, code):
            assert code == Reply.SUCCEEDED

            async def send():
                for start in range(0, len(body), 100_000):
                    writer.write(body[start : start + 100_000])
                    await writer.drain()
                writer.write_eof()

            async with asyncio.TaskGroup() as group:
                group.create_task(send())
                received = await reader.read(-1)
        assert received == body
        await eventually(lambda: server.open_connections == 0)
        (stream,) = upstream.streams
        assert (stream.target.host, stream.target.port) == ("destination.example", 4321)
        assert stream.closed
        assert (server.stats.bytes_up, server.stats.bytes_down) == (len(body), len(body))
        assert server.stats.ended == {"ok": 1}
        assert server.stats.streams == 0


async def test_what_the_application_sends_before_the_reply_is_kept():
    upstream = SlowUpstream()
    async with serving(upstream, buffer_bytes=8192) as (server, port), dial(port) as (reader, writer):
        early = os.urandom(300_000)  # far more than the buffer: reading has to stop and go on
        writer.write(GREETING + connect_request() + early)
        writer.write_eof()
        await eventually(lambda: upstream.waiting)
        upstream.gate.set()
        assert (await reader.readexactly(12))[3] == Reply.SUCCEEDED
        assert await reader.read(-1) == early
        await eventually(lambda: server.stats.ended == {"ok": 1})


async def test_while_the_upstream_dawdles_little_is_buffered():
    upstream = SlowUpstream()
    async with serving(upstream, buffer_bytes=8192) as (server, port), dial(port) as (_reader, writer):
        writer.write(GREETING + connect_request() + bytes(50_000_000))
        await eventually(lambda: upstream.waiting)
        await asyncio.sleep(0.05)
        (connection,) = server._connections
        assert len(connection._early) < 8192 + 300_000
        leave(writer)


@pytest.mark.parametrize(
    "error, code",
    [
        (ExitRefused(), Reply.NOT_ALLOWED),
        (ConnectFailed(), Reply.CONNECTION_REFUSED),
        (ExitSilent("to a connect", 60), Reply.TTL_EXPIRED),
        (
            StreamRefused("No.", "Wait.", code="E_X", layer="gateway", socks_reply=Reply.NETWORK_UNREACHABLE),
            Reply.NETWORK_UNREACHABLE,
        ),
        (RuntimeError("a bug"), Reply.GENERAL_FAILURE),
    ],
)
async def test_refusals_become_full_replies(error, code):
    with structlog.testing.capture_logs() as logs:
        async with serving(RefusingUpstream(error)) as (server, port):
            async with through(port, "hidden.example") as (reader, _writer, got):
                assert got == code
                assert await reader.read(-1) == b"", "a clean end, not a reset that could eat the reply"
            await eventually(lambda: server.open_connections == 0)
            assert server.stats.streams == 0
    assert [event["event"] for event in logs if event["log_level"] == "info"] == ["stream.refused"]
    assert "hidden" not in str(logs)


async def test_an_odd_reply_code_of_an_error_is_a_general_failure():
    error = ExitRefused()
    error.socks_reply = 0x55
    async with serving(RefusingUpstream(error)) as (_server, port), through(port) as (_reader, _writer, code):
        assert code == Reply.GENERAL_FAILURE


async def test_early_success_answers_first_and_resets_on_refusal():
    upstream = SlowUpstream()
    async with (
        serving(upstream, early_success=True) as (_server, port),
        through(port, early=b"hello") as (reader, _writer, code),
    ):
        assert code == Reply.SUCCEEDED
        upstream.gate.set()
        assert await reader.readexactly(5) == b"hello"
    async with (
        serving(RefusingUpstream(ConnectFailed()), early_success=True) as (server, port),
        through(port) as (reader, _writer, code),
    ):
        assert code == Reply.SUCCEEDED
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        await eventually(lambda: server.stats.ended == {"E_TARGET_CONNECT": 1})


async def test_a_slow_application_makes_the_far_side_wait():
    body = os.urandom(20_000_000)
    upstream = SourceUpstream(body)
    async with (
        serving(upstream, buffer_bytes=65536) as (server, port),
        through(port) as (reader, _writer, _code),
    ):
        (stream,) = upstream.streams
        await eventually(lambda: stream.paused)
        await asyncio.sleep(0.05)
        (connection,) = server._connections
        assert stream.paused
        assert upstream.sent[stream] < 12_000_000, "the kernel's buffers and ours, not the whole body"
        assert connection._transport.get_write_buffer_size() < 65536 + 2 * upstream.piece
        assert await reader.read(-1) == body


async def test_a_slow_far_side_makes_the_application_wait():
    class Stuck(TestUpstream):
        stuck = True

        def wrote(self, stream, data):
            if self.stuck and len(stream.received) >= 100_000:
                stream.consumer.stream_paused()

    upstream = Stuck()
    async with serving(upstream) as (_server, port), through(port) as (_reader, writer, _code):
        writer.write(bytes(50_000_000))
        (stream,) = upstream.streams
        await eventually(lambda: len(stream.received) >= 100_000)
        await asyncio.sleep(0.05)
        held = len(stream.received)
        assert held < 1_000_000
        stream.consumer.stream_resumed()
        await eventually(lambda: len(stream.received) > held)
        leave(writer)
        upstream.stuck = False  # who does not read does not see that the application is gone
        stream.consumer.stream_resumed()
        await eventually(lambda: stream.closed)


async def test_the_application_may_end_first():
    class AnswersAtEnd(TestUpstream):
        def wrote_eof(self, stream):
            stream.consumer.stream_data(b"got %d" % len(stream.received))
            stream.consumer.stream_eof()

    async with serving(AnswersAtEnd()) as (_server, port), through(port) as (reader, writer, _code):
        writer.write(b"x" * 1000)
        writer.write_eof()
        assert await reader.read(-1) == b"got 1000"


async def test_the_far_side_may_end_first():
    upstream = SourceUpstream(b"all of it")
    async with serving(upstream) as (server, port), through(port) as (reader, writer, _code):
        assert await reader.read(-1) == b"all of it"
        assert server.open_connections == 1
        writer.write(b"still talking")
        (stream,) = upstream.streams
        await eventually(lambda: bytes(stream.received) == b"still talking")
        writer.write_eof()
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {"ok": 1}


async def test_a_stream_that_breaks_off_is_a_reset_not_an_end():
    class Breaks(TestUpstream):
        def started(self, stream):
            stream.consumer.stream_data(b"half a ")
            asyncio.get_running_loop().call_later(
                0.05, stream.consumer.stream_failed, ExitSilent("to data", 12)
            )

    upstream = Breaks()
    async with serving(upstream) as (server, port), through(port) as (reader, _writer, _code):
        assert await reader.readexactly(7) == b"half a "
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {"E_EXIT_SILENT": 1}
        assert not upstream.streams[0].closed, "a stream that has failed is not touched again"


async def test_a_stream_that_ends_in_order_closes_the_connection():
    class Ends(TestUpstream):
        def wrote(self, stream, data):
            stream.consumer.stream_data(b"bye")
            stream.consumer.stream_eof()
            stream.consumer.stream_ended()

    upstream = Ends()
    async with serving(upstream) as (server, port), through(port, early=b"x") as (reader, _writer, _code):
        assert await reader.read(-1) == b"bye"
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {"ok": 1}
        assert not upstream.streams[0].closed


async def test_what_was_written_before_the_end_is_sent_even_if_the_application_is_gone():
    upstream = TestUpstream()
    async with serving(upstream) as (server, port), through(port) as (_reader, writer, _code):
        writer.write(b"fire and forget")
        writer.write_eof()
        (stream,) = upstream.streams
        await eventually(lambda: stream.eof)
        leave(writer)
        await eventually(lambda: server.open_connections == 0 or stream.consumer.stream_data(b"nobody reads"))
        assert stream.closed
        assert not stream.aborted


async def test_an_application_that_leaves_closes_its_stream():
    upstream = TestUpstream()
    async with serving(upstream) as (server, port):
        async with through(port) as (_reader, writer, _code):
            leave(writer)
            await eventually(lambda: upstream.streams[0].aborted)
        assert server.stats.ended == {"E_APPLICATION_GONE": 1}
        assert server.stats.streams == 0


@pytest.mark.parametrize(
    "first", [GREETING + connect_request("a.example", 80), HTTP_REQUEST, CONNECT_REQUEST]
)
@pytest.mark.parametrize("upstream", [TestUpstream, SlowUpstream])
async def test_who_is_gone_after_a_last_word_holds_no_stream(monkeypatch, first, upstream):
    """Where the destination says nothing, nothing is written to the socket, and nothing else would find out."""
    monkeypatch.setattr("nymgate.listener.server.LOOK_SECONDS", 0.05)
    upstream = upstream()
    async with serving(upstream) as (server, port), dial(port) as (stays, writer), dial(port) as (_, leaver):
        for each in (writer, leaver):
            each.write(first)
            each.write_eof()
        await eventually(lambda: server.stats.streams == 2)
        await asyncio.sleep(0.2)
        assert server.stats.streams == 2, "half a connection may wait for its answer"
        leave(leaver)
        await eventually(lambda: server.stats.streams == 1)
        assert server.stats.ended == {"E_APPLICATION_GONE": 1}
        await eventually(lambda: server.open_connections == 1)
        assert not stays.at_eof()
        writer.transport.abort()


async def test_who_is_gone_from_a_unix_socket_holds_no_stream(monkeypatch, tmp_path):
    monkeypatch.setattr("nymgate.listener.server.LOOK_SECONDS", 0.05)
    async with SocksServer(TestUpstream()) as server:
        await server.listen_unix(tmp_path / "s")
        _, writer = await asyncio.open_unix_connection(tmp_path / "s")
        writer.write(CONNECT_REQUEST)
        await eventually(lambda: server.stats.streams == 1)
        writer.close()  # no reset here: with Unix sockets there is none
        await eventually(lambda: server.stats.streams == 0)


async def test_an_application_that_leaves_early_cancels_the_opening():
    upstream = SlowUpstream()
    async with serving(upstream) as (server, port):
        async with dial(port) as (_reader, writer):
            writer.write(GREETING + connect_request())
            await eventually(lambda: upstream.waiting)
            leave(writer)
            await eventually(lambda: upstream.cancelled)
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.streams == 0


async def test_a_crash_in_one_stream_ends_that_stream_only():
    class Crashes(EchoUpstream):
        def started(self, stream):
            if stream.target.host == "crash.example":
                raise ZeroDivisionError("a bug")

    upstream = Crashes()
    async with serving(upstream) as (server, port):
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            async with through(port, "crash.example") as (reader, _writer, _code):
                await reader.readexactly(1)
        async with through(port, early=b"hello") as (reader, _writer, _code):
            assert await reader.readexactly(5) == b"hello"
        assert server.stats.ended["E_INTERNAL"] == 1


@pytest.mark.parametrize("said", [b"", b"\x05", GREETING, GREETING + connect_request()[:-1]])
async def test_slow_loris_is_cut_off(said):
    async with (
        serving(TestUpstream(), handshake_timeout_seconds=0.2) as (server, port),
        dial(port) as (reader, writer),
    ):
        writer.write(said)
        async with asyncio.timeout(60):
            await reader.read(-1)
        await eventually(lambda: server.stats.ended == {"E_HANDSHAKE_TIMEOUT": 1})


async def test_one_byte_at_a_time_does_not_buy_time():
    async with (
        serving(TestUpstream(), handshake_timeout_seconds=0.3) as (server, port),
        dial(port) as (reader, writer),
    ):
        with contextlib.suppress(OSError, RuntimeError):  # uvloop raises the latter once it is closed
            for byte in b"\x05\xff" + bytes(100):
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.02)
        with contextlib.suppress(OSError):
            assert await reader.read(-1) == b""
        assert server.stats.ended == {"E_HANDSHAKE_TIMEOUT": 1}


@pytest.mark.parametrize(
    "said, answer, code",
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"HTTP/1.1 400 ", "E_HTTP_NOT_PROXIED"),
        (b"\x04\x02\x00\x50\x01\x02\x03\x04\x00", b"\x00\x5b", "E_SOCKS_COMMAND"),
        (b"\x16\x03\x01" + bytes(500), b"\x15\x03\x01", "E_TLS"),
        (b"\xde\xad\xbe\xef" * 10_000, b"", "E_UNKNOWN_PROTOCOL"),
        (b"\x05\x01\x01", b"\x05\xff", "E_SOCKS_METHOD"),
    ],
)
async def test_garbage_gets_an_answer_and_one_log_line(said, answer, code):
    with structlog.testing.capture_logs() as logs:
        async with serving(TestUpstream()) as (server, port):
            for _ in range(3):
                async with dial(port) as (reader, writer):
                    writer.write(said)
                    writer.write_eof()
                    assert (await reader.read(-1)).startswith(answer)
            await eventually(lambda: server.open_connections == 0)
            assert server.stats.ended == {code: 3}
    assert [event["code"] for event in logs if event["event"] == "listener.refused"] == [code]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=300), max_size=4))
async def test_the_listener_outlives_anything(pieces):
    upstream = EchoUpstream()
    async with serving(upstream, handshake_timeout_seconds=1) as (_server, port):
        async with dial(port) as (reader, writer):
            with contextlib.suppress(OSError):
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                writer.write_eof()
                async with asyncio.timeout(60):
                    await reader.read(-1)
        async with through(port, early=b"alive") as (reader, _writer, code):
            assert code == Reply.SUCCEEDED
            assert await reader.readexactly(5) == b"alive"


async def test_streams_beyond_the_limit_are_refused_at_once_and_room_is_made():
    upstream = EchoUpstream()
    async with serving(upstream, limit=2) as (server, port), contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(through(port))
        second = await stack.enter_async_context(through(port))
        assert (first[2], second[2]) == (0, 0)
        async with through(port) as (reader, _writer, code):
            assert code == Reply.GENERAL_FAILURE
            assert await reader.read(-1) == b""
        first[1].transport.abort()
        await eventually(lambda: server.stats.streams == 1)
        async with through(port) as (_reader, _writer, code):
            assert code == Reply.SUCCEEDED


async def test_many_at_once():
    upstream = EchoUpstream()
    async with serving(upstream) as (server, port):

        async def one(number: int):
            async with through(port, early=b"%04d" % number) as (reader, writer, _code):
                assert await reader.readexactly(4) == b"%04d" % number
                writer.write_eof()
                assert await reader.read(-1) == b""

        async with asyncio.TaskGroup() as group:
            for number in range(300):
                group.create_task(one(number))
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {"ok": 300}


async def test_drain_lets_streams_end_and_takes_no_more():
    upstream = EchoUpstream()
    async with (
        serving(upstream) as (server, port),
        through(port) as (reader, writer, _code),
        dial(port) as (idle, _),
    ):
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(server.drain(5))
            assert await idle.read(-1) == b"", "an application that has not asked yet is sent away"
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"last words")
            assert await reader.readexactly(10) == b"last words"
            writer.write_eof()
            assert await reader.read(-1) == b""
        assert draining.result()


async def test_drain_has_a_limit_and_the_end_is_a_reset():
    async with contextlib.AsyncExitStack() as outer:
        async with serving(EchoUpstream()) as (server, port):
            reader, _writer, _code = await outer.enter_async_context(through(port))
            assert not await server.drain(0.05)
            assert server.open_connections == 1
        assert server.open_connections == 0
        assert server.stats.ended == {"E_SHUTDOWN": 1}
        with pytest.raises(ConnectionResetError):
            await reader.read(-1)


async def test_leaving_does_not_wait_for_an_application_that_does_not_read():
    upstream = SourceUpstream(bytes(20_000_000))
    async with contextlib.AsyncExitStack() as outer, asyncio.timeout(60):
        async with serving(upstream) as (server, port):
            _reader, writer, _code = await outer.enter_async_context(through(port))
            writer.transport.pause_reading()
            await eventually(lambda: upstream.streams[0].paused)
        assert server.open_connections == 0


async def test_an_address_that_is_taken_says_so():
    async with serving(EchoUpstream()) as (_server, port), SocksServer(EchoUpstream()) as second:
        with pytest.raises(ListenError, match=rf"127\.0\.0\.1:{port}: .*in use"):
            await second.listen([("127.0.0.1", port)])


async def test_phases_end():
    async with serving(EchoUpstream()) as (server, port), through(port) as (_reader, _writer, _code):
        (connection,) = server._connections
        assert connection.phase is Phase.RELAYING
        connection.end("E_X")
        connection.end("E_X")
        assert connection.phase is Phase.GONE
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {"E_X": 1}


STARVED = """
    import asyncio, contextlib, resource, socket, sys
    import structlog, uvloop
    from nymgate.listener.server import SocksServer, ServerOptions
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    sys.path.insert(0, {here!r})
    from tests.nymgate.listener_upstreams import EchoUpstream

    async def main():
        # The hard limit is what the server may raise its own to.
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 200))
        async with SocksServer(EchoUpstream()) as server:
            ((_host, port),) = await server.listen([("127.0.0.1", 0)])
            print(port, flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
            spare = [socket.socket() for _ in range(40)]  # what gateway, store and log still need
            for sock in spare:
                sock.close()
            print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], flush=True)
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

    {run}(main())
"""


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
async def test_running_out_of_descriptors_is_survived_with_some_to_spare(run):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 600:
        pytest.fail("this test needs a limit of open files above 600 for its own end")
    source = textwrap.dedent(STARVED.format(here=str(Path(__file__).parents[2]), run=run))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        port = int(await process.stdout.readline())
        async with contextlib.AsyncExitStack() as stack:
            crowd = []
            for _ in range(300):  # the last ones are turned away at once
                with contextlib.suppress(OSError):
                    crowd.append((await stack.enter_async_context(dial(port)))[0])
            await eventually(lambda: any(reader.at_eof() or reader.exception() for reader in crowd))
            process.stdin.write(b"\n")
            assert int(await process.stdout.readline()) == 200, (
                "no descriptor was left, or the limit not raised"
            )
        async with asyncio.timeout(60):
            while True:  # descriptors come back when the crowd has left
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    async with through(port, early=b"alive") as (reader, _writer, code):
                        assert code == Reply.SUCCEEDED
                        assert await reader.readexactly(5) == b"alive"
                        break
                await asyncio.sleep(0.05)
    finally:
        process.stdin.write(b"\n")
        _, said = await process.communicate()
    assert said.count(b"there is no room even for a refusal") == 1
