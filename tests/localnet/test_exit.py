"""The exit serves docs/protocol/05 through a whole network of real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiohttp import web

from nym_exit.client_io import OWN_EXIT_NAME as EXIT_NAME
from nym_exit.codec import (
    Connect,
    ConnectionRefused,
    NetworkData,
    OpenProxyAnswer,
    Query,
    RequestMessage,
    ResponseMessage,
    Send,
)
from nym_exit.control import BinaryInfo, ControlRequest, Health, SupportedVersions
from nym_exit.errors import ConnectFailed, ExitRefused, ExitSilent, StreamError
from nym_exit.exit_policy import ExitPolicy
from nym_exit.facade_io import AsyncStream
from nym_exit.options import ExitOptions
from nym_exit.stream_options import StreamOptions
from nym_exit.surb_policy import SurbPolicy
from nym_localnet import Localnet, LocalnetOptions
from nym_localnet.counters import Faults
from nym_localnet.requester_io import LANE_PACKETS, Requester
from nym_mixnet.client_io import MixnetClient
from nym_mixnet.client_records import ReceivedMessage
from nym_mixnet.link_state import LinkState
from nym_mixnet.outgoing import Sending
from nym_sphinx import Recipient
from tests.localnet.harness import LOOPBACK, until
from tests.localnet.users import (
    SWIFT,
    answer_at_end,
    echo,
    exit_user,
    fetch,
    mixnet_client,
    read_all,
    target,
    world,
)

OPEN = "ExitPolicy accept *:*"
PAUSE_SECONDS = 3.0


def pattern(size: int) -> bytes:
    return random.Random(size).randbytes(size)


# Streams


async def test_a_real_http_server_answers() -> None:
    body = pattern(50_000)

    async def page(request: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/page", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, LOOPBACK, 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        async with world() as (net, user):
            request = b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            await user.binary_info()
            answer = await fetch(user, port, request, end=False)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(body)
            counters = (await net.nodes["exit1"].counters())["exit"]
            assert (counters["connects"], counters["connected"]) == (1, 1)
    finally:
        await runner.cleanup()


@pytest.mark.slow
async def test_large_transfers_both_ways_through_a_lossy_mix() -> None:
    data = pattern(150_000)
    async with (
        target(echo) as port,
        world(loss={"mix2": 0.02}) as (net, user),
        AsyncStream(await user.open(LOOPBACK, port)) as stream,
    ):
        reading = asyncio.get_running_loop().create_task(read_all(stream))
        await stream.write(data)
        await stream.write_eof()
        assert hashlib.sha256(await reading).digest() == hashlib.sha256(data).digest()
        assert (await net.nodes["mix2"].counters())["mix"]["dropped_lost"] > 0


async def test_half_close_reaches_the_target_and_its_late_answer_comes_back() -> None:
    async with target(answer_at_end) as port, world() as (_, user):
        info = await user.binary_info()
        assert info.binary_name == EXIT_NAME
        assert await fetch(user, port, b"question") == b"noitseuq"


async def test_many_connections_at_once() -> None:
    async with target(echo) as port, world() as (_, user):
        requests = [pattern(number + 1) for number in range(40)]
        answers = await asyncio.gather(*(fetch(user, port, request) for request in requests))
        assert answers == requests


async def test_an_own_return_address_works_like_reply_surbs() -> None:
    async with target(echo) as port, world(ExitOptions(anonymous=False)) as (_, user):
        assert await fetch(user, port, b"hello") == b"hello"


async def test_a_target_that_resets_ends_the_stream() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with target(reset) as port, world() as (_, user):
        await user.binary_info()
        async with asyncio.timeout(60):
            stream = AsyncStream(await user.open(LOOPBACK, port))
            await stream.write(b"x\n")
            with suppress(StreamError):
                assert await read_all(stream) == b""
            await stream.close()


async def test_a_target_that_speaks_first_and_leaves() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 welcome")
        await writer.drain()

    async with target(greet) as port, world() as (_, user):
        await user.binary_info()
        assert await fetch(user, port, b"") == b"220 welcome"


# Refusals


@pytest.mark.parametrize("allow_local_ips", [True, False])
async def test_local_addresses_only_where_they_are_allowed(allow_local_ips: bool) -> None:
    async with (
        target(echo) as port,
        world(exit_policy=OPEN, exit_allow_local_ips=allow_local_ips) as (_, user),
    ):
        if allow_local_ips:
            assert await fetch(user, port, b"hello") == b"hello"
        else:
            with pytest.raises(ExitRefused):
                await fetch(user, port, b"hello")


async def test_the_policy_decides() -> None:
    async with target(echo) as allowed, target(echo) as rejected, target(echo) as uncovered:
        policy = f"ExitPolicy reject *:{rejected}\nExitPolicy accept 127.0.0.1:{allowed}\n"
        async with world(exit_policy=policy) as (net, user):
            assert await fetch(user, allowed, b"hello") == b"hello"
            assert await fetch(user, allowed, b"by name", host="localhost") == b"by name"
            for port in (rejected, uncovered):
                with pytest.raises(ExitRefused):
                    await fetch(user, port, b"hello")
            with pytest.raises(ExitRefused):
                await fetch(user, allowed, b"hello", host="does-not-exist.invalid")
            counters = (await net.nodes["exit1"].counters())["exit"]
            assert counters["refused_by_policy"] == 3


async def test_a_closed_port_is_a_failed_connection() -> None:
    with socket.socket() as closed:
        closed.bind((LOOPBACK, 0))
        async with world() as (net, user):
            with pytest.raises(ConnectFailed):
                await fetch(user, closed.getsockname()[1], b"hello")
            assert (await net.nodes["exit1"].counters())["exit"]["failed_connects"] == 1


async def test_the_refuse_knob() -> None:
    async with target(echo) as port, world() as (net, user):
        net.nodes["exit1"].refuse = True
        with pytest.raises(ExitRefused):
            await fetch(user, port, b"hello")
        net.nodes["exit1"].refuse = False
        assert await fetch(user, port, b"hello") == b"hello"


# Stalls and restarts


async def test_a_stalled_exit_is_silent_and_goes_on_where_it_stopped() -> None:
    async with (
        target(echo) as port,
        world() as (net, user),
        AsyncStream(await user.open(LOOPBACK, port)) as stream,
    ):
        await stream.write(b"before")
        assert await stream.read() == b"before"
        net.nodes["exit1"].stall = True
        with pytest.raises(ExitSilent):
            await user.open(LOOPBACK, port, timeout=0.3)
        await stream.write(b"after")
        reading = asyncio.get_running_loop().create_task(stream.read())
        done, _ = await asyncio.wait([reading], timeout=0.3)
        assert not done
        net.nodes["exit1"].stall = False
        assert await reading == b"after"


async def test_a_restarted_exit_keeps_its_address() -> None:
    async with target(echo) as port, world() as (net, user):
        address = net.exit_address
        assert await fetch(user, port, b"one") == b"one"
        await net.nodes["exit1"].restart()
        assert net.exit_address == address
        async with exit_user(net) as other:
            assert await fetch(other, port, b"two") == b"two"


# Messages said by hand


SMALL_BUFFERS = ExitOptions(
    surbs=SurbPolicy(bank_target=100),
    stream=StreamOptions(receive_limit_bytes=64 << 10, demand_limit_bytes=64 << 10),  # for the rest: the bank
)


@pytest.mark.slow
async def test_a_reader_that_pauses_holds_the_download_back() -> None:
    content = pattern(4_000_000)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(3)
        writer.write(content)
        await writer.drain()

    async with (
        world(SMALL_BUFFERS) as (_, user),
        target(serve) as port,
        target(echo) as other,
        AsyncStream(await user.open(LOOPBACK, port)) as stream,
    ):
        await stream.write(b"GET")
        first = await stream.read()
        await asyncio.sleep(PAUSE_SECONDS)
        core = stream.stream.core
        await until(lambda: core.backlogged or core.error, "more than the reader wants has come")
        assert core.error is None
        assert core.backlogged
        # others are served meanwhile, from what they stir and earn
        assert await fetch(user, other, pattern(20_000)) == pattern(20_000)
        assert core.backlogged
        assert core.bytes_received < 2_000_000
        assert first + await read_all(stream) == content


@asynccontextmanager
async def by_hand(**network: Any) -> AsyncIterator[tuple[MixnetClient, Recipient, asyncio.Queue[bytes]]]:
    """A mixnet client that writes to an exit what the test wants, and what comes back."""
    async with Localnet(LocalnetOptions(**network)) as net, mixnet_client(net, SWIFT) as client:
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        client.on_message = lambda message: answers.put_nowait(message.data)
        yield client, Recipient.parse(net.exit_address), answers


async def heard(answers: asyncio.Queue[bytes]) -> bytes:
    async with asyncio.timeout(60):
        return await answers.get()


async def test_control_requests_and_queries() -> None:
    async with by_hand() as (client, exit_address, answers):

        async def ask(content: Any) -> ResponseMessage:
            await client.send_anonymous(exit_address, RequestMessage(content).encode(), surbs=12)
            return ResponseMessage.decode(await heard(answers))

        assert (await ask(ControlRequest.HEALTH)).content == Health()
        info = (await ask(ControlRequest.BINARY_INFO)).content
        assert isinstance(info, BinaryInfo)
        assert (info.binary_name, info.build_information.binary_name) == (EXIT_NAME, EXIT_NAME)
        assert (await ask(ControlRequest.SUPPORTED_VERSIONS)).content == SupportedVersions()
        assert (await ask(Query.OPEN_PROXY)).content == OpenProxyAnswer(False)
        policy = (await ask(Query.EXIT_POLICY)).content.policy  # type: ignore[union-attr]
        assert policy == ExitPolicy.parse(LocalnetOptions().exit_policy)
        assert (await ask(Query.DESCRIPTION)).content.description  # type: ignore[union-attr]


async def test_an_empty_policy_is_an_open_proxy() -> None:
    async with by_hand(exit_policy="") as (client, exit_address, answers):
        await client.send_anonymous(exit_address, RequestMessage(Query.OPEN_PROXY).encode(), surbs=12)
        assert ResponseMessage.decode(await heard(answers)).content == OpenProxyAnswer(True)


@pytest.mark.parametrize(("interface", "protocol"), [(0, 0), (3, 0), (3, 3), (7, 3)])
async def test_answers_come_in_the_versions_of_the_question(interface: int, protocol: int) -> None:
    async with target(echo) as port, by_hand() as (client, exit_address, answers):
        request = RequestMessage(Connect(5, f"{LOOPBACK}:{port}"), interface, protocol).encode()
        await client.send_anonymous(exit_address, request, surbs=14)
        answer = await heard(answers)
        assert answer == ResponseMessage(NetworkData(5, 0), interface, protocol).encode()
        refused = RequestMessage(Connect(6, 'no"where'), interface, protocol).encode()
        await client.send_anonymous(exit_address, refused, surbs=2)
        text = 'Domain "no\\"where" failed filter check'
        expected = ResponseMessage(ConnectionRefused(6, text), interface, protocol).encode()
        assert await heard(answers) == expected


async def test_data_that_overtakes_its_connect_is_not_lost() -> None:
    async with target(echo) as port, by_hand() as (client, exit_address, answers):
        await client.send_anonymous(exit_address, RequestMessage(Send(9, 1, b"second")).encode(), surbs=10)
        await client.send_anonymous(exit_address, RequestMessage(Send(9, 0, b"first ")).encode(), surbs=10)
        await asyncio.sleep(0.1)
        await client.send_anonymous(
            exit_address, RequestMessage(Connect(9, f"{LOOPBACK}:{port}")).encode(), surbs=10
        )
        received: dict[int, bytes] = {}
        while b"".join(received.values()) != b"first second":
            content = ResponseMessage.decode(await heard(answers)).content
            assert isinstance(content, NetworkData)
            received[content.seq] = content.data
        assert received[0] == b""  # the keep-alive that says that the connection is up


async def test_messages_that_are_none_are_dropped() -> None:
    async with by_hand() as (client, exit_address, answers):
        for junk in (b"", b"\x03\x09", b"\x03\x01\x09", b"nonsense"):
            await client.send_anonymous(exit_address, junk or b"\xff", surbs=12)
        await client.send_plain(exit_address, RequestMessage(ControlRequest.HEALTH).encode())
        await client.send_plain(exit_address, RequestMessage(Connect(1, f"{LOOPBACK}:1")).encode())
        await client.send_anonymous(exit_address, RequestMessage(ControlRequest.HEALTH).encode(), surbs=12)
        assert ResponseMessage.decode(await heard(answers)).content == Health()
        assert answers.empty()


# Bounds, with a client that is a stand-in


class SlowClient:
    """A mixnet client on which nothing is ever acknowledged: as if no reply SURBs came."""

    def __init__(self) -> None:
        self.on_message: Any = None
        self.link_state = LinkState.READY
        self.sent: list[bytes] = []
        self.closed_lanes: list[int] = []
        self.packets = 0

    async def reply(self, sender_tag: bytes, data: bytes, *, lane: int) -> Sending:
        self.sent.append(data)
        packets = -(-len(data) // 1600)
        self.packets += packets
        return Sending(packets)

    def lane_queued(self, lane: int) -> int:
        return self.packets

    async def wait_lane(self, lane: int, **limits: int) -> None:
        await asyncio.Event().wait()

    def close_lane(self, lane: int) -> None:
        self.closed_lanes.append(lane)


def requester_of(client: SlowClient, **options: Any) -> Requester:
    return Requester(
        client,  # type: ignore[arg-type]
        policy=ExitPolicy.open(),
        allow_local_ips=True,
        **options,
    )


async def test_a_fast_target_does_not_fill_the_exit() -> None:
    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    async with target(endless) as port:
        client = SlowClient()
        requester = requester_of(client)
        connect = RequestMessage(Connect(1, f"{LOOPBACK}:{port}")).encode()
        requester.on_message(ReceivedMessage(connect, b"t" * 16))
        await until(lambda: client.packets > LANE_PACKETS, "the exit sends what it may")
        await asyncio.sleep(0.2)
        read = requester.counters.bytes_from_targets
        await asyncio.sleep(0.2)
        assert requester.counters.bytes_from_targets == read < 3_000_000
        assert client.packets < LANE_PACKETS + 100
        await requester.close()
        assert client.closed_lanes[0] == 1


async def test_a_slow_target_holds_the_stream_back_within_its_limit() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with target(deaf) as port:
        client = SlowClient()
        limit = 1_000_000
        requester = requester_of(client, stream_options=StreamOptions(receive_limit_bytes=limit))
        tag = b"t" * 16
        connect = RequestMessage(Connect(1, f"{LOOPBACK}:{port}")).encode()
        requester.on_message(ReceivedMessage(connect, tag))
        await until(lambda: requester.connections == 1, "connected")
        for seq in range(1000):
            data = RequestMessage(Send(1, seq, bytes(16_000))).encode()
            requester.on_message(ReceivedMessage(data, tag))
            if seq % 10 == 0:
                await asyncio.sleep(0)
        await until(lambda: requester.connections == 0, "the stream was ended")
        await requester.close()


async def test_what_is_held_during_a_stall_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nym_localnet.requester_io.MAX_HELD_BYTES", 10)
    client = SlowClient()
    requester = requester_of(client, faults=Faults())
    requester.set_stall(True)
    for _ in range(20):
        requester.on_message(ReceivedMessage(RequestMessage(ControlRequest.HEALTH).encode(), b"t" * 16))
    assert requester.counters.messages == 0
    requester.set_stall(False)
    assert requester.counters.messages == 3
    await until(lambda: len(client.sent) == 3, "answered")
    await requester.close()


async def test_too_many_connections_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nym_localnet.requester_io.MAX_CONNECTIONS", 0)
    client = SlowClient()
    requester = requester_of(client)
    requester.on_message(ReceivedMessage(RequestMessage(Connect(3, "x:1")).encode(), b"t" * 16))
    await until(lambda: client.sent, "answered")
    assert ResponseMessage.decode(client.sent[0]).content == NetworkData(3, 0, b"", True)
    await requester.close()


async def test_a_repeated_connect_does_not_disturb_the_connection() -> None:
    async with target(echo) as port:
        client = SlowClient()
        requester = requester_of(client)
        connect = RequestMessage(Connect(1, f"{LOOPBACK}:{port}")).encode()
        for _ in range(2):
            requester.on_message(ReceivedMessage(connect, b"t" * 16))
        await until(lambda: requester.connections == 1, "connected")
        requester.on_message(ReceivedMessage(connect, b"t" * 16))
        assert requester.counters.connects == 3
        assert requester.counters.connected == 1
        await requester.close()
