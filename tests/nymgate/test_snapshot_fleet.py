"""The numbers of several workers, asked for over their control sockets."""

import contextlib
import dataclasses

import pytest

from nymgate.watch.control_io import ControlServer
from nymgate.watch.fleet_io import Fleet
from nymgate.watch.health import Facts, Health, State, judge
from nymgate.watch.snapshot import Links, Money, Packets, Purse, Snapshot, Streams, TicketStock, TopUp, gone

WELL = judge(Facts(1.0, link="ready"))


class Worker:
    """Answers like one; what it says can be changed."""

    def __init__(self, folder, started=100.0, sent=0):
        folder.mkdir()
        self.folder = folder
        self.says = Snapshot(
            taken_unix=started + 10,
            started_unix=started,
            health=WELL,
            money=Money(Purse({"v1-mixnet-entry": TicketStock(remaining=9)}), topup=TopUp(bought=1)),
            links=Links({"ready": 1}, allowance_bytes=5, allowance_lowest_bytes=5),
            packets=Packets(sent_first=sent, queued=3),
            streams=Streams(open=2, ended={"127.0.0.1:1080": {"ok": sent}}),
        )
        self.fails = False

    def now(self, **changes):
        self.says = dataclasses.replace(self.says, **changes)

    async def snapshot(self):
        if self.fails:
            raise RuntimeError
        return self.says

    async def health(self):
        return self.says.health

    @contextlib.asynccontextmanager
    async def running(self):
        async with ControlServer(self.folder, snapshot=self.snapshot, health=self.health):
            yield


@pytest.fixture
async def two(tmp_path):
    workers = [Worker(tmp_path / "0", sent=5), Worker(tmp_path / "1", started=200.0, sent=7)]
    return workers, Fleet(lambda: [worker.folder for worker in workers], limit_seconds=20.0)


async def test_workers_are_one_proxy(two):
    (one, other), fleet = two
    async with one.running(), other.running():
        merged = await fleet.snapshot()
    assert (merged.workers, merged.workers_expected) == (2, 2)
    assert merged.packets.sent_first == 12
    assert merged.streams.ended == {"127.0.0.1:1080": {"ok": 12}}
    assert merged.money.purse.tickets["v1-mixnet-entry"].remaining == 9
    assert merged.health.ready
    assert merged.started_unix == 100.0


async def test_a_worker_that_is_gone_keeps_what_it_has_counted(two):
    (one, other), fleet = two
    async with one.running():
        async with other.running():
            await fleet.snapshot()
        half = await fleet.snapshot()
        assert half.packets.sent_first == 12, "counters do not go back"
        assert half.packets.queued == 3, "and it has nothing queued any more"
        assert half.links == Links({"ready": 1}, allowance_bytes=5, allowance_lowest_bytes=5)
        assert (half.workers, half.workers_expected, half.streams.open) == (1, 2, 2)
        assert (half.health.ready, half.health.state) == (True, State.DEGRADED)
        assert half.health.what.startswith("1 of 2 workers are ready.")
        # It comes back as a new process, which counts from the beginning.
        other.now(started_unix=300.0, packets=Packets(sent_first=1))
        async with other.running():
            assert (await fleet.snapshot()).packets.sent_first == 13
            other.now(packets=Packets(sent_first=4))
            whole = await fleet.snapshot()
            assert whole.packets.sent_first == 16
            assert whole.money.topup.bought == 3
            assert whole.health.state is State.OK


async def test_without_any_worker_nothing_is_ready(two):
    (one, other), fleet = two
    empty = await fleet.snapshot()
    assert (empty.workers, empty.workers_expected) == (0, 2)
    assert (empty.health.ready, empty.health.state) == (False, State.FAILING)
    health = await fleet.health()
    assert "0 of 2 workers are ready" in health.what
    one.fails = True
    async with one.running(), other.running():
        assert (await fleet.snapshot()).workers == 1, "one that answers with an error is not there"
    assert (await fleet.snapshot()).packets.sent_first == 7


async def test_fewer_workers_than_before(two):
    workers, fleet = two
    one, other = workers
    async with one.running(), other.running():
        await fleet.snapshot()
        workers.remove(other)
        merged = await fleet.snapshot()
        assert (merged.workers, merged.workers_expected) == (1, 1)
        assert merged.packets.sent_first == 12


def test_what_is_gone_counts_and_does_nothing_else():
    left = gone(
        Snapshot(
            health=Health(ready=True),
            packets=Packets(sent_first=3, in_flight=4),
            links=Links({"ready": 1}, 7, 7, bytes_charged=9),
            streams=Streams(open=1, bytes_up=8),
        )
    )
    assert (left.workers, left.health) == (0, None)
    assert left.packets == Packets(sent_first=3)
    assert left.links == Links(bytes_charged=9)
    assert left.streams == Streams(bytes_up=8)
