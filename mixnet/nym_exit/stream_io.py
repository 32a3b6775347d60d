"""A :class:`~nym_exit.stream.StreamCore` that runs on the event loop: the byte stream applications hold.

Used on both sides: by :class:`~nym_exit.client_io.ExitClient` for its connections, and by an exit for its
sockets. One task sends, one timer watches; received messages are delivered in the call that brings them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from nym_exit.chunking import Chunking
from nym_exit.errors import ExitError, MixnetDown, StreamClosed, StreamLost
from nym_exit.ports import SendingPort, StreamConsumer, StreamPort
from nym_exit.stream import Outbound, StreamCore
from nym_mixnet.errors import MixnetError
from nym_mixnet.tasks_io import TaskSet
from nym_sphinx.errors import SphinxError

log = logging.getLogger(__name__)

# Largest piece handed to the consumer at a time, so that it can pause in between.
_DELIVERY_BYTES = 256 * 1024


class MixStream:
    """A two-way byte stream, callback style: attach a :class:`~nym_exit.ports.StreamConsumer` and write.

    Until a consumer is attached, received bytes wait. All methods belong to the event loop's thread. For
    ``await``-style use see :class:`~nym_exit.facade_io.AsyncStream`.

    Args:
        connection_id: the id on the wire.
        core: the stream's state.
        port: where messages go.
        tasks: owner of the sending task.
        on_ended: called once, when the id can be forgotten (messages may still be unacknowledged).
        on_drained: called once after that, when every message was acknowledged or given up.
        on_demand: called with True when the stream begins to wait for data, with False when it stops.
        on_backlog: called with True when the reader falls behind, with False when it has caught up or the
            stream needs nothing more.
    """

    def __init__(
        self,
        connection_id: int,
        core: StreamCore,
        port: StreamPort,
        tasks: TaskSet,
        *,
        on_ended: Callable[[MixStream], None] | None = None,
        on_drained: Callable[[MixStream], None] | None = None,
        on_demand: Callable[[bool], None] | None = None,
        on_backlog: Callable[[MixStream, bool], None] | None = None,
    ) -> None:
        self.connection_id = connection_id
        self._core = core
        self._port = port
        self._loop = asyncio.get_running_loop()
        self._on_ended = on_ended
        self._on_drained = on_drained
        self._on_demand = on_demand
        self._on_backlog = on_backlog
        self._consumer: StreamConsumer | None = None
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._in_flight = 0
        self._filling: asyncio.Timeout | None = None
        self._full_bytes = 0
        self._wanted = False
        self._backlogged = False
        self._reading = True
        self._writing_paused = False
        self._delivering = False
        self._eof_delivered = False
        self._end_delivered = False
        self._finished = False
        tasks.spawn(self._pump(), name=f"stream {connection_id:016x}")
        self._update()

    # ---- what the application does ------------------------------------------------------------------------

    @property
    def error(self) -> ExitError | None:
        """Why the stream broke; None while it is up and after an orderly end."""
        return self._core.error

    @property
    def ended(self) -> bool:
        """Nothing more comes out or goes in."""
        return self._core.ended

    @property
    def core(self) -> StreamCore:
        """The state below, for counters; change it through this object only."""
        return self._core

    @property
    def unsent_bytes(self) -> int:
        """Bytes written that are not in a message yet."""
        return self._core.unsent_bytes

    def attach(self, consumer: StreamConsumer) -> None:
        """Deliver to ``consumer`` from now on, what waits first."""
        self._consumer = consumer
        if self._finished:
            self._deliver()
        else:
            self._update()

    def pause_reading(self) -> None:
        """Deliver nothing for now. The other side cannot be told: what comes is kept, up to the limit, and an
        exit gets next to no reply SURBs for more.
        """
        self._reading = False

    def resume_reading(self) -> None:
        """Deliver again, what waits first."""
        if not self._reading:
            self._reading = True
            self._update()

    def write(self, data: bytes) -> None:
        """Send bytes. Never blocks; ``pause_writing`` of the consumer says when it is too much.

        After the stream has ended this does nothing: the consumer has been or is being told.

        Raises:
            StreamClosed: after :meth:`write_eof` or :meth:`close` of the caller's own.
        """
        core = self._core
        if core.ended or core.error is not None:
            return
        if core.local_eof and core.remote_closed and not core.local_closed:
            # not the caller's mistake: the other side dropped the connection a while after it had closed
            self.fail(StreamClosed("the other side has closed the connection"), tell_peer=False)
            return
        core.write(data)
        self._wake.set()
        if self._filling is not None and core.unsent_bytes >= self._full_bytes:
            self._filling.reschedule(self._loop.time())
            self._filling = None
        if not self._writing_paused and core.unsent_bytes > core.options.write_high_water_bytes:
            self._writing_paused = True
            if self._consumer is not None:
                self._consumer.pause_writing()

    def write_eof(self) -> None:
        """Nothing more will be written; reading goes on."""
        self._core.write_eof(self._loop.time())
        self._update()

    def close(self) -> None:
        """Stop reading, send what was written, and end the stream."""
        self._core.close(self._loop.time())
        self._update()

    def abort(self) -> None:
        """End the stream at once; what was not sent yet is dropped."""
        self._core.abort(self._loop.time())
        self._update()

    def fail(self, error: ExitError, *, tell_peer: bool = True) -> None:
        """End the stream with an error."""
        self._core.fail(error, self._loop.time(), tell_peer=tell_peer)
        self._update()

    # ---- what the network does ----------------------------------------------------------------------------

    def receive(self, seq: int, data: bytes, closed: bool) -> None:
        """A message of the other side."""
        self._core.receive(seq, data, closed, self._loop.time())
        self._update()

    def adopt(self, sending: SendingPort) -> None:
        """Count a message sent for this stream by somebody else (its Connect); losing it ends the stream."""
        self._in_flight += 1
        sending.add_done_callback(partial(self._settled, None))

    def learn_half_close(self, keeps: bool) -> None:
        """What kind of peer it is turned out."""
        self._core.learn_half_close(keeps)
        self._update()

    def starve(self, starved: bool) -> None:
        """Reply SURBs are held back from the exit from now on, or no longer."""
        self._core.starve(starved, self._loop.time())
        self._update()

    # ---- inside -------------------------------------------------------------------------------------------

    async def _pump(self) -> None:
        core, port = self._core, self._port
        while not core.ended:
            await self._wake.wait()
            self._wake.clear()
            while core.may_send and not core.ended:
                chunking = port.chunking()
                queued = port.queued_packets()
                message = core.next_message(self._loop.time(), queued, chunking)
                if message is not None:
                    try:
                        self._sent(message, await port.send(message, chunking))
                    except (MixnetError, SphinxError) as error:
                        self.fail(MixnetDown(error), tell_peer=False)
                    self._update()
                    continue
                gate = core.room_needed(queued, chunking) if core.window_open else None
                if gate is None:
                    break  # an acknowledgement or a timer goes on from here
                await self._wait_for_room(gate, chunking)

    async def _wait_for_room(self, gate: int, chunking: Chunking) -> None:
        core = self._core
        self._full_bytes = chunking.capacity(core.options.max_chunk_packets)
        if core.unsent_bytes >= self._full_bytes:
            await self._port.wait_queued(gate)
            return
        # bytes written meanwhile may fill the message, and a full one needs less room
        try:
            async with asyncio.timeout(None) as self._filling:
                await self._port.wait_queued(gate)
        except TimeoutError:
            pass  # it is full
        finally:
            self._filling = None

    def _sent(self, message: Outbound, sending: SendingPort) -> None:
        self._in_flight += 1
        sending.add_done_callback(partial(self._settled, message.seq))

    def _settled(self, seq: int | None, sending: SendingPort) -> None:
        self._in_flight -= 1
        core = self._core
        if not core.ended:
            if sending.lost:
                # a hole the other side waits behind: our closing message could never be reached
                self.fail(StreamLost(), tell_peer=False)
            elif seq is not None:
                was_open = core.window_open
                core.acknowledged(seq)
                if not was_open:
                    self._wake.set()
        self._check_drained()

    def _update(self) -> None:
        """Bring everything around the state up to date, after any change of it."""
        if self._finished:
            return
        core = self._core
        self._deliver()
        if core.may_send or core.ended:
            self._wake.set()
        if self._writing_paused and core.unsent_bytes <= core.options.write_low_water_bytes:
            self._writing_paused = False
            if self._consumer is not None and not core.local_eof:
                self._consumer.resume_writing()
        if core.wants_data is not self._wanted:
            self._wanted = not self._wanted
            if self._on_demand is not None:
                self._on_demand(self._wanted)
        if core.backlogged is not self._backlogged:
            self._backlogged = not self._backlogged
            if not self._backlogged:
                core.reader_is_back(self._loop.time())
            if self._on_backlog is not None:
                self._on_backlog(self, self._backlogged)
        self._set_timer()
        if core.ended:
            self._finish()

    def _deliver(self) -> None:
        consumer = self._consumer
        if consumer is None or self._delivering or self._end_delivered:
            return
        core = self._core
        self._delivering = True
        try:
            while self._reading and core.readable_bytes:
                consumer.data_received(core.read(_DELIVERY_BYTES))
            if self._reading and core.at_eof and not self._eof_delivered and not core.local_closed:
                self._eof_delivered = True
                if core.error is None:
                    consumer.eof_received()
            if core.ended or (core.error is not None and not core.readable_bytes):
                self._end_delivered = True
                consumer.stream_ended(core.error)
        except Exception:
            # a consumer's mistake must not take down the client that carries all other streams
            log.exception("the reader of a stream failed; the stream is aborted")
            self._end_delivered = True
            core.abort(self._loop.time())
        finally:
            self._delivering = False

    def _set_timer(self) -> None:
        at = self._core.get_timer()
        timer = self._timer
        if at is not None:
            check = self._core.next_link_check(self._loop.time())
            if check is not None:
                at = min(at, check)
        if at is None:
            if timer is not None:
                timer.cancel()
                self._timer = None
        elif timer is None or at < timer.when():
            # a later time is left to the timer that is set: most deadlines only ever move away
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        now = self._loop.time()
        if not self._port.link_ready():
            self._core.link_was_down(now)
        self._core.handle_timer(now)
        self._update()

    def _finish(self) -> None:
        if self._finished:
            return
        self._finished = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._on_ended is not None:
            self._on_ended(self)
        self._check_drained()

    def _check_drained(self) -> None:
        if self._finished and self._in_flight == 0 and self._on_drained is not None:
            callback, self._on_drained = self._on_drained, None
            callback(self)
