"""Users, addresses, quotas, rules and the queue, as applications meet them over real sockets."""

import asyncio
import base64
import contextlib
import os
import socket
import stat
import struct
import time

import pytest
import structlog

from nymgate.access.doorkeeper_io import Doorkeeper, TooManyGuesses
from nymgate.access.judge import AccessRules, parse_networks
from nymgate.access.rules import destination_rules
from nymgate.access.usage import Usage, periods
from nymgate.access.usage_io import UsageKeeper, add_and_read
from nymgate.access.users import Limits, is_right
from nymgate.errors import ListenError, Reply
from nymgate.listener import server as server_module
from nymgate.listener.credential import Credential
from nymgate.listener.detect import Speaks
from nymgate.listener.server import ServerOptions, SocksServer
from tests.nymgate.listener_upstreams import EchoUpstream, SlowUpstream, TestUpstream
from tests.nymgate.socks_client import GREETING, connect_request, dial
from tests.nymgate.users import user

ALICE, BOB = user("alice", "sesame"), user("bob", "barley", streams=1)
USERS = {entry.name: entry for entry in (ALICE, BOB)}
WITH_USERS = AccessRules(users=USERS)


@contextlib.asynccontextmanager
async def serving(upstream, access=WITH_USERS, usage_file=None, **options):
    async with SocksServer(upstream, ServerOptions(**options), access, usage_file) as server:
        ((_host, port),) = await server.listen([("127.0.0.1", 0)])
        yield server, port


async def eventually(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is another task's business
            await asyncio.sleep(0.005)


def login(name, password):
    return b"\x05\x02\x00\x02\x01" + bytes((len(name),)) + name + bytes((len(password),)) + password


def basic(name, password):
    return b"Proxy-Authorization: Basic " + base64.b64encode(name + b":" + password)


def connect(*headers, host=b"site.example:80"):
    return b"\r\n".join((b"CONNECT " + host + b" HTTP/1.1", *headers)) + b"\r\n\r\n"


@contextlib.asynccontextmanager
async def as_user(port, name=b"alice", password=b"sesame", host="site.example"):
    """A SOCKS5 stream of a user: yields reader, writer and the reply code (None where the login was refused)."""
    async with dial(port) as (reader, writer):
        writer.write(login(name, password))
        assert await reader.readexactly(2) == b"\x05\x02"
        if await reader.readexactly(2) == b"\x01\x00":
            writer.write(connect_request(host))
            yield reader, writer, (await reader.readexactly(10))[1]
        else:
            assert await reader.read(-1) == b""
            yield reader, writer, None


async def said(port, data):
    async with dial(port) as (reader, writer):
        writer.write(data)
        return await reader.read(-1)


async def test_users_get_in_by_every_protocol_that_can_say_who_they_are():
    upstream = EchoUpstream()
    async with serving(upstream) as (_server, port):
        async with as_user(port, b"alice+mail") as (reader, writer, code):
            assert code == Reply.SUCCEEDED
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
        async with dial(port) as (reader, writer):
            writer.write(connect(basic(b"bob", b"barley"), b"X-Tor-Stream-Isolation: t") + b"hello")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
            assert await reader.readexactly(5) == b"hello"
        async with dial(port) as (reader, writer):
            writer.write(
                b"GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\n"
                + basic(b"alice", b"sesame")
                + b"\r\n\r\n"
            )
            await eventually(lambda: len(upstream.callers) == 3)
            assert b"uthorization" not in upstream.streams[2].received
    assert [(c.user, c.credential, c.token) for c in upstream.callers] == [
        ("alice", "mail", None),
        ("bob", None, "t"),
        ("alice", None, None),
    ]


async def test_a_login_and_its_request_may_come_at_once():
    async with serving(EchoUpstream()) as (_server, port), dial(port) as (reader, writer):
        writer.write(login(b"alice", b"sesame") + connect_request() + b"hello")
        assert (
            await reader.readexactly(2 + 2 + 10 + 5)
            == b"\x05\x02\x01\x00" + b"\x05\x00\x00\x01" + bytes(6) + b"hello"
        )


@pytest.mark.parametrize(
    "name, password", [(b"alice", b"wrong"), (b"nobody", b"sesame"), (b"", b""), (b"\xff", b"\xff")]
)
async def test_everybody_else_is_told_so_and_nothing_is_opened(name, password):
    upstream = EchoUpstream()
    with structlog.testing.capture_logs() as logs:
        async with serving(upstream) as (server, port):
            async with as_user(port, name, password) as (_reader, _writer, code):
                assert code is None
            answer = await said(port, connect(basic(name, password)))
            assert answer.startswith(b"HTTP/1.1 407 ")
            assert b'\r\nProxy-Authenticate: Basic realm="nymgate"' in answer
            assert b"E_AUTH_" in answer
            answer = await said(
                port,
                b"GET http://a.example/ HTTP/1.1\r\nHost: a.example\r\n"
                + basic(name, password)
                + b"\r\n\r\n",
            )
            assert answer.startswith(b"HTTP/1.1 407 ")
            await eventually(lambda: server.open_connections == 0)
            assert server.stats.streams == server.gate.admission.streams == 0
    assert not upstream.streams
    assert "sesame" not in str(logs)
    assert "alice" not in str(logs)


@pytest.mark.parametrize(
    "data, start",
    [
        (GREETING + connect_request(), b"\x05\xff"),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01alice\x00site.example\x00", b"\x00\x5b"),
        (connect(), b"HTTP/1.1 407 "),
        (connect(b"Proxy-Authorization: Bearer c2VzYW1l"), b"HTTP/1.1 407 "),
        (connect(b"Proxy-Authorization: Basic !!!"), b"HTTP/1.1 407 "),
        (b"GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n", b"HTTP/1.1 407 "),
    ],
)
async def test_who_does_not_say_who_they_are_is_asked(data, start):
    upstream = EchoUpstream()
    async with serving(upstream) as (_server, port):
        assert (await said(port, data)).startswith(start)
    assert not upstream.streams


async def test_a_thousand_connections_cost_one_hash():
    async with serving(EchoUpstream(), limit=2000) as (server, port):

        async def once():
            async with as_user(port) as (_reader, _writer, code):
                return code

        async with asyncio.TaskGroup() as group:
            first = [group.create_task(once()) for _ in range(50)]  # all before the first is done
        assert {task.result() for task in first} == {Reply.SUCCEEDED}
        for _ in range(200):
            assert await once() == Reply.SUCCEEDED
        for _ in range(200):
            async with dial(port) as (reader, writer):
                writer.write(connect(basic(b"alice+x", b"sesame")))
                assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert server.gate.doorkeeper.checks <= 2, "a name with a token is the same user"


async def test_the_loop_goes_on_while_a_password_is_hashed():
    started, go_on = [], [False]

    def slow(hashed, password):
        started.append(1)
        while not go_on[0]:
            time.sleep(0.005)
        return is_right(hashed, password)

    async with serving(EchoUpstream()) as (server, port):
        server.gate.doorkeeper._check = slow
        async with dial(port) as (reader, writer):
            writer.write(login(b"alice", b"sesame"))
            await eventually(lambda: started)
            answer = await said(port, connect())
            assert answer.startswith(b"HTTP/1.1 407 "), "others are served meanwhile"
            go_on[0] = True
            assert await reader.readexactly(4) == b"\x05\x02\x01\x00"


class TestDoorkeeper:
    async def test_guessing_gets_slower_and_a_known_user_does_not_notice(self):
        slept = []
        keeper = Doorkeeper(USERS)
        assert await keeper.check(Credential(b"alice", b"sesame"), "10.0.0.1") == ALICE
        keeper._delay, delay = (lambda where: slept.append(delay(where)) or 0.0), keeper._delay
        for number in range(8):
            assert await keeper.check(Credential(b"alice", b"guess%d" % number), "10.0.0.1") is None
        assert slept == sorted(slept)
        assert slept[0] < slept[3] < slept[-1] <= 4.0
        assert keeper.known(Credential(b"alice", b"sesame")) == ALICE
        assert await keeper.check(Credential(b"alice", b"sesame"), "10.0.0.1") == ALICE
        assert slept[-1] > delay("10.0.0.2") == slept[0], "others have guessed nothing"
        keeper.close()

    async def test_who_guesses_in_parallel_is_refused_unheard(self):
        keeper = Doorkeeper(USERS)
        guesses = [keeper.check(Credential(b"alice", b"guess%d" % n), "10.0.0.1") for n in range(40)]
        results = await asyncio.gather(*guesses, return_exceptions=True)
        assert sum(isinstance(result, TooManyGuesses) for result in results) == 8
        assert keeper.checks == 32
        assert (keeper._places.total(), keeper.refused) == (0, 40)
        keeper.close()

    async def test_what_was_wrong_is_not_hashed_again(self):
        keeper = Doorkeeper(USERS)
        keeper._delay = lambda where: 0.0
        for _ in range(20):
            assert await keeper.check(Credential(b"alice", b"guess"), None) is None
        assert keeper.checks == 1
        keeper.change({"alice": user("alice", "guess")})
        assert await keeper.check(Credential(b"alice", b"guess"), None) is not None
        keeper.close()

    async def test_unknown_users_are_hashed_too(self):
        hashed = []
        keeper = Doorkeeper(USERS, check=lambda entry, password: hashed.append(entry) or True)
        keeper._delay = lambda where: 0.0
        assert await keeper.check(Credential(b"nobody", b"x"), None) is None, "whatever the hash says"
        assert len(hashed) == 1
        keeper.close()


async def test_addresses_that_are_not_allowed_are_told_so():
    upstream = EchoUpstream()
    access = AccessRules(allow=parse_networks(["192.0.2.0/24"]))
    async with serving(upstream, access) as (server, port):
        assert await said(port, GREETING + connect_request()) == b"\x05\xff"
        assert (await said(port, b"\x04\x01\x00\x50\x01\x02\x03\x04\x00")).startswith(b"\x00\x5b")
        answer = await said(port, connect())
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"E_ACCESS" in answer
        server.reload(server.options, AccessRules())
        async with dial(port) as (reader, writer):
            writer.write(connect())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert len(upstream.streams) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "localhost", "db.internal", "denied.example"])
async def test_destinations_that_are_refused(host):
    upstream = EchoUpstream()
    access = AccessRules(destinations=destination_rules([], ["denied.example"], private=False))
    with structlog.testing.capture_logs() as logs:
        async with serving(upstream, access) as (_server, port):
            async with dial(port) as (reader, writer):
                writer.write(GREETING + connect_request(host))
                assert (await reader.readexactly(12))[3] == Reply.NOT_ALLOWED
            answer = await said(port, connect(host=host.encode() + b":443"))
            assert answer.startswith(b"HTTP/1.1 403 ")
            assert b"E_DESTINATION_RULE" in answer
            answer = await said(port, b"GET http://" + host.encode() + b"/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 403 ")
    assert not upstream.streams
    assert [event["code"] for event in logs if event["event"] == "stream.refused"] == [
        "E_DESTINATION_RULE"
    ] * 3
    assert host not in str(logs)


async def test_early_success_is_not_said_before_the_rules():
    access = AccessRules(destinations=destination_rules([], [], private=False))
    async with (
        serving(EchoUpstream(), access, early_success=True) as (_server, port),
        dial(port) as (reader, writer),
    ):
        writer.write(GREETING + connect_request("localhost"))
        assert (await reader.readexactly(12))[3] == Reply.NOT_ALLOWED


def leave(writer):
    """Be gone, with a reset: a FIN alone could also be a half-close."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def opened(port, count, stack, host="site.example"):
    """Ask for streams without waiting for them."""
    found = []
    for _ in range(count):
        reader, writer = await stack.enter_async_context(dial(port))
        writer.write(GREETING + connect_request(host))
        found.append((reader, writer))
    return found


@pytest.mark.parametrize("limits", [{"limit": 2}, {"per_caller": 2}, {"per_destination": 2}])
async def test_what_has_no_room_waits_for_its_turn(limits):
    upstream = EchoUpstream()
    async with (
        serving(upstream, AccessRules(), queue_per_caller=10, **limits) as (server, port),
        contextlib.AsyncExitStack() as stack,
    ):
        streams = await opened(port, 5, stack)
        await eventually(lambda: len(upstream.streams) == 2 and server.gate.admission.waiting == 3)
        for reader, _writer in streams[:2]:
            assert (await reader.readexactly(12))[3] == Reply.SUCCEEDED
        streams[0][1].write_eof()
        await eventually(lambda: len(upstream.streams) == 3)
        leave(streams[4][1])  # while it waits
        await eventually(lambda: server.gate.admission.waiting == 1)
        streams[1][1].write_eof()
        await eventually(lambda: len(upstream.streams) == 4)
        assert server.gate.admission.waiting == 0
    assert server.gate.admission.streams == server.stats.streams == 0


async def test_who_waits_too_long_or_behind_too_many_is_refused():
    async with (
        serving(EchoUpstream(), AccessRules(), limit=1, queue_per_caller=1, queue_seconds=1.0) as (
            server,
            port,
        ),
        contextlib.AsyncExitStack() as stack,
    ):
        (first,) = await opened(port, 1, stack)
        assert (await first[0].readexactly(12))[3] == Reply.SUCCEEDED
        (second,) = await opened(port, 1, stack)
        await eventually(lambda: server.gate.admission.waiting == 1)
        answer = await said(port, connect())
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"E_ADMISSION" in answer
        assert (await second[0].readexactly(12))[3] == Reply.GENERAL_FAILURE
        assert server.gate.admission.waiting == 0
        assert server.stats.ended["E_ADMISSION"] == 2


async def test_users_have_limits_of_their_own():
    upstream = SlowUpstream()
    async with serving(upstream) as (server, port), contextlib.AsyncExitStack() as stack:
        for name, word in ((b"bob", b"barley"), (b"alice", b"sesame"), (b"alice", b"sesame")):
            _reader, writer = await stack.enter_async_context(dial(port))
            writer.write(login(name, word) + connect_request())
        await eventually(lambda: upstream.waiting == 3)
        async with as_user(port, b"bob", b"barley") as (_reader, _writer, code):
            assert code == Reply.GENERAL_FAILURE, "one of his is open"
        assert server.stats.ended["E_ADMISSION"] == 1


class TestQuotas:
    @pytest.fixture(autouse=True)
    def often(self, monkeypatch):
        monkeypatch.setattr(server_module, "METER_SECONDS", 0.05)

    def rules(self, **limits):
        return AccessRules(users={"carol": user("carol", "sesame", **limits)})

    @pytest.mark.parametrize("limits", [{"bytes_per_day": 100_000}, {"bytes_per_month": 100_000}])
    async def test_who_has_used_up_a_quota_is_refused_also_after_a_restart(self, tmp_path, limits):
        path = tmp_path / "usage.sqlite"
        async with serving(EchoUpstream(), self.rules(**limits), path) as (_server, port):
            async with as_user(port, b"carol") as (reader, writer, code):
                assert code == Reply.SUCCEEDED
                with contextlib.suppress(ConnectionError):  # 200,000 bytes: what is open ends too
                    for _ in range(100):
                        writer.write(bytes(1000))
                        await reader.readexactly(1000)
            async with as_user(port, b"carol+other") as (_reader, _writer, code):
                assert code == Reply.NOT_ALLOWED
            answer = await said(port, connect(basic(b"carol", b"sesame")))
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"E_QUOTA" in answer
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with serving(EchoUpstream(), self.rules(**limits), path) as (server, port):
            async with as_user(port, b"carol") as (_reader, _writer, code):
                assert code == Reply.NOT_ALLOWED
            server.reload(server.options, self.rules(bytes_per_day=10**9))
            async with as_user(port, b"carol") as (_reader, _writer, code):
                assert code == Reply.SUCCEEDED

    async def test_a_stream_that_goes_beyond_the_quota_ends(self):
        async with serving(EchoUpstream(), self.rules(bytes_per_day=1_000_000)) as (server, port):
            async with as_user(port, b"carol") as (reader, writer, _code):

                async def for_ever():
                    while True:
                        writer.write(bytes(10_000))
                        await reader.readexactly(10_000)
                        await asyncio.sleep(0.001)

                with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                    await for_ever()
            assert server.stats.ended["E_QUOTA"] == 1
            day, month = server.gate.usage.used("carol", time.time())
            assert 1_000_000 <= day <= month

    async def test_others_are_not_charged(self, tmp_path):
        async with serving(EchoUpstream(), WITH_USERS, tmp_path / "u") as (server, port):
            async with as_user(port) as (reader, writer, _code):
                writer.write(bytes(5000))
                await reader.readexactly(5000)
            await eventually(lambda: server.gate.usage.used("alice", time.time())[0] == 10_000)
            assert server.gate.usage.used("bob", time.time()) == (0, 0)

    def test_days_and_months(self):
        noon = 1_790_000_000.0
        usage = Usage()
        usage.add("carol", 60, noon)
        assert periods(noon) == ("2026-09-21", "2026-09")
        assert usage.exceeds("carol", Limits(None, 60, None), noon)
        assert not usage.exceeds("carol", Limits(None, 60, None), noon + 86400), "tomorrow is another day"
        assert usage.exceeds("carol", Limits(None, None, 60), noon + 86400)
        assert not usage.exceeds("carol", Limits(None, None, 60), noon + 30 * 86400)
        assert not usage.exceeds("dave", Limits(None, 1, 1), noon)

    async def test_several_proxies_share_what_was_used(self, tmp_path):
        now = time.time()
        keepers = [UsageKeeper(Usage(), tmp_path / "usage") for _ in range(2)]
        for keeper in keepers:
            keeper.usage.add("carol", 30, now)
            assert await keeper.sync()
        assert await keepers[0].sync()
        assert [keeper.usage.used("carol", now)[0] for keeper in keepers] == [60, 60]
        keepers[0].usage.add("carol", 1, now)
        assert keepers[0].usage.used("carol", now) == (61, 61)

    async def test_months_gone_by_are_dropped(self, tmp_path):
        long_ago, now = 1_600_000_000.0, time.time()
        add_and_read(tmp_path / "usage", {("carol", periods(long_ago)[0]): 5}, long_ago)
        assert add_and_read(tmp_path / "usage", {}, now) == {}
        assert add_and_read(tmp_path / "usage", {}, long_ago) == {}

    async def test_a_store_that_fails_loses_nothing(self, tmp_path):
        now = time.time()
        keeper = UsageKeeper(Usage(), tmp_path / "none" / "usage")
        keeper.usage.add("carol", 5, now)
        assert not await keeper.sync()
        (tmp_path / "none").mkdir()
        assert await keeper.sync()
        assert keeper.usage.used("carol", now) == (5, 5)


async def test_reload_ends_kept_connections_and_keeps_streams():
    upstream = TestUpstream()
    async with serving(upstream, AccessRules()) as (server, port), dial(port) as (reader, writer):
        writer.write(GREETING + connect_request())
        await reader.readexactly(12)
        async with dial(port) as (kept, asking):
            asking.write(b"GET http://site.example/ HTTP/1.1\r\nHost: site.example\r\n\r\n")
            await eventually(lambda: len(upstream.streams) == 2)
            upstream.streams[1].consumer.stream_data(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            await kept.readuntil(b"\r\n\r\n")
            server.reload(ServerOptions(limit=7), WITH_USERS)
            assert await kept.read(-1) == b""
        writer.write(b"still here")
        await eventually(lambda: upstream.streams[0].received == b"still here")
        assert (await said(port, connect())).startswith(b"HTTP/1.1 407 ")
        async with as_user(port) as (_reader, _writer, code):
            assert code == Reply.SUCCEEDED
        server.reload(ServerOptions(), AccessRules())
        async with dial(port) as (reader, writer):
            writer.write(connect())
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_counts_by_listener_and_time_to_first_byte():
    async with SocksServer(EchoUpstream()) as server:
        ports = [
            (await server.listen([("127.0.0.1", 0)], speaks))[0][1] for speaks in (Speaks.SOCKS, Speaks.HTTP)
        ]
        await said(ports[0], b"\x05\x01\x01")
        async with dial(ports[1]) as (reader, writer):
            writer.write(connect() + b"hello")
            await reader.readuntil(b"hello")
            writer.write_eof()
            await reader.read(-1)
        await eventually(lambda: server.open_connections == 0)
        socks, http = (server.stats.listeners[f"127.0.0.1:{port}"] for port in ports)
        assert (socks.accepted, dict(socks.ended)) == (1, {"E_SOCKS_METHOD": 1})
        assert (http.accepted, dict(http.ended)) == (1, {"ok": 1})
        assert sum(server.stats.first_byte.counts) == 1
        assert server.stats.first_byte.sum_seconds >= 0


class TestUnixSockets:
    async def test_applications_of_this_machine_connect_by_path(self, tmp_path):
        upstream, path = EchoUpstream(), tmp_path / "s"
        access = AccessRules(allow=parse_networks(["192.0.2.1"]))
        async with SocksServer(upstream, access=access) as server:
            await server.listen_unix(path)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(GREETING + connect_request() + b"hello")
            assert (await reader.readexactly(17))[12:] == b"hello"
            writer.close()
            with pytest.raises(ListenError, match="another program listens"):
                await server.listen_unix(path)
            (caller,) = upstream.callers
            assert (caller.listener, caller.peer) == (f"unix:{path}", None)
        assert not path.exists()

    async def test_a_socket_left_behind_is_replaced_and_nothing_else_is(self, tmp_path):
        path, file = tmp_path / "s", tmp_path / "file"
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        file.write_text("mine")
        async with SocksServer(EchoUpstream()) as server:
            await server.listen_unix(path, mode=0o666)
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            with pytest.raises(ListenError, match="something else"):
                await server.listen_unix(file)
            assert file.read_text() == "mine"
            path.unlink()
            path.write_text("a successor's")
        assert path.read_text() == "a successor's"

    async def test_a_folder_that_is_not_there(self, tmp_path):
        async with SocksServer(EchoUpstream()) as server:
            with pytest.raises(ListenError, match="unix:"):
                await server.listen_unix(tmp_path / "none" / "s")

    def test_the_umask_is_as_before(self, tmp_path):
        before = os.umask(0o022)
        try:
            from nymgate.listener.unix_socket_io import bind_unix

            sock, _inode = bind_unix(tmp_path / "s", 0o600, 5)
            sock.close()
            assert os.umask(0o022) == 0o022
        finally:
            os.umask(before)
