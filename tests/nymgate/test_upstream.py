"""The mixnet as upstream: over the real exit client, with a mixnet made of timers below it."""

import asyncio
import contextlib

import pytest

from nym_exit.client_io import ExitClient
from nym_exit.errors import ConnectFailed, ExitRefused, ExitSilent
from nym_exit.options import ExitOptions
from nym_mixnet.link_state import LinkState
from nymgate.errors import Reply, StreamRefused
from nymgate.listener.handshake import Target
from nymgate.refusals import refusal_of
from nymgate.ways.sleep import Rest
from nymgate.ways.sleep_io import Sleeper
from nymgate.ways.upstream_io import MixnetUpstream, UpstreamOptions, Way
from tests.exit.fake_network import EXIT, Conditions, Echo, FakeClient, FakeExit
from tests.exit.virtual_time import run_virtual

TARGET = Target("target.example", 80)
ADDRESS = "target.example:80"


class SleepyClient:
    def __init__(self) -> None:
        self.events: list[str] = []

    async def pause(self):
        self.events.append("pause")

    async def resume(self):
        self.events.append("resume")


class Application:
    """The listener's side of a stream."""

    def __init__(self) -> None:
        self.data = b""
        self.events: list[object] = []
        self.over = asyncio.Event()

    def stream_data(self, data):
        self.data += data

    def stream_eof(self):
        self.events.append("eof")
        self.over.set()

    def stream_ended(self):
        self.events.append("ended")
        self.over.set()

    def stream_failed(self, error):
        self.events.append(error)
        self.over.set()

    def stream_paused(self):
        self.events.append("paused")

    def stream_resumed(self):
        self.events.append("resumed")


class World:
    """An upstream whose way leads over a fake mixnet to a fake exit."""

    def __init__(self, target=Echo, **options):
        self.client = FakeClient(Conditions())
        self.exit = FakeExit(self.client)
        self.exit.targets[ADDRESS] = target
        self.sleepy = SleepyClient()
        self.sleeper = Sleeper(self.sleepy, 60)
        self.exits = ExitClient(self.client, EXIT, ExitOptions())
        self.upstream = MixnetUpstream(UpstreamOptions(**options))
        self.way = Way(self.client, self.exits, self.sleeper)
        self.upstream.way = self.way

    async def open(self):
        stream = await self.upstream.open(TARGET)
        application = Application()
        stream.start(application)
        return stream, application

    async def close(self):
        await self.exits.close()
        await self.sleeper.close()
        await self.exit.tasks.close()


def in_world(test, target=Echo, **options):
    async def main():
        world = World(target, **options)
        try:
            await test(world)
        finally:
            await world.close()

    run_virtual(main())


def now():
    return asyncio.get_running_loop().time()


def test_bytes_travel_and_both_ends_close():
    async def test(world):
        stream, application = await world.open()
        body = bytes(range(256)) * 400
        stream.write(body)
        stream.write_eof()
        await application.over.wait()
        assert application.data == body
        assert application.events[0] == "eof"
        stream.close()
        assert world.sleeper.state is Rest.AWAKE

    in_world(test)


@pytest.mark.parametrize("target, counted", [("closed port", 2), ("refuse", 0), ("silent", 0)])
def test_streams_that_fail_at_their_targets_are_counted_until_one_does_not(target, counted):
    async def test(world):
        for _ in range(2):
            with pytest.raises((ExitRefused, ConnectFailed, ExitSilent)):
                await world.upstream.open(TARGET)
        assert world.upstream.target_failures == counted
        world.exit.targets[ADDRESS] = Echo
        stream, _ = await world.open()
        assert world.upstream.target_failures == 0
        stream.abort()

    in_world(test, target, connect_timeout_seconds=20)


@pytest.mark.parametrize(
    "target, error, code",
    [
        ("refuse", ExitRefused, Reply.NOT_ALLOWED),
        ("closed port", ConnectFailed, Reply.CONNECTION_REFUSED),
        ("silent", ExitSilent, Reply.TTL_EXPIRED),
    ],
)
def test_refusals_of_the_exit_have_their_code_and_are_bounded(target, error, code):
    async def test(world):
        started = now()
        with pytest.raises(error) as caught:
            await world.upstream.open(TARGET)
        refusal = refusal_of(caught.value)
        assert refusal.reply is code
        assert refusal.layer in ("exit", "target")
        assert now() - started < 21
        assert world.sleeper.state is Rest.AWAKE, "a stream that never came up does not keep the client awake"

    in_world(test, target, connect_timeout_seconds=20)


def test_early_success_reports_the_refusal_on_the_stream():
    async def test(world):
        _stream, application = await world.open()
        await application.over.wait()
        (error,) = application.events
        assert isinstance(error, ConnectFailed)
        assert world.sleeper.state is Rest.AWAKE

    in_world(test, "closed port", early_success=True)


def test_without_a_way_streams_are_refused_in_bounded_time_with_the_missing_layer():
    async def test(world):
        world.upstream.way = None
        world.upstream.missing = ("topology", "no nym-api answers")
        started = now()
        with pytest.raises(StreamRefused, match="no nym-api answers") as caught:
            await world.upstream.open(TARGET)
        assert 4.9 < now() - started < 6
        assert (caught.value.layer, caught.value.socks_reply) == ("topology", Reply.NETWORK_UNREACHABLE)

    in_world(test, link_wait_seconds=5)


def test_a_way_that_comes_up_in_time_is_taken():
    async def test(world):
        world.upstream.way = None

        async def later():
            await asyncio.sleep(4)
            world.upstream.way = world.way

        async with asyncio.TaskGroup() as group:
            group.create_task(later())
            opening = group.create_task(world.open())
        stream, application = opening.result()
        stream.write(b"hello")
        await asyncio.sleep(5)
        assert application.data == b"hello"
        stream.abort()

    in_world(test, link_wait_seconds=5)


@pytest.mark.parametrize(
    "state, layer, code",
    [
        (LinkState.RECONNECTING, "gateway", Reply.NETWORK_UNREACHABLE),
        (LinkState.CONNECTING, "gateway", Reply.NETWORK_UNREACHABLE),
        (LinkState.OUT_OF_BANDWIDTH, "tickets", Reply.GENERAL_FAILURE),
    ],
)
def test_a_lost_gateway_refuses_in_bounded_time_and_recovers(state, layer, code):
    async def test(world):
        world.client.link_state = state
        started = now()
        with pytest.raises(StreamRefused) as caught:
            await world.upstream.open(TARGET)
        assert now() - started < 11
        assert (caught.value.layer, caught.value.socks_reply) == (layer, code)
        assert not world.client.sent, "nothing was sent"
        asyncio.get_running_loop().call_later(3, setattr, world.client, "link_state", LinkState.READY)
        stream, _application = await world.open()
        stream.abort()

    in_world(test)


def test_streams_keep_the_client_awake_and_the_next_one_wakes_it():
    async def test(world):
        stream, _application = await world.open()
        await asyncio.sleep(200)
        assert world.sleepy.events == []
        stream.abort()
        await asyncio.sleep(61)
        assert world.sleepy.events == ["pause"]
        stream, _application = await world.open()
        assert world.sleepy.events == ["pause", "resume"]
        stream.abort()

    in_world(test)


def test_a_stream_is_counted_off_once_whichever_side_ends_it():
    async def test(world):
        stream, application = await world.open()
        stream.write_eof()
        await application.over.wait()
        stream.close()
        await asyncio.sleep(30)
        stream, application = await world.open()
        world.exits.client.link_state = LinkState.READY
        await world.exits.close()
        assert "ended" in application.events or application.events
        assert world.sleeper.state is Rest.AWAKE

    in_world(test)


def test_the_application_is_asked_to_wait_and_told_to_go_on():
    async def test(world):
        stream, application = await world.open()
        stream.write(bytes(1_000_000))
        assert application.events == ["paused"]
        await asyncio.sleep(60)
        assert application.events == ["paused", "resumed"]
        stream.abort()
        seen = len(application.events)
        await asyncio.sleep(10)
        assert len(application.events) == seen, "after abort nothing is called"

    in_world(test)


def test_a_paused_stream_delivers_nothing_until_resumed():
    async def test(world):
        stream, application = await world.open()
        stream.pause()
        stream.write(b"hello")
        await asyncio.sleep(5)
        assert application.data == b""
        stream.resume()
        assert application.data == b"hello"
        stream.abort()

    in_world(test)


def test_cancelling_an_opening_leaves_nothing_behind():
    async def test(world):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                await world.upstream.open(TARGET)
        await asyncio.sleep(1)
        assert world.exits.streams == 0
        assert world.sleeper.state is Rest.AWAKE

    in_world(test, "silent")
