"""Sleeping and waking on a virtual clock."""

import asyncio

import pytest

from nymgate.ways.sleep import Rest
from nymgate.ways.sleep_io import Sleeper
from tests.exit.virtual_time import run_virtual


class FakeClient:
    """Notes when it is paused and resumed; takes its time for both."""

    def __init__(self) -> None:
        self.events: list[tuple[str, float]] = []
        self.busy = False

    async def pause(self):
        await self._do("pause")

    async def resume(self):
        await self._do("resume")

    async def _do(self, what):
        assert not self.busy, "pause and resume overlap"
        self.busy = True
        await asyncio.sleep(0.5)
        self.busy = False
        self.events.append((what, asyncio.get_running_loop().time() - 1000))


def test_sleeps_wakes_and_sleeps_again():
    client = FakeClient()

    async def main():
        sleeper = Sleeper(client, 60)
        await asyncio.sleep(59)
        assert sleeper.state is Rest.AWAKE
        await asyncio.sleep(3)
        assert sleeper.state is Rest.ASLEEP
        await sleeper.opened()
        assert client.events[-1][0] == "resume", "the stream waits until the client is awake"
        await asyncio.sleep(300)
        assert sleeper.state is Rest.BUSY
        sleeper.closed()
        await asyncio.sleep(62)
        await sleeper.close()

    run_virtual(main())
    assert [what for what, _ in client.events] == ["pause", "resume", "pause"]
    assert [when for _, when in client.events] == pytest.approx([60.5, 62.5, 423], abs=0.01)


def test_streams_that_come_while_it_falls_asleep_or_wakes_wait_for_it():
    client = FakeClient()

    async def main():
        sleeper = Sleeper(client, 10)
        await asyncio.sleep(10.1)  # pausing takes until 10.5
        assert sleeper.state is Rest.ASLEEP
        async with asyncio.TaskGroup() as group:
            group.create_task(sleeper.opened())
            group.create_task(sleeper.opened())
        assert [what for what, _ in client.events] == ["pause", "resume"]
        await asyncio.sleep(100)
        assert sleeper.state is Rest.BUSY
        await sleeper.close()

    run_virtual(main())
    assert [what for what, _ in client.events] == ["pause", "resume"]


def test_a_stream_that_comes_just_before_keeps_it_awake():
    client = FakeClient()

    async def main():
        sleeper = Sleeper(client, 10)
        for _ in range(5):
            await asyncio.sleep(9.9)
            await sleeper.opened()
            sleeper.closed()
        await sleeper.close()
        await asyncio.sleep(100)

    run_virtual(main())
    assert client.events == []


def test_never_sets_no_timer():
    async def main():
        sleeper = Sleeper(FakeClient(), float("inf"))
        await asyncio.sleep(1e6)
        assert sleeper.state is Rest.AWAKE
        await sleeper.close()

    run_virtual(main())
