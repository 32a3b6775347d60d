"""What the listener bears: crowds that say nothing, half a word or half a connection, and no descriptor left."""

import asyncio
import contextlib
import resource
import socket
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from nymgate.access.judge import AccessRules
from nymgate.errors import Reply
from nymgate.listener.server import ServerOptions, SocksServer
from tests.nymgate.listener_upstreams import EchoUpstream, TestUpstream
from tests.nymgate.socks_client import GREETING, connect_request, dial, through
from tests.nymgate.users import user

CROWD = 2000
KIB_EACH = 64
HERE = str(Path(__file__).parents[2])

SERVICE = """
    import asyncio, os, resource, sys
    import uvloop
    sys.path.insert(0, {here!r})
    from nymgate.logs import configure_logs
    from nymgate.listener.server import ServerOptions, SocksServer
    from tests.nymgate.listener_upstreams import EchoUpstream

    configure_logs(level="error", style="text", destinations=False)

    def rss():
        try:
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * resource.getpagesize()
        except OSError:  # no descriptor is left for it either
            return 0

    async def main():
        {before}
        async with SocksServer(EchoUpstream(), ServerOptions({options})) as server:
            ((_host, port),) = await server.listen([("127.0.0.1", 0)])
            print(port, flush=True)
            loop = asyncio.get_running_loop()
            while await loop.run_in_executor(None, sys.stdin.readline) != "end\\n":
                print(rss(), server.open_connections, server.stats.streams, flush=True)

    {run}(main())
"""


class Service:
    """A listener in a process of its own."""

    def __init__(self, process, port):
        self.process, self.port = process, port

    async def look(self):
        """Resident bytes, connections, streams."""
        self.process.stdin.write(b"look\n")
        return tuple(map(int, (await self.process.stdout.readline()).split()))

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition(seen := await self.look()):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        return seen


@contextlib.asynccontextmanager
async def service(*, run="asyncio.run", options="", before="pass"):
    source = textwrap.dedent(SERVICE.format(here=HERE, run=run, options=options, before=before))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield Service(process, int(await process.stdout.readline()))
        process.stdin.write(b"end\n")
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.contextmanager
def crowd(port, count, said=b"", answer=0):
    """So many sockets, each of which has said that and read so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 200:
        pytest.fail(f"this test needs {count + 200} open files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    sockets = []
    try:
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", port), timeout=60)
            sockets.append(sock)
            sock.sendall(said)
        for sock in sockets:
            left = answer
            while left:
                data = sock.recv(left)
                assert data
                left -= len(data)
        yield sockets
    finally:
        for sock in sockets:
            sock.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
@pytest.mark.parametrize(
    "said, answer",
    [
        (b"", 0),
        (b"\x05", 0),
        (b"GET http://site.example/ HTTP/1.1\r\n", 0),
        (GREETING + connect_request(), 12),
    ],
    ids=["silent", "socks", "http", "stream"],
)
async def test_two_thousand_idle_connections_are_cheap(run, said, answer):
    options = f"limit={CROWD}, handshake_timeout_seconds=600"
    async with service(run=run, options=options) as served:
        async with through(served.port, early=b"warm up") as (reader, _writer, code):
            assert code == Reply.SUCCEEDED
            await reader.readexactly(7)
        await served.until(lambda seen: seen[1] == 0)
        before, *_ = await served.look()
        with crowd(served.port, CROWD, said, answer):
            after, connections, streams = await served.until(lambda seen: seen[1] == CROWD)
            assert connections == CROWD
            assert streams == (CROWD if answer else 0)
            each = (after - before) / CROWD
            print(f"{each / 1024:.1f} KiB each")
            assert each <= KIB_EACH << 10
            async with dial(served.port) as (reader, writer):
                writer.write(GREETING)
                assert await reader.readexactly(2) == b"\x05\x00", "and others are heard"
        await served.until(lambda seen: seen[1] == 0)


@pytest.mark.parametrize("run", ["asyncio.run", "uvloop.run"])
async def test_having_no_descriptor_left_is_survived(run):
    """Not those that the listener counts on: every one is gone, and accept itself fails."""
    before = (
        "resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400)); "
        "kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(300)]"
    )
    async with service(run=run, before=before) as served:
        with crowd(served.port, 150):
            _rss, connections, _streams = await served.until(lambda seen: seen[1] > 0)
            assert connections < 150
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                    async with through(served.port, early=b"alive") as (reader, _writer, code):
                        assert code == Reply.SUCCEEDED
                        assert await reader.readexactly(5) == b"alive"
                        break
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def serving(upstream, access=None, **options):
    async with SocksServer(upstream, ServerOptions(**options), access or AccessRules()) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)])
        yield server, port


async def eventually(condition, seconds=30.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is another task's business
            await asyncio.sleep(0.005)


USERS = AccessRules(users={"alice": user("alice", "sesame")})


@pytest.mark.parametrize(
    "said, users",
    [
        (b"", False),
        (b"\x05\x01\x02", False),
        (b"\x05\x01\x02\x01\x05ali", False),
        (b"\x05\x01\x02\x01\x05alice\x06sesa", True),
        (b"\x04\x01\x00\x50", False),
        (b"CONNECT a:1 HTTP/1.1\r\nX: ", False),
        (b"POST http://a/ HTTP/1.1\r\nHost: a", True),
    ],
)
async def test_whoever_stops_in_the_middle_of_a_word_is_cut_off(said, users):
    async with (
        serving(TestUpstream(), USERS if users else None, handshake_timeout_seconds=0.2) as (server, port),
        dial(port) as (reader, writer),
    ):
        writer.write(said)
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)  # a time-out of ours: the test's own is the bound
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.ended == {"E_HANDSHAKE_TIMEOUT": 1}


async def test_a_login_that_drips_is_cut_off():
    async with (
        serving(TestUpstream(), USERS, handshake_timeout_seconds=0.3) as (server, port),
        dial(port) as (_reader, writer),
    ):
        for byte in b"\x05\x01\x02\x01\xff" + bytes(300):
            if server.stats.ended:
                break
            writer.write(bytes((byte,)))
            await asyncio.sleep(0.01)
        assert server.stats.ended == {"E_HANDSHAKE_TIMEOUT": 1}


async def test_half_open_connections_go_when_their_time_is_over():
    """The application is gone without a word, as when its machine was switched off: nothing ever comes."""
    upstream = EchoUpstream()
    async with serving(upstream, handshake_timeout_seconds=1.0, keep_alive_seconds=0.3) as (server, port):
        silent = []
        for said in (b"", b"\x05", b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setblocking(False)
            sock.send(said)
            silent.append(sock)
        await eventually(lambda: len(upstream.streams) == 1)
        await eventually(lambda: server.open_connections <= 1)
        for sock in silent:
            sock.close()
        await eventually(lambda: server.open_connections == 0)


async def test_streams_of_a_machine_that_is_gone_are_found_out():
    """By the kernel, which asks: this sees that it will."""
    upstream = EchoUpstream()
    async with serving(upstream) as (server, port), through(port):
        (connection,) = server._connections
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60


async def test_many_that_leave_at_once_leave_nothing_behind():
    upstream = EchoUpstream()
    async with serving(upstream) as (server, port):
        reset = struct.pack("ii", 1, 0)
        for said in (
            b"",
            GREETING,
            GREETING + connect_request(),
            b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        ) * 50:
            sock = socket.create_connection(("127.0.0.1", port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            sock.sendall(said)
            sock.close()
        async with through(port, early=b"alive") as (reader, _writer, code):
            assert code == Reply.SUCCEEDED
            assert await reader.readexactly(5) == b"alive"
        await eventually(lambda: server.open_connections == 0)
        assert server.stats.streams == server.gate.admission.streams == 0
        assert all(stream.closed for stream in upstream.streams)
