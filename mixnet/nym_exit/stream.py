"""One end of a byte stream over the mixnet, without any input or output (docs/protocol/05 §3).

Both ends use it: a client's connection and the exit's side of it. Messages of the other side go in by
:meth:`StreamCore.receive`, bytes of the local socket by :meth:`StreamCore.write`; messages to send come
out of :meth:`StreamCore.next_message`, bytes for the local socket out of :meth:`StreamCore.read`. Time is
an argument (monotonic seconds); :meth:`StreamCore.get_timer` says when :meth:`StreamCore.handle_timer`
wants to be called.

What it promises: bytes come out in order and once; a stream never stalls in silence (gap limit, idle limit,
bounded closing); nothing grows without bound.

**Closing.** The wire has one "closed" flag for each direction, but a network requester of the reference
ends the whole connection 3 s after it sees ours. So there are two kinds of peers:

* without ``half_close``: the flag is held back after the local end-of-data until the peer has closed or been
  quiet for a while, and nothing follows it;
* with ``half_close`` (both ends are this code): the flag ends one direction only and goes out at once.
  Keep-alives go on until both directions have ended, so that silence still means that the peer is gone. A
  *second* closing message, under a later number, ends everything: the sender is gone, or its connection
  broke (:class:`~nym_exit.errors.StreamReset`). A peer of the reference ignores both.
"""

from __future__ import annotations

from dataclasses import dataclass

from nym_exit.byte_queue import ByteQueue, SendWindow
from nym_exit.chunking import Chunking
from nym_exit.errors import (
    ExitError,
    ExitStalled,
    StreamClosed,
    StreamGap,
    StreamIdle,
    StreamOverflow,
    StreamReset,
)
from nym_exit.receive_side import Arrival, ReceiveSide
from nym_exit.stream_options import StreamOptions

#: While messages wait behind a gap, the link is looked at so often: time without a link does not count.
GAP_CHECK_SECONDS = 2.0
#: The same while a keep-alive of the other end is overdue.
SILENCE_CHECK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message to send: the body of a Send or a NetworkData. Empty and not closed: a keep-alive."""

    seq: int
    data: bytes = b""
    closed: bool = False

    def __repr__(self) -> str:
        return f"Outbound(seq={self.seq}, {len(self.data)} bytes, closed={self.closed})"


class StreamCore:
    """State of one end of one stream.

    Args:
        now: monotonic seconds.
        options: limits.
        announce: start with an empty message of sequence 0, as the reference does on both sides. An exit
            must: it tells the client that the TCP connection is up. A client need not: the reference's
            exit reads from the target without waiting for anything and takes data under sequence 0,
            so a client saves the packet.
        half_close: whether the peer keeps sending after our closing message. None: not known yet, and told
            later by :meth:`learn_half_close`.
        opener: this end opened the stream. It knows an exit of ours by its keep-alives, and it supplies the
            reply SURBs that the other end speaks with.
    """

    def __init__(
        self,
        now: float,
        options: StreamOptions | None = None,
        *,
        announce: bool = False,
        half_close: bool | None = False,
        opener: bool = False,
    ) -> None:
        self.options = options or StreamOptions()
        self.half_close = half_close
        self.opener = opener
        #: Reply SURBs are held back from the exit, for the sake of a stream whose reader is behind.
        self.starved = False
        #: A sign of life of the exit is overdue.
        self.overdue = False
        #: Nothing more comes out or goes in; the id can be forgotten.
        self.ended = False
        #: Why the stream broke; None while it is up and after an orderly end.
        self.error: ExitError | None = None
        #: The local side will write no more.
        self.local_eof = False
        #: The local side is gone: received bytes are dropped.
        self.local_closed = False
        #: Our closing message went out.
        self.close_sent = False
        self.bytes_sent = 0
        self._announce = announce
        self._in = ReceiveSide(self.options.gap_limit_seconds)
        self._out = ByteQueue()
        self._window = SendWindow(self.options.window_messages)
        self._close_ready = False
        self._keepalive_due = False
        # points in time; None: not awaited
        self._last_heard = now
        self._silent_since = now
        self._keepalive_at: float | None = now + self.options.keepalive_seconds
        self._hold_until: float | None = None
        self._late_close_at: float | None = None
        self._linger_until: float | None = None
        self._close_deadline: float | None = None

    # ---- local side ---------------------------------------------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        """Bytes written locally that are not in a message yet."""
        return len(self._out)

    @property
    def readable_bytes(self) -> int:
        """Received bytes in order that the local side has not taken."""
        return self._in.readable_bytes

    @property
    def waiting_bytes(self) -> int:
        """What the receive limit counts: readable bytes, and messages behind a gap with their bookkeeping."""
        return self._in.waiting_bytes

    @property
    def bytes_received(self) -> int:
        """Bytes that came into order so far."""
        return self._in.bytes_received

    @property
    def remote_closed(self) -> bool:
        """The peer's closing message, and all before it, are here."""
        return self._in.closed

    @property
    def wants_data(self) -> bool:
        """Whether more data from the peer is welcome: it is what reply SURBs are for."""
        return not (
            self.ended
            or self.local_closed
            or self.remote_closed
            or self.waiting_bytes > self.options.demand_limit_bytes
        )

    @property
    def backlogged(self) -> bool:
        """Whether the local reader is behind: it alone decides when more may come."""
        return (
            self._in.readable_bytes > self.options.demand_limit_bytes
            and not self.remote_closed
            and not self.local_closed
            and not self.ended
        )

    def write(self, data: bytes) -> None:
        """Take bytes for the peer. They leave in messages as :meth:`next_message` finds room.

        Raises:
            StreamClosed: the stream broke or ended, or its writing side was closed before.
        """
        if self.ended or self.error is not None:
            raise StreamClosed("the stream has ended") from self.error
        if self.local_eof:
            raise StreamClosed("the writing side of the stream is closed")
        self._out.append(data)

    def write_eof(self, now: float) -> None:
        """The local side will write no more, but still reads."""
        if self.local_eof or self.ended:
            return
        self.local_eof = True
        if self.half_close:
            self._close_ready = True
        elif self.remote_closed:
            self._late_close_at = now + self.options.late_close_seconds
        else:
            self._hold_until = now + self.options.eof_hold_seconds

    def learn_half_close(self, keeps: bool) -> None:
        """What kind of peer it is turned out."""
        self.half_close = keeps
        if keeps:
            self._linger_until = None
            if self.local_eof and not self.local_closed and not self.close_sent:
                self._hold_until = self._late_close_at = None
                self._close_ready = True
            self._check_reset()
        elif self.close_sent and self.local_closed:
            self._close_ready = False  # no second closing message is due after all
            self._check_end()

    def close(self, now: float) -> None:
        """The local side is gone: what it wrote is still sent, what arrives is dropped."""
        if self.local_closed or self.ended:
            return
        self.local_eof = self.local_closed = True
        self._in.drop()
        self._close_deadline = now + self.options.close_wait_seconds
        if self.remote_closed and not self._out and not self.close_sent:
            # both sides have said all they had to say: our closing message only tidies up
            if self._late_close_at is None:
                self._late_close_at = now + self.options.late_close_seconds
        else:
            self._close_ready = not self.close_sent or self._reset_due
        self._check_end()

    def abort(self, now: float) -> None:
        """The local side is gone: what is not in a message yet is dropped too, and the peer told at once."""
        self._drop_unsent()
        self.close(now)
        if not self.ended and not self.close_sent:
            self._late_close_at = None
            self._close_ready = True

    def fail(self, error: ExitError, now: float, *, tell_peer: bool = True) -> None:
        """Break the stream: drop everything, report ``error``, and send closing messages if they may help."""
        if self.ended:
            return
        if self.error is None and not self.local_closed:
            self.error = error
        self.abort(now)
        if not tell_peer:
            self._end()

    def read(self, limit: int | None = None) -> bytes:
        """Take bytes that arrived in order, at most ``limit``; empty when there are none."""
        data = self._in.read(limit)
        self._check_end()
        return data

    @property
    def at_eof(self) -> bool:
        """Everything the peer sent before its closing message has been read."""
        return self.remote_closed and not self.readable_bytes

    # ---- peer side ----------------------------------------------------------------------------------------

    def receive(self, seq: int, data: bytes, closed: bool, now: float) -> None:
        """Take a message of the peer, in any order, duplicates included."""
        if self.ended or self.error is not None:
            return
        if closed:
            self._in.note_close(seq)
        if self.local_closed or self.remote_closed:
            self._last_heard = self._silent_since = now
            self._check_reset()
            return
        arrival = self._in.receive(seq, data, closed, now)
        if arrival is not Arrival.REFUSED:
            self._heard(data, now)
        if arrival is Arrival.CLOSED:
            self._peer_closed(now)
        if self.waiting_bytes > self.options.receive_limit_bytes:
            self.fail(StreamOverflow(self.options.receive_limit_bytes), now)

    @property
    def may_send(self) -> bool:
        """Whether :meth:`next_message` is worth asking (it may still answer that there is no room)."""
        return bool(self._out or self._close_ready or self._keepalive_due or self._announce)

    def next_message(self, now: float, queued_packets: int, chunking: Chunking) -> Outbound | None:
        """The next message to send, or None when there is none or no room.

        Args:
            queued_packets: packets of this stream that wait for a slot in the layer below.
            chunking: how this message will travel.
        """
        if self.ended:
            return None
        closing = self._close_ready and (not self.close_sent or self._reset_due)
        if closing and not self._out:
            return self._message(b"", True, now)  # even past the window: it is the last thing we send
        if not self._window.open:
            return None
        if self._out and not self._announce:
            if queued_packets > self._gate(chunking):
                return None
            data = self._out.take(chunking.capacity(self.options.max_chunk_packets))
            return self._message(data, closing and not self._out, now)
        if self._announce or self._keepalive_due:
            return self._message(b"", False, now)
        return None

    def room_needed(self, queued_packets: int, chunking: Chunking) -> int | None:
        """When bytes wait for the lane below to drain: the number of queued packets that lets them go."""
        if self.ended or not self._out:
            return None
        gate = self._gate(chunking)
        return gate if queued_packets > gate else None

    @property
    def window_open(self) -> bool:
        """Whether another message may go out before the oldest unacknowledged one is acknowledged."""
        return self._window.open

    def acknowledged(self, seq: int) -> None:
        """All packets of a message reached the peer's gateway."""
        self._window.acknowledged(seq)

    # ---- time ---------------------------------------------------------------------------------------------

    def get_timer(self) -> float | None:
        """When :meth:`handle_timer` has something to do; None when nothing is awaited."""
        if self.ended:
            return None
        times = [
            self._keepalive_at,
            self._hold_until,
            self._late_close_at,
            self._linger_until,
            self._close_deadline,
            self._in.gap_deadline,
            self._idle_deadline,
            self._silence_deadline,
            self._overdue_at,
        ]
        return min((at for at in times if at is not None), default=None)

    def handle_timer(self, now: float) -> None:
        """Do what is due by ``now``; look at the outputs afterwards as after any other input."""
        if self.ended:
            return
        options = self.options
        inside = self._in
        if _due(inside.gap_deadline, now):
            self.fail(StreamGap(inside.missing, inside.held_messages, options.gap_limit_seconds), now)
        elif _due(self._idle_deadline, now):
            self.fail(StreamIdle(options.idle_limit_seconds), now)
        elif _due(self._silence_deadline, now):
            self.fail(ExitStalled(options.silence_limit_seconds, options.keepalive_seconds), now)
        elif _due(self._close_deadline, now):
            self._close_overdue()
        elif _due(self._linger_until, now):
            self._linger_until = None
            self._peer_dropped_us(now)
        if _due(self._overdue_at, now):
            self.overdue = self._keepalive_due = True
        if _due(self._keepalive_at, now):
            self._keepalive_at = None
            self._keepalive_due = True
        if _due(self._hold_until, now):
            self._hold_until = None
            self._close_ready = True
        if _due(self._late_close_at, now):
            self._late_close_at = None
            self._close_ready = True

    @property
    def in_gap(self) -> bool:
        """Whether later messages wait behind a missing one."""
        return self._in.in_gap

    def reader_is_back(self, now: float) -> None:
        """The peer may speak again from now on."""
        self._last_heard = self._silent_since = now
        self.overdue = False

    def starve(self, starved: bool, now: float) -> None:
        """Reply SURBs are held back from now on, or no longer: the exit gets its whole time again."""
        self.starved = starved
        self._silent_since = now
        self.overdue = False

    def next_link_check(self, now: float) -> float | None:
        """When to see whether the link is up, for :meth:`link_was_down`; None while it does not matter."""
        if self.in_gap:
            return now + GAP_CHECK_SECONDS
        if self._silence_deadline is None:
            return None
        return max(now, self._silent_since + self.options.keepalive_seconds) + SILENCE_CHECK_SECONDS

    def link_was_down(self, now: float) -> None:
        """Nothing could arrive until now: a gap and a silence get their whole time again."""
        self._in.restart_gap_clock(now)
        self._silent_since = now
        self.overdue = False

    # ---- inside -------------------------------------------------------------------------------------------

    @property
    def _idle_deadline(self) -> float | None:
        if self.local_closed or (self.remote_closed and not self.half_close):
            return None  # nothing more is awaited from the peer
        if self.opener and self.backlogged:
            return None  # it is we who keep the peer silent
        return self._last_heard + self.options.idle_limit_seconds

    @property
    def _silence_deadline(self) -> float | None:
        if not self.opener or self._idle_deadline is None or (self.starved and not self.half_close):
            return None
        return self._silent_since + self.options.silence_limit_seconds

    @property
    def _overdue_at(self) -> float | None:
        if self.overdue or self._silence_deadline is None:
            return None
        return self._silent_since + self.options.overdue_seconds

    @property
    def _reset_due(self) -> bool:
        """Whether a peer that knows half-close (or may) must be told that this end is gone altogether."""
        return self.half_close is not False and self.local_closed and not self.remote_closed

    def _gate(self, chunking: Chunking) -> int:
        options = self.options
        if len(self._out) >= chunking.capacity(options.max_chunk_packets):
            return options.lane_gate_packets
        return options.partial_gate_packets

    def _message(self, data: bytes, closed: bool, now: float) -> Outbound:
        options = self.options
        seq = self._window.number()
        self._announce = self._keepalive_due = False
        self.bytes_sent += len(data)
        self._keepalive_at = now + options.keepalive_seconds
        if closed:
            last = self.close_sent or not self._reset_due
            self.close_sent = True
            self._hold_until = self._late_close_at = self._linger_until = None
            if not self.half_close:
                self._keepalive_at = None
                if not self.remote_closed:
                    self._close_deadline = now + options.close_wait_seconds
            if last:
                self._close_ready = False
                self._check_end()
        elif self._close_deadline is not None:
            self._close_deadline = now + options.close_wait_seconds  # sending goes on: not stuck
        return Outbound(seq, data, closed)

    def _heard(self, data: bytes, now: float) -> None:
        self._last_heard = self._silent_since = now
        self.overdue = False
        if not data:
            return
        if self._hold_until is not None:
            self._hold_until = now + self.options.eof_hold_seconds
        if self._close_deadline is not None:
            self._close_deadline = now + self.options.close_wait_seconds

    def _peer_closed(self, now: float) -> None:
        self._close_deadline = None
        if self._hold_until is not None:
            self._hold_until = None
            self._late_close_at = now + self.options.late_close_seconds
        if not self.half_close and not self.close_sent:
            self._linger_until = now + self.options.linger_seconds
        self._check_reset()
        self._check_end()

    def _check_reset(self) -> None:
        """The peer is gone for good once both its closing messages, and all before them, are here."""
        if self._in.reset and self.half_close and (self.remote_closed or self.local_closed):
            if self.error is None and not self.local_closed:
                self.error = StreamReset()
            self._drop_unsent()
            self.local_eof = self.close_sent = True
            self._close_ready = False
            self._keepalive_at = None
            self._check_end()

    def _peer_dropped_us(self, now: float) -> None:
        """A peer without half-close has closed some time ago and takes nothing more by now."""
        if self._out:
            self.fail(StreamClosed("the other side has closed the connection"), now, tell_peer=False)
        else:
            self.local_eof = True
            self._close_ready = True

    def _close_overdue(self) -> None:
        """No close from the peer, or no way to send ours."""
        if self.error is None and not self.local_closed:
            self.error = StreamIdle(self.options.close_wait_seconds)
        self._end()

    def _check_end(self) -> None:
        if not self.close_sent or self.ended:
            return
        if self.local_closed:
            # a reset, where one is due, has to leave first
            if not self._close_ready:
                self._end()
        elif self.at_eof:
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._drop_unsent()
        self._in.drop()
        self._window.clear()

    def _drop_unsent(self) -> None:
        self._out.clear()
        self._announce = False


def _due(at: float | None, now: float) -> bool:
    return at is not None and now >= at
