"""What the probes ask, and what they need not ask because other traffic shows it."""

import asyncio
import types

import pytest

from nym_exit.errors import ExitSilent
from nym_localnet.background_io import BackgroundLocalnet
from nym_localnet.options import LocalnetOptions, Mode
from nym_mixnet.client_records import ClientStats
from nym_mixnet.link_state import LinkState
from nym_mixnet.outgoing import Sending
from nymgate.watch.health import State
from nymgate.watch.probe_io import Prober
from nymgate.ways.sleep import Rest
from tests.exit.virtual_time import run_virtual
from tests.nymgate.paid_world import until
from tests.nymgate.watched_world import watched


class Client:
    """A mixnet client whose packets come back, or do not."""

    def __init__(self):
        self.stats = ClientStats()
        self.link_state = LinkState.READY
        self.core = types.SimpleNamespace(paused=False)
        self.address = "ourselves"
        self.dead = False
        self.sent: list[object] = []
        self.closed: list[int] = []
        self.refreshed = 0

    async def send_plain(self, recipient, data, *, lane):
        self.sent.append((recipient, data, lane))
        sending = Sending(1)
        if not self.dead:
            asyncio.get_running_loop().call_later(0.25, self._acked, sending)
        return sending

    def _acked(self, sending):
        self.stats.acks_received += 1
        sending.packet_acked()

    def close_lane(self, lane):
        self.closed.append(lane)

    async def refresh_topology(self):
        self.refreshed += 1


class Exit:
    def __init__(self):
        self.streams = 0
        self.dead = False
        self.asked = 0

    async def health(self):
        self.asked += 1
        if self.dead:
            await asyncio.sleep(1)
            raise ExitSilent("a health request", 1.0)
        await asyncio.sleep(0.5)
        return 0.5


class World:
    def __init__(self):
        self.client, self.exit = Client(), Exit()
        self.sleeper = types.SimpleNamespace(state=Rest.AWAKE)
        self.way = types.SimpleNamespace(client=self.client, exit=self.exit, sleeper=self.sleeper)
        self.unix = 1_000_000.0
        self.prober = Prober(lambda: self.way, clock=lambda: self.unix)

    async def look(self, times=1):
        for _ in range(times):
            await self.prober.look(self.way)


def in_world(test):
    async def main():
        await test(World())

    run_virtual(main())


def test_a_round_and_an_answer():
    async def test(world):
        await world.look()
        assert world.client.sent == [("ourselves", b"", -5)]
        assert world.client.closed == [-5], "nothing of it is sent again"
        assert world.prober.loop.seconds == pytest.approx(0.25)
        assert world.prober.exit.seconds == pytest.approx(0.5)
        assert (world.prober.loop.state, world.prober.exit.state) == (State.OK, State.OK)

    in_world(test)


def test_what_other_traffic_shows_is_not_asked():
    async def test(world):
        await world.look(2)
        asked = len(world.client.sent)
        assert asked == 2, "the ack of the first is no news for the second"
        world.client.stats.cover_received += 1
        await world.look()
        assert len(world.client.sent) == asked
        world.client.stats.replies_received += 3
        world.exit.streams = 1
        before = world.exit.asked
        await world.look()
        assert world.exit.asked == before, "an exit that sends on a stream is alive"
        world.exit.streams = 0
        world.client.stats.replies_received += 3
        await world.look()
        assert world.exit.asked == before + 1, "without a stream it may have been another exit"

    in_world(test)


def test_two_silences_are_a_failure_and_an_answer_ends_it():
    async def test(world):
        await world.look()
        world.client.dead = True
        await world.look()
        assert world.prober.loop.state is State.OK
        await world.look()
        assert world.prober.loop.state is State.FAILING
        assert world.exit.asked == 1, "behind a mixnet that fails nobody is asked"
        assert world.prober.seen().unanswered["loop"] == 2
        world.client.dead = False
        await world.look()
        assert world.prober.loop.state is State.OK
        world.exit.dead = True
        await world.look(2)
        assert world.prober.exit.state is State.FAILING
        world.exit.dead = False
        await world.look()
        assert world.prober.exit.state is State.OK

    in_world(test)


def test_a_link_that_breaks_meanwhile_is_not_the_mixnets_fault():
    async def test(world):
        world.client.dead = True
        asyncio.get_running_loop().call_later(1, setattr, world.client, "link_state", LinkState.RECONNECTING)
        await world.look()
        assert world.prober.loop.failures == 0

    in_world(test)


def test_asleep_nobody_is_asked_and_another_client_begins_anew():
    async def test(world):
        world.sleeper.state = Rest.ASLEEP
        running = asyncio.ensure_future(world.prober.run())  # noqa: TID251 - cancelled below
        await asyncio.sleep(30)
        assert world.client.sent == []
        world.sleeper.state = Rest.AWAKE
        await asyncio.sleep(30)
        assert 3 <= len(world.client.sent) <= 6
        assert world.prober.loop.state is State.OK
        world.way = types.SimpleNamespace(client=Client(), exit=Exit(), sleeper=world.sleeper)
        world.way.client.dead = True
        await asyncio.sleep(30)
        assert world.prober.loop.answered_unix is None
        assert world.prober.loop.state is State.FAILING
        running.cancel()

    in_world(test)


def test_a_clock_that_jumps_is_compared_at_once():
    async def test(world):
        loop = asyncio.get_running_loop()
        started = loop.time()
        world.prober._clock = lambda: world.unix + loop.time() - started
        running = asyncio.ensure_future(world.prober.run())  # noqa: TID251 - cancelled below
        await asyncio.sleep(20)
        quiet = world.client.refreshed
        world.unix += 90
        await asyncio.sleep(20)
        assert world.client.refreshed == quiet + 1
        await asyncio.sleep(20)
        assert world.client.refreshed == quiet + 1, "once a jump"
        running.cancel()

    in_world(test)


@pytest.mark.slow
async def test_with_cover_traffic_the_mixnet_is_not_asked_again(tmp_path):
    with BackgroundLocalnet(LocalnetOptions(mode=Mode.PROCESSES)) as background:
        async with watched(background.net, tmp_path, **{"mixnet.profile": "standard"}) as proxy:
            prober = Prober(lambda: proxy.connected, every_seconds=1.5, again_seconds=0.1)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(prober.run())
                await until(lambda: prober.seen().asked["exit"] >= 4)
                task.cancel()
            assert prober.seen().asked["loop"] == 1, "after the first, our own cover shows it"
            assert prober.loop.state is State.OK
