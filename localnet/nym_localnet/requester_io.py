"""The exit: a network requester on top of an ordinary mixnet client (docs/protocol/05).

Requests come as Nym messages, anonymous ones with reply SURBs, others with a return address; answers go
back the same way. Differences from upstream's, all of them on our side of the wire: half-close is kept,
received keep-alives count as activity, names are resolved once, and what waits is bounded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass
from typing import Final

from nym_exit.chunking import OWN_ADDRESS_CHUNKING, REPLY_CHUNKING, Chunking
from nym_exit.client_io import OWN_EXIT_NAME
from nym_exit.codec import (
    Connect,
    ConnectionRefused,
    DescriptionAnswer,
    ExitPolicyAnswer,
    NetworkData,
    OpenProxyAnswer,
    Query,
    QueryAnswer,
    RequestMessage,
    ResponseMessage,
    Send,
)
from nym_exit.control import (
    BinaryInfo,
    BuildInformation,
    ControlRequest,
    ControlResponse,
    Health,
    SupportedVersions,
)
from nym_exit.controller import ConnectionTable
from nym_exit.errors import StreamGap, StreamIdle, StreamLost, WireError
from nym_exit.exit_policy import ExitPolicy, Refusal
from nym_exit.stream import Outbound, StreamCore
from nym_exit.stream_io import MixStream
from nym_exit.stream_options import StreamOptions
from nym_exit.versions import CURRENT
from nym_localnet.counters import ExitCounters, Faults
from nym_localnet.exit_targets_io import CheckedTarget, Target, connect, find_target
from nym_mixnet.client_io import MixnetClient
from nym_mixnet.client_records import ReceivedMessage
from nym_mixnet.errors import MixnetError
from nym_mixnet.lanes import Lane
from nym_mixnet.link_state import LinkState
from nym_mixnet.outgoing import Sending
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx import Recipient, SphinxError

logger = logging.getLogger(__name__)

DESCRIPTION: Final = "the exit of a test network"
MAX_CONNECTIONS: Final = 4096
MAX_HELD_BYTES: Final = 64 * 1024 * 1024
"""messages kept while the exit is told to stall"""
LANE_PACKETS: Final = 200
"""packets of one connection that may wait for slots or reply SURBs before its target is read no further: as
many as a replier asks SURBs for (docs/protocol/04 §4.3), or a client without a bank would be served by fifties
"""
OWN_LANES: Final = (Lane.connection(0), Lane.GENERAL, Lane.SURB_REQUEST, Lane.RETRANSMISSION)
LANE_LINGER_SECONDS: Final = 60.0
"""how long the last messages of a connection may take to be acknowledged"""


@dataclass(frozen=True, slots=True)
class ReturnPath:
    """How to answer one client, and in which versions."""

    sender_tag: bytes | None
    address: Recipient | None
    interface: int
    protocol: int

    @property
    def chunking(self) -> Chunking:
        """How answers travel."""
        return REPLY_CHUNKING if self.address is None else OWN_ADDRESS_CHUNKING


class Requester:
    """Serves the messages of one mixnet client. Create it, then start the client; `close` before the
    client.
    """

    def __init__(
        self,
        client: MixnetClient,
        *,
        policy: ExitPolicy,
        allow_local_ips: bool,
        faults: Faults | None = None,
        counters: ExitCounters | None = None,
        stream_options: StreamOptions | None = None,
    ) -> None:
        self.client = client
        self.policy = policy
        self.faults = faults or Faults()
        self.counters = counters or ExitCounters()
        self._allow_local_ips = allow_local_ips
        self._stream_options = stream_options or StreamOptions(lane_gate_packets=LANE_PACKETS)
        self._tasks = TaskSet("exit")
        self._table: ConnectionTable[_Connection, Send] = ConnectionTable()
        self._connecting: set[int] = set()
        self._lingering: dict[int, asyncio.TimerHandle] = {}
        self.running = asyncio.Event()
        self.running.set()
        self._held: deque[ReceivedMessage] = deque()
        self._held_bytes = 0
        client.on_message = self.on_message

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._table)

    def set_stall(self, stalled: bool) -> None:
        """Stop or resume everything: requests wait, targets are not read, nothing is said."""
        self.faults.stall = stalled
        for connection in list(self._table.entries()):
            connection.target.hold(stalled)
        if stalled:
            self.running.clear()
            return
        self.running.set()
        while self._held and not self.faults.stall:
            message = self._held.popleft()
            self._held_bytes -= len(message.data)
            self._handle(message)

    async def close(self) -> None:
        """Cut all connections."""
        self.running.set()
        for connection in list(self._table.entries()):
            connection.target.abort()
        await asyncio.sleep(0)
        await self._tasks.close()
        for connection_id in [*self._lingering, *(known for known, _ in self._table.items())]:
            self._forget_lane(connection_id)
        for lane in OWN_LANES:  # nothing is left that the client should wait for
            self.client.close_lane(lane)

    # Requests

    def on_message(self, message: ReceivedMessage) -> None:
        """A message of a client."""
        if not self.running.is_set():
            if self._held_bytes + len(message.data) <= MAX_HELD_BYTES:
                self._held.append(message)
                self._held_bytes += len(message.data)
            return
        self._handle(message)

    def _handle(self, message: ReceivedMessage) -> None:
        self.counters.messages += 1
        try:
            request = RequestMessage.decode(message.data)
        except (WireError, SphinxError) as error:
            self.counters.malformed += 1
            logger.info("a request cannot be read: %s", error)
            return
        content = request.content
        match content:
            case Send():
                connection = self._table.route(content)
                if connection is not None:
                    connection.stream.receive(content.seq, content.data, content.closed)
            case Connect():
                self._open(request, content, message.sender_tag)
            case ControlRequest() | Query():
                if message.sender_tag is None:
                    logger.info("a question cannot be answered: it came without reply SURBs")
                    return
                protocol = CURRENT  # docs/protocol/05 §1.2: whatever the question's
                path = ReturnPath(message.sender_tag, None, request.interface, protocol)
                self._tasks.spawn(self._answer(content, path), name="answer")

    async def _answer(self, question: ControlRequest | Query, path: ReturnPath) -> None:
        answer: ControlResponse | QueryAnswer
        match question:
            case ControlRequest.HEALTH:
                answer = Health()
            case ControlRequest.BINARY_INFO:
                answer = BinaryInfo(OWN_EXIT_NAME, BuildInformation(OWN_EXIT_NAME))
            case ControlRequest.SUPPORTED_VERSIONS:
                answer = SupportedVersions()
            case Query.OPEN_PROXY:
                answer = OpenProxyAnswer(self.policy.is_open)
            case Query.DESCRIPTION:
                answer = DescriptionAnswer(DESCRIPTION)
            case Query.EXIT_POLICY:
                answer = ExitPolicyAnswer(True, "", self.policy)
        if isinstance(question, Query):
            self.counters.queries += 1
        else:
            self.counters.controls += 1
        response = ResponseMessage(answer, path.interface, path.protocol)
        await self._say(path, response, Lane.connection(0))

    def _open(self, request: RequestMessage, wanted: Connect, sender_tag: bytes | None) -> None:
        connection_id = wanted.connection_id
        self.counters.connects += 1
        if sender_tag is None and wanted.return_address is None:
            logger.info("a Connect cannot be answered: no return address and no reply SURBs")
            return
        if connection_id in self._table or connection_id in self._connecting:
            logger.info("a Connect repeats the id of an open connection, it is dropped")
            return
        tag = None if wanted.return_address is not None else sender_tag
        path = ReturnPath(tag, wanted.return_address, request.interface, request.protocol)
        if len(self._table) + len(self._connecting) >= MAX_CONNECTIONS:
            self._tasks.spawn(self._fail(connection_id, path), name="refuse")
            return
        self._connecting.add(connection_id)
        self._tasks.spawn(self._connect(wanted, path), name=f"connect {connection_id:016x}")

    async def _connect(self, wanted: Connect, path: ReturnPath) -> None:
        connection_id = wanted.connection_id
        try:
            found = await find_target(wanted.remote, self.policy, allow_local_ips=self._allow_local_ips)
            if isinstance(found, Refusal) or self.faults.refuse:
                self.counters.refused_by_policy += 1
                text = f"Domain {_quoted(wanted.remote)} failed filter check"
                await self._end(connection_id, path, ConnectionRefused(connection_id, text))
                return
            target = await connect(found)
            if target is None:
                self.counters.failed_connects += 1
                await self._fail(connection_id, path)
                return
            self._join(connection_id, path, target, found)
        finally:
            self._connecting.discard(connection_id)

    def _join(self, connection_id: int, path: ReturnPath, target: Target, found: CheckedTarget) -> None:
        self.counters.connected += 1
        loop = asyncio.get_running_loop()
        core = StreamCore(loop.time(), self._stream_options, announce=True, half_close=True)
        stream = MixStream(
            connection_id,
            core,
            _LanePort(self, connection_id, path),
            self._tasks,
            on_ended=self._ended,
            on_drained=self._drained,
        )
        waited = self._table.insert(connection_id, _Connection(stream, target))
        target.join(stream, self.counters)
        target.hold(self.faults.stall)
        for send in waited:
            stream.receive(send.seq, send.data, send.closed)

    # Answers

    async def send(self, path: ReturnPath, response: ResponseMessage, lane: int) -> Sending:
        """Queue one answer. `MixnetError` when there is no way to the client."""
        await self.running.wait()
        data = response.encode()
        if path.address is not None:
            return await self.client.send_plain(path.address, data, lane=lane)
        assert path.sender_tag is not None
        return await self.client.reply(path.sender_tag, data, lane=lane)

    async def _say(self, path: ReturnPath, response: ResponseMessage, lane: int) -> None:
        try:
            await self.send(path, response, lane)
        except MixnetError as error:
            logger.info("a client cannot be answered: %s", error)

    async def _fail(self, connection_id: int, path: ReturnPath) -> None:
        """docs/protocol/05 §3.6: the TCP connection failed."""
        await self._end(connection_id, path, NetworkData(connection_id, 0, b"", True))

    async def _end(self, connection_id: int, path: ReturnPath, last: ConnectionRefused | NetworkData) -> None:
        self._table.remember_closed(connection_id)
        response = ResponseMessage(last, path.interface, path.protocol)
        await self._say(path, response, Lane.connection(connection_id))
        self._linger(connection_id)

    # Ends

    def _ended(self, stream: MixStream) -> None:
        self._table.remove(stream.connection_id)
        match stream.error:
            case StreamGap():
                self.counters.ended_by_gap += 1
            case StreamIdle():
                self.counters.ended_by_silence += 1
            case StreamLost():
                self.counters.ended_by_lost_packet += 1
        self._linger(stream.connection_id)

    def _drained(self, stream: MixStream) -> None:
        self._forget_lane(stream.connection_id)

    def _linger(self, connection_id: int) -> None:
        """The lane lives on until its last packets are acknowledged, or for a while."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(LANE_LINGER_SECONDS, self._forget_lane, connection_id)
        previous, self._lingering[connection_id] = self._lingering.get(connection_id), timer
        if previous is not None:
            previous.cancel()

    def _forget_lane(self, connection_id: int) -> None:
        timer = self._lingering.pop(connection_id, None)
        if timer is not None:
            timer.cancel()
        self.client.close_lane(Lane.connection(connection_id))


@dataclass(frozen=True, slots=True)
class _Connection:
    stream: MixStream
    target: Target


class _LanePort:
    """Where the messages of one connection go."""

    __slots__ = ("_connection_id", "_lane", "_owner", "_path")

    def __init__(self, owner: Requester, connection_id: int, path: ReturnPath) -> None:
        self._owner = owner
        self._connection_id = connection_id
        self._lane = Lane.connection(connection_id)
        self._path = path

    def chunking(self) -> Chunking:
        return self._path.chunking

    def queued_packets(self) -> int:
        return self._owner.client.lane_queued(self._lane)

    async def wait_queued(self, at_most: int) -> None:
        await self._owner.client.wait_lane(self._lane, queued_below=at_most + 1)

    async def send(self, message: Outbound, chunking: Chunking) -> Sending:
        content = NetworkData(self._connection_id, message.seq, message.data, message.closed)
        response = ResponseMessage(content, self._path.interface, self._path.protocol)
        return await self._owner.send(self._path, response, self._lane)

    def link_ready(self) -> bool:
        return self._owner.client.link_state is LinkState.READY


def _quoted(text: str) -> str:
    """Double quotes and escapes as upstream's texts have them."""
    special = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
    shown = (special.get(c) or (c if c.isprintable() else f"\\u{{{ord(c):x}}}") for c in text)
    return f'"{"".join(shown)}"'
