"""Opens byte streams through an exit, and asks the exit about itself (docs/protocol/05).

    async with ExitClient(mixnet_client, exit_address) as exits:
        stream = await exits.open("example.org", 443)

Anonymous by default: the exit answers over reply SURBs and never learns our address. Giving it our address
(``anonymous=False``) is faster and tells the exit, and whoever runs it, who asks for what.

Messages of the exit are told from others by the SURB they came over and by their connection id. Garbage is
counted and dropped: nothing an exit sends ends this client or a stream other than its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from nym_exit.chunking import REPLY_CHUNKING
from nym_exit.codec import (
    ConnectionRefused,
    ExitPolicyAnswer,
    NetworkData,
    ResponseMessage,
)
from nym_exit.control import BinaryInfo
from nym_exit.controller import ConnectionTable
from nym_exit.errors import (
    ConnectFailed,
    ExitError,
    ExitRefused,
    ExitSilent,
    MixnetDown,
    OpenError,
    StreamClosed,
    TooManyStreams,
    WireError,
)
from nym_exit.options import ExitOptions, room_for_bank
from nym_exit.ports import ClientPort
from nym_exit.questions_io import Questions
from nym_exit.requests_io import LanePort, Requests
from nym_exit.stream import StreamCore
from nym_exit.stream_io import MixStream
from nym_exit.surb_policy import EARNED_BY_ANSWER
from nym_exit.targets import format_target
from nym_mixnet.errors import MixnetError
from nym_mixnet.lanes import Lane
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx.addressing import Recipient
from nym_sphinx.rng import SYSTEM_RNG

if TYPE_CHECKING:
    from nym_mixnet.client_records import ReceivedMessage

log = logging.getLogger(__name__)

#: The name our own exit gives itself in its BinaryInfo: its streams keep half-close.
OWN_EXIT_NAME: Final = "nymgate-exit"

_PROBE_ATTEMPTS: Final = 3
_PROBE_PAUSE_SECONDS: Final = 60.0


@dataclass(slots=True)
class ExitStats:
    """Counters since start. ``failures`` counts ended streams by error code."""

    opened: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    undecodable: int = 0
    stray_messages: int = 0
    late_messages: int = 0
    unexpected_answers: int = 0


class _Connection:
    """A stream with what its opening still waits for."""

    __slots__ = ("is_open", "opened", "silence", "stream")

    def __init__(self, stream: MixStream) -> None:
        self.stream = stream
        self.is_open = False
        self.opened: asyncio.Future[None] | None = None
        self.silence: asyncio.TimerHandle | None = None

    def settle(self, error: ExitError | None) -> None:
        """The exit has answered, or will not any more."""
        if self.silence is not None:
            self.silence.cancel()
            self.silence = None
        opened = self.opened
        if opened is not None and not opened.done():
            if error is None:
                opened.set_result(None)
            else:
                opened.set_exception(error)


class ExitClient:
    """Streams through one exit over one mixnet client. Several may share a client, one for each exit.

    Takes over the client's ``on_message`` when it starts and passes on what is not from its exit.
    """

    def __init__(
        self,
        client: ClientPort,
        recipient: Recipient,
        options: ExitOptions | None = None,
        *,
        rng: random.Random = SYSTEM_RNG,
        supplied: bool = True,
    ) -> None:
        """``supplied``: whether the exit is given reply SURBs ahead of need; see :meth:`supply`."""
        self.options = options or ExitOptions()
        self.stats = ExitStats()
        #: Called with each stream that has ended, after it was taken off the count.
        self.on_stream_ended: Callable[[MixStream], None] | None = None
        #: Whether the exit ends one direction at a time; None until it has said what program it is.
        self.half_close: bool | None = None
        self._client = client
        self._recipient = recipient
        self._rng = rng
        self._tasks = TaskSet("exit client")
        self._table: ConnectionTable[_Connection, NetworkData] = ConnectionTable()
        self._lingering: dict[int, asyncio.TimerHandle] = {}
        self._behind: set[int] = set()  # streams whose readers do not keep up
        self._throttled = False
        self._stream_options = room_for_bank(self.options)
        #: What the exit says about itself.
        self.questions = Questions(self._send_question, self.options.query_timeout_seconds)
        self._requests = Requests(client, recipient, self.options)
        self._all_drained = asyncio.Event()
        self._closed = False
        self._supplied = supplied
        self._probing = False
        self._next = client.on_message

    # ---- life ---------------------------------------------------------------------------------------------

    @property
    def recipient(self) -> Recipient:
        """The exit's address."""
        return self._recipient

    @property
    def client(self) -> ClientPort:
        """The mixnet client below."""
        return self._client

    @property
    def streams(self) -> int:
        """Streams that are open or opening."""
        return len(self._table)

    def start(self) -> None:
        """Listen for the exit's messages and start the SURB bank. The mixnet client must be running."""
        if self._closed:
            raise StreamClosed("the exit client is closed")
        if self._requests.bank is not None:
            return
        self._requests.bank = self._client.bank(self._recipient)
        self.supply(self._supplied)
        self._next = self._client.on_message
        self._client.on_message = self.on_message

    def supply(self, wanted: bool) -> None:
        """Keep the bank of reply SURBs at the exit filled, or let it run out: of several exits one is enough."""
        self._supplied = wanted
        if self._requests.bank is not None and self.options.anonymous:
            self._requests.bank.set_target(self.options.surbs.bank_target if wanted else 0)

    def fail_streams(self, error: ExitError) -> None:
        """End all streams with this error: whoever knows more than they do has given the exit up."""
        for connection in list(self._table.entries()):
            connection.stream.fail(error, tell_peer=False)

    def knows(self, connection_id: int) -> bool:
        """Whether a stream with this id is open here, or was until lately."""
        return connection_id in self._table or self._table.recently_closed(connection_id)

    async def close(self, grace_seconds: float = 3.0) -> None:
        """Close all streams, give their last messages some time to leave, and stop."""
        if self._closed:
            return
        self._closed = True
        for connection in list(self._table.entries()):
            if connection.stream.unsent_bytes:
                connection.stream.close()
            else:
                connection.stream.abort()
        if self._table or self._lingering:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace_seconds):
                    await self._all_drained.wait()
        for connection in list(self._table.entries()):
            connection.stream.fail(StreamClosed("the exit client was closed"), tell_peer=False)
        for lane, timer in self._lingering.items():
            timer.cancel()
            self._client.close_lane(Lane.connection(lane))
        self._lingering.clear()
        await self._tasks.close()
        if self._requests.bank is not None:
            self._requests.bank.set_target(0)
        if self._client.on_message == self.on_message:
            self._client.on_message = self._next

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ---- streams ------------------------------------------------------------------------------------------

    async def open(
        self,
        host: str,
        port: int,
        *,
        early: bool = False,
        initial: bytes = b"",
        timeout: float | None = None,  # noqa: ASYNC109 - also limits an early stream, long after this returns
    ) -> MixStream:
        """Open a TCP connection from the exit to ``host:port``.

        Args:
            host: name (resolved by the exit, sent as given) or IP address.
            early: return at once and report a refusal on the stream; saves a round trip.
            initial: bytes for the target that are known already; they travel right behind the request.
            timeout: seconds the exit may take, default ``open_timeout_seconds``.

        Raises:
            BadTarget: the destination cannot be expressed; nothing was sent.
            ExitRefused, ConnectFailed, ExitSilent: what became of the request.
            TooManyStreams: this client's limit.
            MixnetDown, StreamLost: the request could not be sent, or was lost for good.
        """
        remote = format_target(host, port)
        self.start()
        if len(self._table) >= self.options.max_streams:
            raise TooManyStreams(self.options.max_streams)
        limit = self.options.open_timeout_seconds if timeout is None else timeout
        connection_id = self._new_id()
        try:
            sending = await self._requests.connect(connection_id, remote)
        except MixnetError as error:
            raise MixnetDown(error) from error
        if self._closed:
            raise StreamClosed("the exit client is closed")
        loop = asyncio.get_running_loop()
        core = StreamCore(loop.time(), self._stream_options, half_close=self.half_close, opener=True)
        core.starved = self._throttled
        stream = MixStream(
            connection_id,
            core,
            LanePort(self._requests, core, connection_id),
            self._tasks,
            on_ended=self._stream_ended,
            on_drained=self._stream_drained,
            on_demand=self._demand,
            on_backlog=self._backlog,
        )
        connection = _Connection(stream)
        self._table.insert(connection_id, connection)
        stream.adopt(sending)
        if initial:
            stream.write(initial)
        self._probe()
        if early:
            connection.silence = loop.call_later(limit, self._silent, connection, limit)
            return stream
        connection.opened = loop.create_future()
        try:
            async with asyncio.timeout(limit):
                await connection.opened
        except TimeoutError:
            self.stats.failures[ExitSilent.code] += 1
            stream.abort()
            raise ExitSilent("a connection request", limit) from None
        except asyncio.CancelledError:
            stream.abort()
            raise
        finally:
            if connection.opened.done() and not connection.opened.cancelled():
                connection.opened.exception()  # seen, also when a cancellation overtook it
        return stream

    # ---- questions ----------------------------------------------------------------------------------------

    async def health(self) -> float:
        """Ask whether the exit is alive; returns the seconds the answer took."""
        return await self.questions.health()

    async def binary_info(self) -> BinaryInfo:
        """Ask what program the exit runs; remembers whether it keeps half-close."""
        info = await self.questions.binary_info()
        self.half_close = info.binary_name == OWN_EXIT_NAME
        for connection in list(self._table.entries()):
            connection.stream.learn_half_close(self.half_close)
        return info

    async def query_exit_policy(self) -> ExitPolicyAnswer:
        """Ask for the exit's policy."""
        return await self.questions.exit_policy()

    async def _send_question(self, data: bytes) -> None:
        self.start()
        await self._requests.ask(data)

    def _probe(self) -> None:
        if self.options.probe and not self._probing and self.half_close is None:
            self._probing = True
            self._tasks.spawn(self._learn_program(), name="probe")

    async def _learn_program(self) -> None:
        for attempt in range(_PROBE_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_PROBE_PAUSE_SECONDS)
            try:
                await self.binary_info()
            except ExitError as error:
                log.debug("the exit did not say what program it is: %s", error)
            else:
                return

    # ---- receiving ----------------------------------------------------------------------------------------

    def on_message(self, message: ReceivedMessage) -> None:
        """Take a message of the mixnet client; what is not from this exit goes to who listened before."""
        if self._closed or not self._is_ours(message):
            self._next(message)
            return
        try:
            content = ResponseMessage.decode(message.data).content
        except WireError as error:
            self.stats.undecodable += 1
            log.debug("a message of the exit cannot be read: %s", error)
            return
        if isinstance(content, NetworkData):
            self._network_data(content)
        elif isinstance(content, ConnectionRefused):
            self._refused(content)
        elif not self.questions.answered(content):
            self.stats.unexpected_answers += 1

    def _is_ours(self, message: ReceivedMessage) -> bool:
        if message.via is not None:
            return message.via == self._recipient
        # An exit that knows our address writes plain messages: nothing says whose they are but the connection
        # id, 64 random bits that only the exit knows.
        return not self.options.anonymous and message.sender_tag is None

    def _network_data(self, message: NetworkData) -> None:
        connection = self._table.get(message.connection_id)
        if connection is None:
            self._not_ours(message.connection_id)
            return
        if not connection.is_open:
            if message.closed and not message.data:
                if message.seq == 0:
                    self._open_failed(connection, ConnectFailed())
                    return
            else:
                connection.is_open = True
                self.stats.opened += 1
                connection.settle(None)
        if self._behind and self._requests.bank is not None and message.connection_id not in self._behind:
            self._requests.bank.allow(EARNED_BY_ANSWER * REPLY_CHUNKING.packets(len(message.data)))
        connection.stream.receive(message.seq, message.data, message.closed)

    def _refused(self, message: ConnectionRefused) -> None:
        connection = self._table.get(message.connection_id)
        if connection is None or connection.is_open:
            self._not_ours(message.connection_id)
            return
        self._open_failed(connection, ExitRefused())

    def _not_ours(self, connection_id: int) -> None:
        if self._table.recently_closed(connection_id):
            self.stats.late_messages += 1
        else:
            self.stats.stray_messages += 1

    def _open_failed(self, connection: _Connection, error: OpenError) -> None:
        # the exit has forgotten the connection already: a closing message would only wait there
        connection.settle(error)
        connection.stream.fail(error, tell_peer=False)

    def _silent(self, connection: _Connection, seconds: float) -> None:
        connection.silence = None
        connection.stream.fail(ExitSilent("a connection request", seconds))

    # ---- sending ------------------------------------------------------------------------------------------

    def _new_id(self) -> int:
        while True:
            connection_id = self._rng.getrandbits(64)
            taken = connection_id in self._table or connection_id in self._lingering
            if not taken and not self._table.recently_closed(connection_id):
                return connection_id

    # ---- what streams report ------------------------------------------------------------------------------

    def _demand(self, active: bool) -> None:
        if self._requests.bank is not None and self.options.anonymous:
            self._requests.bank.demand(active)

    def _backlog(self, stream: MixStream, behind: bool) -> None:
        if behind:
            self._behind.add(stream.connection_id)
        else:
            self._behind.discard(stream.connection_id)
        bank, throttled = self._requests.bank, bool(self._behind)
        if bank is not None and self.options.anonymous:
            bank.throttle(throttled)
            if throttled is not self._throttled:
                self._throttled = throttled
                for connection in list(self._table.entries()):
                    connection.stream.starve(throttled)

    def _stream_ended(self, stream: MixStream) -> None:
        connection_id = stream.connection_id
        connection = self._table.remove(connection_id)
        if connection is not None:
            connection.settle(stream.error or StreamClosed("the stream was closed before it was open"))
        if stream.error is not None:
            self.stats.failures[stream.error.code] += 1
        loop = asyncio.get_running_loop()
        self._lingering[connection_id] = loop.call_later(
            self.options.lane_linger_seconds, self._forget_lane, connection_id
        )
        if self.on_stream_ended is not None:
            self.on_stream_ended(stream)

    def _stream_drained(self, stream: MixStream) -> None:
        self._forget_lane(stream.connection_id)

    def _forget_lane(self, connection_id: int) -> None:
        timer = self._lingering.pop(connection_id, None)
        if timer is not None:
            timer.cancel()
        self._client.close_lane(Lane.connection(connection_id))
        if self._closed and not self._table and not self._lingering:
            self._all_drained.set()
