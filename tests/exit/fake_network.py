"""A mixnet client and an exit without a mixnet: messages travel over timers of the (virtual) event loop.

The client implements exactly what :class:`nym_exit.ports.ClientPort` asks for: lanes that drain one packet at
a slot, acknowledgements, losses that are retransmitted, reply SURBs by number. The exit is built from this
package's parts, as a real one is.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from nym_exit.chunking import PACKET_BYTES, REPLY_CHUNKING
from nym_exit.codec import (
    Connect,
    ConnectionRefused,
    DescriptionAnswer,
    ExitPolicyAnswer,
    NetworkData,
    OpenProxyAnswer,
    Query,
    RequestMessage,
    ResponseMessage,
    Send,
)
from nym_exit.control import BinaryInfo, BuildInformation, ControlRequest, Health, SupportedVersions
from nym_exit.controller import ConnectionTable
from nym_exit.exit_policy import ExitPolicy
from nym_exit.stream import StreamCore
from nym_exit.stream_io import MixStream
from nym_exit.stream_options import StreamOptions
from nym_mixnet.client_records import ReceivedMessage
from nym_mixnet.lanes import Lane
from nym_mixnet.link_state import LinkState
from nym_mixnet.outgoing import Sending
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx.addressing import Recipient
from tests.vector_files import load

CLIENT, EXIT, OTHER = (Recipient.parse(entry["base58"]) for entry in load("socks5")["recipients"][:3])
TAG = bytes(range(16))


@dataclass
class Conditions:
    """What happens to messages on their way."""

    delay: tuple[float, float] = (0.05, 0.3)
    slot_seconds: float = 0.001
    loss: float = 0.0
    retransmission_seconds: float = 1.6
    retransmissions: int = 25
    duplicates: float = 0.0
    #: Replies (in the order sent, from 0) that are acknowledged and never arrive.
    swallowed_replies: set[int] = field(default_factory=set)
    #: Everything a client sends is lost from now on.
    black_hole: bool = False


@dataclass
class Sent:
    """A message as the exit sees it, for tests to look at."""

    at: float
    content: object
    surbs: int
    packets: int
    lane: int


class FakeBank:
    def __init__(self, client: FakeClient) -> None:
        self._client = client
        self.target = 0
        self.wanting = 0
        self.throttled = False
        self.allowed = 0
        self.stirred = 0

    def set_target(self, surbs: int) -> None:
        self.target = surbs

    def stock(self) -> int:
        return self._client.surbs_at_exit

    def demand(self, active: bool) -> None:
        self.wanting += 1 if active else -1
        assert self.wanting >= 0

    def throttle(self, active: bool) -> None:
        self.throttled = active

    def stir(self) -> None:
        self.stirred += 1

    def allow(self, surbs: int) -> None:
        if self.throttled:
            self.allowed += surbs


class FakeClient:
    """The mixnet client of one user, connected to one exit."""

    def __init__(self, conditions: Conditions, seed: int = 0) -> None:
        self.conditions = conditions
        self.rng = random.Random(seed)
        self.address = CLIENT
        self.link_state = LinkState.READY
        self.on_message = self.nobody
        self.unheard: list[ReceivedMessage] = []
        self.exit: FakeExit | None = None
        self.surbs_at_exit = 0
        self.banks: dict[Recipient, FakeBank] = {}
        self.sent: list[Sent] = []
        self.closed_lanes: list[int] = []
        self.send_error: Exception | None = None
        self.most_queued: Counter[int] = Counter()
        self._queued: Counter[int] = Counter()
        self._free_slot = 0.0
        self._waiters: dict[int, list[asyncio.Future[None]]] = defaultdict(list)

    def nobody(self, message: ReceivedMessage) -> None:
        self.unheard.append(message)

    # ---- the port

    async def send_plain(self, recipient: Recipient, data: bytes, *, lane: int = Lane.GENERAL) -> Sending:
        return self._send(recipient, data, 0, lane, anonymous=False)

    async def send_anonymous(
        self, recipient: Recipient, data: bytes, *, surbs: int, lane: int = Lane.GENERAL
    ) -> Sending:
        if surbs:
            await asyncio.sleep(0)  # making and storing keys
        return self._send(recipient, data, surbs, lane, anonymous=True)

    def close_lane(self, lane: int) -> None:
        self.closed_lanes.append(lane)

    def lane_queued(self, lane: int) -> int:
        return self._queued[lane]

    async def wait_lane(
        self, lane: int, *, queued_below: int | None = None, unacked_below: int | None = None
    ) -> None:
        assert unacked_below is None
        while self._queued[lane] >= queued_below:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters[lane].append(waiter)
            await waiter

    def bank(self, recipient: Recipient) -> FakeBank:
        return self.banks.setdefault(recipient, FakeBank(self))

    # ---- inside

    def _send(self, recipient: Recipient, data: bytes, surbs: int, lane: int, *, anonymous: bool) -> Sending:
        if self.send_error is not None:
            raise self.send_error
        assert recipient == EXIT
        loop = asyncio.get_running_loop()
        overhead = 23 + 460 * surbs if anonymous else 2
        packets = -(-(len(data) + overhead) // PACKET_BYTES)
        content = RequestMessage.decode(data).content
        self.sent.append(Sent(loop.time(), content, surbs, packets, lane))
        sending = Sending(1)
        self._queued[lane] += packets
        self.most_queued[lane] = max(self.most_queued[lane], self._queued[lane])
        self._free_slot = max(self._free_slot, loop.time()) + packets * self.conditions.slot_seconds
        loop.call_at(self._free_slot, self._left, sending, data, surbs, packets, lane, anonymous)
        return sending

    def _left(
        self, sending: Sending, data: bytes, surbs: int, packets: int, lane: int, anonymous: bool
    ) -> None:
        self._queued[lane] -= packets
        for waiter in self._waiters.pop(lane, ()):
            if not waiter.done():
                waiter.set_result(None)
        loop = asyncio.get_running_loop()
        way = travel(self.conditions, self.rng)
        if way is None or self.conditions.black_hole:
            give_up = self.conditions.retransmission_seconds * self.conditions.retransmissions
            loop.call_later(give_up, sending.packet_lost)
            return
        for delay in way:
            loop.call_later(delay, self._arrive, data, surbs, TAG if anonymous else None)
        loop.call_later(way[0] + self.rng.uniform(*self.conditions.delay), sending.packet_acked)

    def _arrive(self, data: bytes, surbs: int, tag: bytes | None) -> None:
        self.surbs_at_exit += surbs
        if self.exit is not None:
            self.exit.receive(ReceivedMessage(data, sender_tag=tag))

    def deliver(self, data: bytes, *, via: Recipient | None = EXIT, tag: bytes | None = None) -> None:
        """A message arrives."""
        self.on_message(ReceivedMessage(data, sender_tag=tag, via=via))


def travel(conditions: Conditions, rng: random.Random) -> list[float] | None:
    """Delays of all copies of a message, or None when it is given up."""
    wait = 0.0
    for _ in range(conditions.retransmissions):
        if rng.random() >= conditions.loss:
            break
        wait += conditions.retransmission_seconds
    else:
        return None
    copies = [wait + rng.uniform(*conditions.delay)]
    while rng.random() < conditions.duplicates:
        copies.append(copies[0] + rng.uniform(0, 3))
    return copies


class Target:
    """What an exit is connected to. The base class reads to the end and closes."""

    def __init__(self) -> None:
        self.stream: MixStream | None = None
        self.received = bytearray()
        self.eof = False
        self.ended = False
        self.error: object = None

    def connected(self, stream: MixStream) -> None:
        self.stream = stream

    def data_received(self, data: bytes) -> None:
        self.received += data

    def eof_received(self) -> None:
        self.eof = True
        self.stream.write_eof()

    def stream_ended(self, error: object) -> None:
        self.ended = True
        self.error = error

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass


class Echo(Target):
    """Sends back what comes; ends when the other side does."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.stream.write(data)


class Source(Target):
    """Sends so many bytes at once, then ends."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.data = data

    def connected(self, stream: MixStream) -> None:
        super().connected(stream)
        stream.write(self.data)
        stream.write_eof()

    def eof_received(self) -> None:
        self.eof = True


class Digest(Target):
    """Reads to the end of the data, then answers with its length: works only with half-close."""

    def eof_received(self) -> None:
        self.eof = True
        self.stream.write(b"%d bytes" % len(self.received))
        self.stream.write_eof()


class Ticker(Target):
    """Sends for ever."""

    def connected(self, stream: MixStream) -> None:
        super().connected(stream)
        self.tick()

    def tick(self) -> None:
        if not self.ended:
            self.stream.write(b"tick")
            asyncio.get_running_loop().call_later(1.0, self.tick)


class ReferenceRunner:
    """What the reference's exit makes of closing (docs/protocol/05 §3.5): the target never sees an end of data,
    and is dropped 3 s after the client's closing message, or 5 s after its own end.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.data_received = target.data_received
        self.stream_ended = target.stream_ended
        self.pause_writing = target.pause_writing
        self.resume_writing = target.resume_writing

    def eof_received(self) -> None:
        asyncio.get_running_loop().call_later(3.0, self._target.stream.abort)


REFERENCE_OPTIONS = StreamOptions(eof_hold_seconds=0.0, close_wait_seconds=5.0, late_close_seconds=0.0)


class ReplyPort:
    """Where an exit's stream sends to: a client's reply SURBs, or its address."""

    def __init__(self, exit_side: FakeExit, connection_id: int) -> None:
        self._exit = exit_side
        self._connection_id = connection_id

    def chunking(self):
        return REPLY_CHUNKING

    def queued_packets(self) -> int:
        return self._exit.queued

    async def wait_queued(self, at_most: int) -> None:
        while self._exit.queued > at_most:
            self._exit.drained.clear()
            await self._exit.drained.wait()

    async def send(self, message, chunking) -> Sending:
        content = NetworkData(self._connection_id, message.seq, message.data, message.closed)
        return self._exit.answer(content)

    def link_ready(self) -> bool:
        return True


class FakeExit:
    """A network requester with ``targets`` by address text: an object, a class to make one for each connection
    from, or what happens instead: "refuse", "closed port", "silent".
    """

    def __init__(self, client: FakeClient, *, name: str = "nymgate-exit", seed: int = 1) -> None:
        client.exit = self
        self.client = client
        self.rng = random.Random(seed)
        self.name = name
        self.half_close = name == "nymgate-exit"
        self.policy = ExitPolicy.parse("ExitPolicy accept *:443\nExitPolicy reject *:*")
        self.targets: dict[str, Target | type[Target] | str] = {}
        self.connects: list[Connect] = []
        self.plain_answers = False
        self.answers = 0
        self.queued = 0
        self.drained = asyncio.Event()
        self.mute = False
        self.stalled = False  # what it says from now on is never heard
        self.tasks = TaskSet("exit")
        self.table: ConnectionTable[MixStream, Send] = ConnectionTable()

    def receive(self, message: ReceivedMessage) -> None:
        if self.mute:
            return
        content = RequestMessage.decode(message.data).content
        match content:
            case Connect():
                self.connects.append(content)
                self.plain_answers = content.return_address is not None
                self._connect(content)
            case Send():
                stream = self.table.route(content)
                if stream is not None:
                    stream.receive(content.seq, content.data, content.closed)
            case Query.OPEN_PROXY:
                self.answer(OpenProxyAnswer(False))
            case Query.DESCRIPTION:
                self.answer(DescriptionAnswer("a\ndescription"))
            case Query.EXIT_POLICY:
                self.answer(ExitPolicyAnswer(True, "https://policy.example", self.policy))
            case ControlRequest.HEALTH:
                self.answer(Health())
            case ControlRequest.BINARY_INFO:
                self.answer(BinaryInfo(self.name, BuildInformation(self.name)))
            case ControlRequest.SUPPORTED_VERSIONS:
                self.answer(SupportedVersions())

    def _connect(self, request: Connect) -> None:
        connection_id = request.connection_id
        if connection_id in self.table or self.table.recently_closed(connection_id):
            return
        target = self.targets.get(request.remote, "refuse")
        if isinstance(target, type):
            target = target()
        if target == "refuse":
            self.answer(ConnectionRefused(connection_id, f'Domain "{request.remote}" failed filter check'))
        elif target == "closed port":
            self.answer(NetworkData(connection_id, 0, b"", True))
        elif target != "silent":
            loop = asyncio.get_running_loop()
            options = StreamOptions() if self.half_close else REFERENCE_OPTIONS
            core = StreamCore(loop.time(), options, announce=True, half_close=self.half_close)
            stream = MixStream(
                connection_id,
                core,
                ReplyPort(self, connection_id),
                self.tasks,
                on_ended=lambda ended: self.table.remove(ended.connection_id),
            )
            waiting = self.table.insert(connection_id, stream)
            target.connected(stream)
            stream.attach(target if self.half_close else ReferenceRunner(target))
            for message in waiting:
                stream.receive(message.seq, message.data, message.closed)

    def answer(self, content: object) -> Sending:
        """Send a message back, over reply SURBs unless the client gave its address."""
        loop = asyncio.get_running_loop()
        data = ResponseMessage(content).encode()
        packets = -(-(len(data) + 3) // PACKET_BYTES)
        sending = Sending(1)
        number = self.answers
        self.answers += 1
        conditions = self.client.conditions
        if not self.plain_answers:
            self.client.surbs_at_exit = max(0, self.client.surbs_at_exit - packets)
        self.queued += packets
        loop.call_later(packets * conditions.slot_seconds, self._left, packets)
        way = travel(conditions, self.rng)
        assert way is not None
        via = None if self.plain_answers else EXIT
        for delay in way:
            if number not in conditions.swallowed_replies and not self.stalled:
                loop.call_later(delay, self._arrive, data, via)
        loop.call_later(way[0], sending.packet_acked)
        return sending

    def _left(self, packets: int) -> None:
        self.queued -= packets
        self.drained.set()

    def _arrive(self, data: bytes, via: Recipient | None) -> None:
        self.client.deliver(data, via=via)
