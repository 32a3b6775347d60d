"""Client and exit joined by a network of timers on a virtual clock: opening, streams, questions, failures."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import random

import pytest

from nym_exit.chunking import anonymous_chunking
from nym_exit.client_io import ExitClient
from nym_exit.codec import Connect, ConnectionRefused, NetworkData, ResponseMessage, Send
from nym_exit.control import ControlRequest
from nym_exit.errors import (
    BadTarget,
    ConnectFailed,
    ExitError,
    ExitRefused,
    ExitSilent,
    ExitStalled,
    MixnetDown,
    QueryRefused,
    StreamClosed,
    StreamGap,
    StreamLost,
    StreamReset,
    TooManyStreams,
)
from nym_exit.facade_io import AsyncStream
from nym_exit.options import ExitOptions, room_for_bank
from nym_exit.stream_options import StreamOptions
from nym_exit.surb_policy import SurbPolicy
from nym_mixnet.errors import LinkDown
from nym_mixnet.link_state import LinkState
from tests.exit.fake_network import (
    CLIENT,
    EXIT,
    OTHER,
    Conditions,
    Digest,
    Echo,
    FakeClient,
    FakeExit,
    Source,
    Target,
    Ticker,
)
from tests.exit.virtual_time import run_virtual

QUIET = ExitOptions(probe=False)


class Net:
    """Everything a test needs, on the running loop."""

    def __init__(self, conditions=None, *, options=QUIET, exit_name="nymgate-exit", seed=0):
        self.conditions = conditions or Conditions()
        self.client = FakeClient(self.conditions, seed)
        self.exit = FakeExit(self.client, name=exit_name, seed=seed + 1)
        self.exits = ExitClient(self.client, EXIT, options, rng=random.Random(seed))

    async def __aenter__(self):
        self.exits.start()
        return self

    async def __aexit__(self, *exc):
        await self.exits.close()
        await self.exit.tasks.close()
        assert self.exits.streams == 0
        assert all(bank.wanting == 0 for bank in self.client.banks.values())

    def target(self, target, text="target.example:443"):
        self.exit.targets[text] = target
        return target

    async def open(self, **kwargs):
        return await self.exits.open("target.example", 443, **kwargs)

    def sends(self):
        return [sent.content for sent in self.client.sent if isinstance(sent.content, Send)]


async def read_all(stream):
    parts = []
    while part := await stream.read():
        parts.append(part)
    return b"".join(parts)


def virtual(test):
    """Run an async test on the virtual clock."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        run_virtual(test(*args, **kwargs))
        gc.collect()  # a future nobody looked at would warn, and warnings are errors

    # the copy of the wrapped coroutine function would make pytest-asyncio run it on its own loop
    run.__signature__ = inspect.signature(test)
    del run.__wrapped__
    return run


# ---- opening ------------------------------------------------------------------------------------------------


@virtual
async def test_open_answers_when_the_exit_has_connected():
    async with Net() as net:
        target = net.target(Echo())
        before = asyncio.get_running_loop().time()
        stream = await net.open()
        took = asyncio.get_running_loop().time() - before
        assert 0.1 < took < 0.7
        assert net.exits.streams == 1
        assert net.exits.stats.opened == 1
        async with AsyncStream(stream) as pipe:
            await pipe.write(b"hello")
            assert await pipe.read() == b"hello"
            await pipe.write_eof()
            assert await pipe.read() == b""
        assert target.received == b"hello"
        assert target.eof
        # no separate keep-alive: the request is message 0
        assert net.sends()[0].data == b"hello"
        assert [send.seq for send in net.sends()] == list(range(len(net.sends())))


@virtual
async def test_a_refusal_says_so_without_the_destination():
    async with Net() as net:
        with pytest.raises(ExitRefused) as caught:
            await net.exits.open("forbidden.example", 25)
        assert "forbidden" not in str(caught.value)
        assert caught.value.socks_reply == 2
        assert net.exits.streams == 0
        # the exit has no such connection: a closing message would only lie around there
        assert net.sends() == []


@virtual
async def test_a_target_that_does_not_answer():
    async with Net() as net:
        net.target("closed port")
        with pytest.raises(ConnectFailed) as caught:
            await net.open()
        assert caught.value.socks_reply == 5
        assert net.sends() == []


@virtual
async def test_a_silent_exit_is_given_up_in_time():
    async with Net() as net:
        net.target("silent")
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(ExitSilent):
            await net.open()
        assert loop.time() - started == pytest.approx(30.0)
        started = loop.time()
        with pytest.raises(ExitSilent):
            await net.open(timeout=2.0)
        assert loop.time() - started == pytest.approx(2.0)
        assert net.exits.stats.failures["E_EXIT_SILENT"] == 2


@virtual
async def test_early_streams_carry_data_at_once():
    async with Net() as net:
        net.target(Echo())
        net.client.surbs_at_exit = 1000
        loop = asyncio.get_running_loop()
        before = loop.time()
        stream = await net.open(early=True, initial=b"GET /")
        assert loop.time() == before
        pipe = AsyncStream(stream)
        assert await pipe.read() == b"GET /"
        kinds = [type(sent.content) for sent in net.client.sent]
        assert kinds[:2] == [Connect, Send]
        assert net.client.sent[1].at == before
        await pipe.close()


@virtual
async def test_early_streams_report_refusals_on_the_stream():
    async with Net() as net:
        stream = await net.open(early=True, initial=b"GET /")
        pipe = AsyncStream(stream)
        with pytest.raises(ExitRefused):
            await pipe.read()
        with pytest.raises(ExitRefused):
            await pipe.write(b"more")
        net.target("closed port")
        with pytest.raises(ConnectFailed):
            await AsyncStream(await net.open(early=True)).read()
        net.target("silent")
        started = asyncio.get_running_loop().time()
        with pytest.raises(ExitSilent):
            await AsyncStream(await net.open(early=True, timeout=5.0)).read()
        assert asyncio.get_running_loop().time() - started == pytest.approx(5.0)


@virtual
async def test_bad_targets_send_nothing():
    async with Net() as net:
        for host, port in (("", 1), ("a\nb", 1), ("a", 0), ("a" * 70_000, 1)):
            with pytest.raises(BadTarget):
                await net.exits.open(host, port)
        assert net.client.sent == []


@virtual
async def test_addresses_are_written_as_the_reference_does():
    async with Net() as net:
        for host in ("2001:db8::1", "10.0.0.1", "MiXed.Example"):
            with pytest.raises(ExitRefused):
                await net.exits.open(host, 443)
        assert [connect.remote for connect in net.exit.connects] == [
            "2001:db8:0:0:0:0:0:1:443",
            "10.0.0.1:443",
            "MiXed.Example:443",
        ]


@virtual
async def test_a_cancelled_open_leaves_nothing_behind():
    async with Net() as net:
        net.target(Ticker())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await net.open()
        await asyncio.sleep(10)
        assert net.exits.streams == 0
        assert len(net.exit.table) == 0


@virtual
async def test_the_number_of_streams_is_bounded():
    async with Net(options=ExitOptions(probe=False, max_streams=2)) as net:
        net.target(Target())
        await net.open()
        await net.open()
        with pytest.raises(TooManyStreams):
            await net.open()


@virtual
async def test_a_client_that_cannot_send_names_the_layer():
    async with Net() as net:
        net.target(Echo())
        net.client.send_error = LinkDown("no gateway")
        with pytest.raises(MixnetDown) as caught:
            await net.open()
        assert caught.value.layer == "gateway"
        net.client.send_error = None
        pipe = AsyncStream(await net.open())
        net.client.send_error = LinkDown("no gateway")
        with pytest.raises(MixnetDown):  # noqa: PT012 - the write that fails is found out a moment later
            await pipe.write(b"x")
            await pipe.read()
        net.client.send_error = None


@virtual
async def test_a_request_that_is_lost_for_good():
    async with Net(options=ExitOptions(probe=False, open_timeout_seconds=600.0)) as net:
        net.client.conditions.black_hole = True
        with pytest.raises(StreamLost) as caught:
            await net.open()
        assert caught.value.layer == "mixnet"


# ---- streams ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("exit_name", ["nymgate-exit", "nym-network-requester"])
def test_transfers_both_ways_through_a_bad_network(seed, exit_name):
    conditions = Conditions(loss=0.2, duplicates=0.1, retransmission_seconds=0.5, retransmissions=50)

    async def scenario():
        async with Net(conditions, seed=seed, exit_name=exit_name) as net:
            data = random.Random(seed).randbytes(300_000)
            net.target(Echo())
            net.target(Source(data), "source.example:443")
            up = AsyncStream(await net.open())
            down = AsyncStream(await net.exits.open("source.example", 443))

            async def upload():
                for start in range(0, len(data), 10_000):
                    await up.write(data[start : start + 10_000])

            async def receive():
                received = bytearray()
                while len(received) < len(data):
                    received += await up.read()
                return bytes(received)

            async with asyncio.TaskGroup() as group:
                group.create_task(upload())
                echoed = group.create_task(receive())
                downloaded = group.create_task(read_all(down))
            assert echoed.result() == data
            assert downloaded.result() == data
            await up.close()
            await down.close()

    run_virtual(scenario())


@virtual
async def test_two_hundred_streams_at_once():
    async with Net(Conditions(duplicates=0.2)) as net:
        net.target(Echo)

        async def one(number):
            async with AsyncStream(await net.open()) as pipe:
                await pipe.write(b"%d" % number)
                await pipe.write_eof()
                return await read_all(pipe)

        answers = await asyncio.gather(*(one(number) for number in range(200)))
        assert answers == [b"%d" % number for number in range(200)]
        await asyncio.sleep(120)
        assert net.exits.streams == 0
        # every lane was given back exactly once its packets were acknowledged
        assert len(net.client.closed_lanes) == len(set(net.client.closed_lanes)) == 200


@virtual
async def test_half_close_works_with_our_own_exit():
    async with Net(options=ExitOptions()) as net:
        net.target(Digest())
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(1)  # the probe's answer
        assert net.exits.half_close is True
        await pipe.write(bytes(1000))
        await pipe.write_eof()
        assert await read_all(pipe) == b"1000 bytes"
        await pipe.close()


@virtual
async def test_towards_the_reference_the_end_is_held_back():
    async with Net(options=ExitOptions(), exit_name="nym-network-requester") as net:
        net.target(Target())
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(1)
        assert net.exits.half_close is False
        await pipe.write(b"request")
        await pipe.write_eof()
        await asyncio.sleep(29)
        assert not any(send.closed for send in net.sends())
        await asyncio.sleep(2)
        assert [send.closed for send in net.sends()] == [False, True]
        assert await read_all(pipe) == b""


@virtual
async def test_aborting_a_download_stops_the_exit():
    async with Net(options=ExitOptions()) as net:
        target = net.target(Ticker())
        stream = await net.open()
        await asyncio.sleep(5)
        stream.abort()
        await asyncio.sleep(5)
        assert target.ended
        assert len(net.exit.table) == 0
        assert net.exits.stats.stray_messages == 0


@virtual
async def test_a_broken_target_is_not_mistaken_for_the_end():
    async with Net(options=ExitOptions()) as net:
        target = net.target(Target())
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(1)
        target.stream.write(b"half")
        await asyncio.sleep(1)
        target.stream.abort()
        assert await pipe.read() == b"half"
        with pytest.raises(StreamReset):
            await pipe.read()


@virtual
async def test_a_hole_in_a_download_is_an_error_in_bounded_time():
    conditions = Conditions(swallowed_replies={5})
    async with Net(conditions) as net:
        net.target(Source(bytes(200_000)))
        pipe = AsyncStream(await net.open())
        started = asyncio.get_running_loop().time()
        with pytest.raises(StreamGap):
            await read_all(pipe)
        assert asyncio.get_running_loop().time() - started < 17.0
        await asyncio.sleep(0.1)
        assert net.exits.stats.failures["E_STREAM_GAP"] == 1


@virtual
async def test_the_gap_limit_does_not_run_while_the_link_is_down():
    conditions = Conditions(swallowed_replies={5})
    async with Net(conditions) as net:
        net.target(Source(bytes(200_000)))
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(5)
        net.client.link_state = LinkState.RECONNECTING
        await asyncio.sleep(60)
        assert pipe.stream.error is None
        net.client.link_state = LinkState.READY
        await asyncio.sleep(12)  # what was in store for us has time to arrive
        assert pipe.stream.error is None
        await asyncio.sleep(5)
        assert isinstance(pipe.stream.error, StreamGap)


@virtual
async def test_an_exit_that_stalls_in_the_middle_of_a_download_is_an_error_of_the_exit():
    async with Net(options=ExitOptions()) as net:
        net.target(Source(bytes(20_000_000)))
        pipe = AsyncStream(await net.open())
        await pipe.read()
        await asyncio.sleep(1)
        assert net.exits.half_close
        net.exit.stalled = True
        stalled = asyncio.get_running_loop().time()
        with pytest.raises(ExitStalled) as caught:
            await read_all(pipe)
        assert asyncio.get_running_loop().time() - stalled < 155
        assert caught.value.layer == "exit"


@virtual
async def test_a_long_outage_of_our_own_link_is_not_taken_for_a_stalled_exit():
    async with Net(options=ExitOptions()) as net:
        net.target(Ticker())
        pipe = AsyncStream(await net.open())
        await pipe.read()
        await asyncio.sleep(1)
        net.exit.stalled = True
        net.client.link_state = LinkState.RECONNECTING
        await asyncio.sleep(200)
        net.client.link_state = LinkState.READY
        await asyncio.sleep(60)
        assert pipe.stream.error is None


@virtual
async def test_bytes_that_fill_a_message_need_not_wait_for_an_empty_lane():
    async with Net(Conditions(slot_seconds=1.0)) as net:
        net.target(Echo())
        stream = await net.open()
        full = anonymous_chunking(3).capacity(10)
        stream.write(bytes(full))  # ten packets, ten seconds
        await asyncio.sleep(0.1)
        stream.write(b"x")  # waits for the lane to drain: more may join it at no delay
        await asyncio.sleep(0.1)
        assert [len(send.data) for send in net.sends()] == [full]
        stream.write(bytes(full))
        await asyncio.sleep(0.1)
        assert [len(send.data) for send in net.sends()] == [full, full]
        stream.abort()


class Held(Source):
    """Sends its data and no end."""

    def connected(self, stream):
        Target.connected(self, stream)
        stream.write(self.data)


SMALL = ExitOptions(
    probe=False,
    surbs=SurbPolicy(bank_target=0),
    stream=StreamOptions(demand_limit_bytes=10_000, receive_limit_bytes=10_000),
)


@virtual
async def test_a_reader_that_is_behind_throttles_the_bank_until_it_has_caught_up():
    async with Net(options=SMALL) as net:
        target = net.target(Held(bytes(900_000)))
        pipe = AsyncStream(await net.open())
        bank = net.client.banks[EXIT]
        assert not bank.throttled
        await asyncio.sleep(30)  # read ahead: 256 KiB, then the stream waits for a reader
        assert pipe.stream.core.backlogged
        assert bank.throttled
        allowed = bank.allowed
        stirred = bank.stirred
        net.target(Ticker())
        other = AsyncStream(await net.open())
        assert bank.stirred == stirred + 1
        await other.read()
        assert bank.allowed > allowed
        other.abort()
        await asyncio.sleep(1)
        assert bank.throttled
        target.stream.write_eof()
        assert await read_all(pipe) == bytes(900_000)
        assert not bank.throttled


@virtual
@pytest.mark.parametrize("end", ["abort", "close"])
async def test_a_reader_that_leaves_does_not_throttle_the_bank_for_ever(end):
    async with Net(options=SMALL) as net:
        net.target(Held(bytes(900_000)))
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(30)
        assert net.client.banks[EXIT].throttled
        getattr(pipe.stream, end)()
        assert not net.client.banks[EXIT].throttled


@virtual
async def test_a_stopped_reader_is_no_reason_to_think_the_exit_gone():
    async with Net(options=ExitOptions(stream=SMALL.stream, surbs=SMALL.surbs)) as net:
        net.target(Held(bytes(900_000)))
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(30)
        assert net.exits.half_close
        assert pipe.stream.core.backlogged
        net.exit.stalled = True  # without SURBs it could not say anything
        await asyncio.sleep(3600)
        assert pipe.stream.error is None
        with pytest.raises(ExitStalled):
            await read_all(pipe)


def test_what_the_exit_can_send_ahead_fits_the_buffer_of_a_stopped_reader():
    assert room_for_bank(ExitOptions()).receive_limit_bytes == 16 << 20
    big = room_for_bank(ExitOptions(surbs=SurbPolicy(bank_target=10_000)))
    assert big.receive_limit_bytes > big.demand_limit_bytes + 10_000 * 1580


@virtual
async def test_an_upload_whose_packets_are_lost_ends_with_an_error():
    async with Net() as net:
        net.target(Target())
        pipe = AsyncStream(await net.open())
        net.client.conditions.black_hole = True
        while pipe.stream.error is None:
            with contextlib.suppress(StreamLost):
                await pipe.write(bytes(10_000))
        assert isinstance(pipe.stream.error, StreamLost)


@virtual
async def test_keep_alives_hold_an_idle_stream_for_hours():
    async with Net() as net:
        target = net.target(Echo())
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(3 * 3600)
        assert pipe.stream.error is None
        assert not target.ended
        assert 178 <= len(net.sends()) <= 181
        await pipe.write(b"still here")
        assert await pipe.read() == b"still here"
        await pipe.close()


# ---- flow ---------------------------------------------------------------------------------------------------


@virtual
async def test_a_writer_is_held_back_and_the_lane_stays_short():
    async with Net(Conditions(slot_seconds=0.02)) as net:
        target = net.target(Target())
        net.client.surbs_at_exit = 1000
        pipe = AsyncStream(await net.open())
        loop = asyncio.get_running_loop()
        started = loop.time()
        for _ in range(30):
            await pipe.write(bytes(32_000))
            assert pipe.stream.unsent_bytes <= 128 * 1024 + 32_000
        assert loop.time() - started > 8.0
        await pipe.close()
        await asyncio.sleep(15)
        assert len(target.received) == 30 * 32_000
        assert max(net.client.most_queued.values()) <= 30 + 10
        # at the default rate an upload runs at the bound: full packets in every slot
        sends = [sent for sent in net.client.sent if isinstance(sent.content, Send) and sent.content.data]
        assert sum(sent.packets for sent in sends) <= 30 * 32_000 / 1604 * 1.02 + 2


@virtual
async def test_small_writes_ride_together_while_the_lane_is_busy():
    async with Net(Conditions(slot_seconds=0.02)) as net:
        target = net.target(Target())
        pipe = AsyncStream(await net.open())
        for _ in range(500):
            await pipe.write(b"0123456789")
            await asyncio.sleep(0.001)
        await asyncio.sleep(2)
        assert len(target.received) == 5000
        assert len(net.sends()) < 40
        await pipe.close()


@virtual
async def test_a_reader_that_pauses_stops_the_demand_and_gets_everything():
    options = ExitOptions(probe=False, stream=StreamOptions(demand_limit_bytes=100_000))
    async with Net(options=options) as net:
        net.target(Source(bytes(range(256)) * 2000))
        stream = await net.open()
        bank = net.client.banks[EXIT]
        assert bank.wanting == 1
        await asyncio.sleep(20)
        assert bank.wanting == 0
        assert stream.core.waiting_bytes > 100_000
        assert await read_all(AsyncStream(stream)) == bytes(range(256)) * 2000
        assert bank.wanting == 0


@virtual
async def test_a_consumer_that_fails_loses_its_own_stream_only(caplog):
    class Broken(Target):
        def data_received(self, data):
            raise ZeroDivisionError

    async with Net() as net:
        net.target(Echo)
        broken = await net.open()
        broken.attach(Broken())
        fine = AsyncStream(await net.open())
        broken.write(b"x")
        await fine.write(b"y")
        assert await fine.read() == b"y"
        await asyncio.sleep(2)
        assert broken.ended
        assert "reader of a stream failed" in caplog.text
        await fine.close()


@virtual
async def test_writing_back_from_inside_the_reader():
    class PingPong(Target):
        def data_received(self, data):
            super().data_received(data)
            if len(self.received) < 50:
                self.stream.write(data)
            else:
                self.stream.close()

    async with Net() as net:
        net.target(Echo())
        stream = await net.open()
        player = PingPong()
        player.stream = stream
        stream.attach(player)
        stream.write(b"ping")
        await asyncio.sleep(60)
        assert player.ended
        assert player.error is None
        assert len(player.received) == 52


# ---- SURBs --------------------------------------------------------------------------------------------------


@virtual
async def test_a_stocked_bank_makes_requests_lean():
    async with Net() as net:
        net.target(Echo())
        net.client.surbs_at_exit = 1000
        pipe = AsyncStream(await net.open())
        await pipe.write(b"GET / HTTP/1.1\r\n\r\n")
        await pipe.read()
        connect, send = net.client.sent[:2]
        assert (connect.surbs, connect.packets) == (3, 1)
        assert (send.surbs, send.packets) == (0, 1)
        assert net.client.banks[EXIT].target == 1000
        await pipe.close()


@virtual
async def test_without_a_bank_the_numbers_are_the_references():
    options = ExitOptions(probe=False, surbs=SurbPolicy(bank_target=0))
    async with Net(options=options) as net:
        net.target(Target())
        pipe = AsyncStream(await net.open())
        await pipe.write(b"x")
        await asyncio.sleep(0.1)
        assert [sent.surbs for sent in net.client.sent] == [20, 3]
        assert net.client.banks[EXIT].target == 0
        await pipe.close()


def test_a_long_name_gets_fewer_surbs_rather_than_another_packet():
    policy = SurbPolicy()
    stocked = policy.in_stock
    assert policy.for_connect(stocked, 60) == 3
    assert policy.for_connect(stocked, 500) == 2
    assert policy.for_connect(stocked, 1000) == 1
    assert policy.for_connect(stocked, 1500) == 3  # two packets whatever goes with it
    assert policy.for_connect(0, 1000) == 20
    assert policy.for_send(0, wants_data=True) == 3
    assert policy.for_send(0, wants_data=False) == 0
    assert policy.for_send(stocked, wants_data=True) == 0
    assert policy.for_query(stocked) == 3
    for wrong in ({"connect_stocked": 0}, {"connect_empty": 0}, {"send_empty": -1}):
        with pytest.raises(ValueError, match="SURB"):
            SurbPolicy(**wrong)


@virtual
async def test_own_address_mode_sends_it_and_takes_plain_answers():
    async with Net(options=ExitOptions(anonymous=False, probe=False)) as net:
        net.target(Echo())
        pipe = AsyncStream(await net.open())
        assert net.exit.connects[0].return_address == CLIENT
        await pipe.write(b"hello")
        assert await pipe.read() == b"hello"
        assert all(sent.surbs == 0 for sent in net.client.sent)
        assert net.client.banks[EXIT].target == 0
        await pipe.close()


# ---- questions ----------------------------------------------------------------------------------------------


@virtual
async def test_questions_are_answered():
    async with Net() as net:
        assert 0.05 < await net.exits.health() < 1.0
        info = await net.exits.binary_info()
        assert info.binary_name == "nymgate-exit"
        answer = await net.exits.query_exit_policy()
        assert answer.policy == net.exit.policy
        assert answer.upstream == "https://policy.example"
        assert await net.exits.questions.open_proxy() is False
        assert "\n" not in await net.exits.questions.description()
        versions = await net.exits.questions.supported_versions()
        assert (versions.interface_version, versions.provider_version) == (3, 3)
        # more than the exit's reserve of 10, so that it can answer without asking for more first
        assert net.client.sent[0].surbs == 13
        assert net.client.sent[0].packets == 4


@virtual
async def test_questions_wait_for_each_other_and_time_out():
    async with Net(options=ExitOptions(probe=False, query_timeout_seconds=5.0)) as net:
        results = await asyncio.gather(*(net.exits.health() for _ in range(5)))
        assert len(results) == 5
        net.exit.mute = True
        started = asyncio.get_running_loop().time()
        with pytest.raises(ExitSilent) as caught:
            await net.exits.query_exit_policy()
        assert "policy" in str(caught.value)
        assert asyncio.get_running_loop().time() - started == pytest.approx(5.0)
        net.exit.mute = False
        await net.exits.health()


@virtual
async def test_an_error_and_a_late_answer():
    async with Net() as net:
        asking = asyncio.gather(net.exits.health(), return_exceptions=True)
        await asyncio.sleep(0.01)
        net.client.deliver(
            ResponseMessage.decode(b"\x03\x01\x03\x03\x00\x01").encode()
        )  # an OpenProxy answer
        assert net.exits.stats.unexpected_answers == 1
        net.client.deliver(b'\x03\x00\xff{"message":"no\\u0007 such thing"}')
        (error,) = await asking
        assert isinstance(error, QueryRefused)
        assert "such thing" in str(error)
        assert "\x07" not in str(error)
        await asyncio.sleep(5)
        assert net.exits.stats.unexpected_answers == 2


@virtual
async def test_the_probe_does_not_delay_the_first_stream_and_tries_again():
    async with Net(options=ExitOptions()) as net:
        net.target(Echo())
        net.exit.mute = True
        opening = asyncio.gather(net.open(timeout=1.0), return_exceptions=True)
        await asyncio.sleep(2)
        assert isinstance((await opening)[0], ExitSilent)
        assert isinstance(net.client.sent[0].content, Connect)
        assert ControlRequest.BINARY_INFO in [sent.content for sent in net.client.sent]
        net.exit.mute = False
        await asyncio.sleep(100)
        assert net.exits.half_close is True


# ---- what arrives -------------------------------------------------------------------------------------------


@virtual
async def test_messages_of_others_go_to_who_listened_before():
    async with Net() as net:
        net.client.deliver(b"\x03\x00\x00", via=OTHER)
        net.client.deliver(b"hello", via=None)
        net.client.deliver(b"hello", via=None, tag=bytes(16))
        assert [message.via for message in net.client.unheard] == [OTHER, None, None]
    assert net.client.on_message == net.client.nobody


@virtual
async def test_two_exits_share_a_client():
    async with Net() as net, ExitClient(net.client, OTHER, QUIET) as others:
        net.client.deliver(b"garbage", via=EXIT)
        net.client.deliver(b"garbage", via=OTHER)
        net.client.deliver(b"garbage", via=CLIENT)
        assert net.exits.stats.undecodable == 1
        assert others.stats.undecodable == 1
        assert len(net.client.unheard) == 1


@virtual
async def test_garbage_is_counted_and_harms_nobody():
    rng = random.Random(5)
    async with Net() as net:
        net.target(Echo())
        pipe = AsyncStream(await net.open())
        connection_id = pipe.stream.connection_id
        for _ in range(500):
            net.client.deliver(rng.randbytes(rng.randrange(40)))
        for content in (
            NetworkData(1, 0, b"who?"),
            ConnectionRefused(2, "who?"),
            ConnectionRefused(connection_id, "too late"),
            NetworkData(connection_id, 2**63, b"far ahead"),
        ):
            net.client.deliver(ResponseMessage(content).encode())
        assert net.exits.stats.undecodable + net.exits.stats.unexpected_answers >= 490
        assert net.exits.stats.stray_messages >= 3
        await pipe.write(b"fine")
        assert await pipe.read() == b"fine"
        await pipe.close()


@virtual
async def test_a_stray_message_cannot_open_or_end_another_exits_stream():
    async with Net() as net:
        net.target("silent")
        opening = asyncio.gather(net.open(timeout=3.0), return_exceptions=True)
        await asyncio.sleep(0.5)
        connection_id = net.exit.connects[0].connection_id
        for via in (OTHER, None):
            net.client.deliver(ResponseMessage(NetworkData(connection_id, 0)).encode(), via=via)
            net.client.deliver(ResponseMessage(ConnectionRefused(connection_id)).encode(), via=via)
        assert isinstance((await opening)[0], ExitSilent)


@virtual
async def test_closing_the_client_ends_its_streams():
    net = Net()
    async with net:
        net.target(Ticker)
        pipe = AsyncStream(await net.open())
        idle = await net.open()
        reading = asyncio.gather(read_all(pipe), return_exceptions=True)
        await asyncio.sleep(3)
    assert idle.ended
    assert isinstance((await reading)[0], bytes | ExitError)
    with pytest.raises(StreamClosed):
        await net.open()
    assert net.client.banks[EXIT].target == 0
    await asyncio.sleep(5)
    assert len(net.exit.table) == 0
    await net.exits.close()  # twice is once


@virtual
async def test_closing_the_client_does_not_wait_for_ever():
    net = Net()
    async with net:
        net.target(Target())
        pipe = AsyncStream(await net.open())
        net.client.conditions.black_hole = True
        net.client.conditions.slot_seconds = 1000.0
        pipe.stream.write(bytes(100_000))
        await asyncio.sleep(1)
        started = asyncio.get_running_loop().time()
        await net.exits.close()
        assert asyncio.get_running_loop().time() - started < 4.0
    with pytest.raises(ExitError):
        await pipe.write(b"x")


@virtual
async def test_a_question_that_cannot_be_sent():
    async with Net() as net:
        net.client.send_error = LinkDown("no gateway")
        with pytest.raises(MixnetDown):
            await net.exits.health()


@virtual
async def test_writing_on_after_the_reference_has_dropped_the_connection():
    async with Net(exit_name="nym-network-requester") as net:
        target = net.target(Target())
        stream = await net.open()
        pipe = AsyncStream(stream)
        target.stream.write_eof()
        assert await pipe.read() == b""
        await pipe.write(b"a last word")
        await asyncio.sleep(10)
        assert stream.error is None
        with pytest.raises(ExitError):
            await pipe.write(b"much too late")
        stream.write(b"ignored: its reader was told")


@virtual
async def test_the_async_facade_refuses_what_comes_after_the_end():
    async with Net() as net:
        net.target(Echo())
        with pytest.raises(ZeroDivisionError):
            async with AsyncStream(await net.open()) as pipe:
                raise ZeroDivisionError
        await asyncio.sleep(1)
        assert await pipe.read() == b""
        with pytest.raises(StreamClosed):
            await pipe.write(b"x")
        late = await net.open()
        late.abort()
        await asyncio.sleep(1)
        reader = Target()
        late.attach(reader)
        assert reader.ended
        assert reader.error is None


@virtual
async def test_reading_in_small_pieces():
    async with Net() as net:
        net.target(Source(b"abcdef"))
        pipe = AsyncStream(await net.open())
        assert [await pipe.read(4), await pipe.read(4), await pipe.read(4)] == [b"abcd", b"ef", b""]
        await pipe.close()


@virtual
async def test_a_packet_lost_after_the_end_gives_its_lane_back():
    async with Net() as net:
        net.target(Target())
        stream = await net.open()
        net.client.conditions.black_hole = True
        stream.abort()
        await asyncio.sleep(1)
        assert stream.ended
        assert net.client.closed_lanes == []
        await asyncio.sleep(100)
        assert net.client.closed_lanes == [stream.connection_id]


@virtual
async def test_an_exit_of_the_reference_that_stalls_is_found_out_as_well_and_sent_surbs_before():
    async with Net(options=ExitOptions(), exit_name="nym-network-requester") as net:
        net.target(Ticker())
        pipe = AsyncStream(await net.open())
        await pipe.read()
        await asyncio.sleep(1)
        assert net.exits.half_close is False
        net.client.surbs_at_exit = 500  # the belief
        net.exit.stalled = True
        stalled = asyncio.get_running_loop().time()
        with pytest.raises(ExitStalled):
            await read_all(pipe)
        assert asyncio.get_running_loop().time() - stalled < 155
        late = [sent for sent in net.client.sent if sent.at > stalled + 80 and isinstance(sent.content, Send)]
        assert late[0].surbs == 3, "whatever is believed to be in stock there"


@virtual
async def test_a_quiet_target_behind_an_exit_of_the_reference_is_no_stalled_exit():
    async with Net(options=ExitOptions(), exit_name="nym-network-requester") as net:
        net.target(Echo())
        pipe = AsyncStream(await net.open())
        await asyncio.sleep(3600)
        assert pipe.stream.error is None
        await pipe.write(b"still there")
        assert await pipe.read() == b"still there"


@virtual
async def test_while_one_reader_is_behind_no_stream_of_a_reference_exit_is_given_up():
    options = ExitOptions(stream=SMALL.stream, surbs=SMALL.surbs)
    async with Net(options=options, exit_name="nym-network-requester") as net:
        net.target(Held(bytes(900_000)), "big.example:443")
        net.target(Echo())
        behind = AsyncStream(await net.exits.open("big.example", 443))
        other = AsyncStream(await net.open())
        await asyncio.sleep(30)
        assert behind.stream.core.backlogged
        assert other.stream.core.starved
        net.exit.stalled = True  # without SURBs it could not say anything
        await asyncio.sleep(100)
        assert other.stream.error is None
        behind.abort()
        assert not other.stream.core.starved
        await asyncio.sleep(140)
        assert other.stream.error is None, "from here on it has its whole time again"
        await asyncio.sleep(20)
        assert isinstance(other.stream.error, ExitStalled)
