"""Several exits behind one mixnet client, on a virtual clock: each has its own network of timers."""

import asyncio
import contextlib
import random
from dataclasses import replace

from nym_exit.codec import Query
from nym_exit.control import ControlRequest
from nym_exit.exit_policy import ExitPolicy
from nym_exit.options import ExitOptions
from nym_mixnet.lanes import Lane
from nym_mixnet.link_state import LinkState
from nymgate.exits.choice import ExitCandidate
from nymgate.exits.pool_io import ExitPool
from tests.exit.fake_network import CLIENT, EXIT, Conditions, Echo, FakeBank, FakeClient, FakeExit
from tests.nymgate.mixnet_world import identity, recipient

TARGET = ("target.example", 443)
TEXT = "target.example:443"
PERMIT_ALL = ExitPolicy.open()


async def exactly(stream, number: int) -> bytes:
    """So many bytes of an AsyncStream."""
    data = b""
    while len(data) < number:
        more = await stream.read(number - len(data))
        assert more, "the stream ended"
        data += more
    return data


class Switch:
    """The mixnet client: what goes to an exit takes that exit's line, what comes back says whom it is from."""

    def __init__(self) -> None:
        self.address = CLIENT
        self.link_state = LinkState.READY
        self.lines: dict[object, FakeClient] = {}
        self.on_message = lambda message: None
        self.waiting: list[object] = []
        self.stuck = False

    def line(self, to, seed: int) -> FakeClient:
        client = self.lines[to] = FakeClient(Conditions(), seed)
        client.on_message = lambda message: self.arrived(
            replace(message, via=to if message.via is not None else None)
        )
        return client

    def arrived(self, message) -> None:
        """What comes while the link is down waits at the gateway."""
        if self.link_state is LinkState.READY:
            self.on_message(message)
        else:
            self.waiting.append(message)

    def back(self) -> None:
        """The link is up again."""
        self.link_state = LinkState.READY
        waiting, self.waiting = self.waiting, []
        for message in waiting:
            self.on_message(message)

    async def send_plain(self, to, data, *, lane=Lane.GENERAL):
        return await self.lines[to].send_plain(EXIT, data, lane=lane)

    async def send_anonymous(self, to, data, *, surbs, lane=Lane.GENERAL):
        if self.stuck:
            await asyncio.Event().wait()
        return await self.lines[to].send_anonymous(EXIT, data, surbs=surbs, lane=lane)

    def close_lane(self, lane):
        for line in self.lines.values():
            line.close_lane(lane)

    def lane_queued(self, lane):
        return sum(line.lane_queued(lane) for line in self.lines.values())

    async def wait_lane(self, lane, *, queued_below=None, unacked_below=None):
        for line in self.lines.values():
            await line.wait_lane(lane, queued_below=queued_below, unacked_below=unacked_below)

    def bank(self, to) -> FakeBank:
        return self.lines[to].bank(EXIT)


class Exits:
    """So many exits, numbered from 1; exit ``n`` is at gateway ``identity(n)``. All reach TARGET, an echo."""

    def __init__(self, number=3, *, seed=0, options=None, **pool) -> None:
        self.client = Switch()
        self.reachable = {identity(each) for each in range(1, number + 1)}
        self.exits: dict[int, FakeExit] = {}
        self.recipients = {each: recipient(identity(each)) for each in range(1, number + 1)}
        for each, to in self.recipients.items():
            self.exits[each] = FakeExit(self.client.line(to, seed + each), seed=seed + 100 + each)
            self.exits[each].policy = PERMIT_ALL
            self.exits[each].targets[TEXT] = Echo
        self.candidates = [ExitCandidate(to) for to in self.recipients.values()]
        self.pool = ExitPool(
            self.client,
            pool.pop("candidates", self.candidates),
            reachable=lambda: self.reachable,
            options=options or ExitOptions(),
            rng=random.Random(seed),
            **pool,
        )

    def number(self, to) -> int:
        return next(each for each, known in self.recipients.items() if known == to)

    @property
    def in_use(self) -> int:
        """Which one is in use; 0 for none."""
        current = self.pool.roster.current
        return 0 if current is None else self.number(current.record.recipient)

    def connects(self, each: int) -> int:
        """Streams that this exit was asked for."""
        return len(self.exits[each].connects)

    def questions(self, each: int) -> int:
        """Times it was asked something about itself."""
        return sum(
            isinstance(sent.content, ControlRequest | Query)
            for sent in self.client.lines[self.recipients[each]].sent
        )

    def mute(self, *numbers: int, silent: bool = True) -> None:
        """These take nothing in and say nothing."""
        for each in numbers:
            self.exits[each].mute = self.exits[each].stalled = silent

    @contextlib.asynccontextmanager
    async def up(self):
        await self.pool.start()
        try:
            yield self
        finally:
            await self.close()

    async def close(self) -> None:
        await self.pool.close()
        for each in self.exits.values():
            await each.tasks.close()
