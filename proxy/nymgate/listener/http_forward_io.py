"""An application's connection that carries HTTP requests: the socket and the streams of ``http_forward``.

Does what the machine commands, one after the other, with the back-pressure and the bounds that hold for every
connection. Its life as a table, one stream after the other::

    HANDSHAKE ──Open──► OPENING ──stream──► RELAYING ──CloseStream──► HANDSHAKE
        └────────End────────┴─────────────────┴──► LINGERING ──read out──► gone

A kept stream without a request counts as RELAYING: it takes its place among the streams.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterable

import structlog

from nymgate.access.admission_io import Pass
from nymgate.listener.handshake import Connect, Target
from nymgate.listener.http_forward import (
    CloseStream,
    Command,
    End,
    HttpForward,
    Open,
    ToApplication,
    ToTarget,
    Tunnel,
)
from nymgate.listener.http_forward import Phase as HttpPhase
from nymgate.listener.listener_io import (
    LINGER_SECONDS,
    Listening,
    Owner,
    Phase,
    explained,
    is_gone,
    peer_of,
    reset_connection,
)
from nymgate.listener.upstream import Stream
from nymgate.refusals import REFUSALS
from nymgate.sensitive import destination

log = structlog.get_logger("nymgate.listener")


class StreamConsumer:
    """Listens to one stream on behalf of a connection that may have gone on to another one.

    What a stream says while it is being started waits until the machine knows that it is open.
    """

    __slots__ = ("_connection", "_held")

    def __init__(self, connection: "ForwardConnection") -> None:
        self._connection: ForwardConnection | None = connection
        self._held: list[Callable[[ForwardConnection], None]] | None = []

    def flow(self) -> None:
        """Hand on what was held, and from now on everything."""
        held, self._held = self._held, None
        for event in held or ():
            if self._connection is not None:
                event(self._connection)

    def release(self) -> None:
        """Nothing of this stream concerns the connection any more."""
        self._connection = None

    def stream_data(self, data: bytes) -> None:
        if self._held is not None:
            self._held.append(lambda connection: connection.stream_data(data))
        elif self._connection is not None:
            self._connection.stream_data(data)

    def stream_eof(self) -> None:
        self._tell(lambda connection: connection.stream_eof())

    def stream_ended(self) -> None:
        self._tell(lambda connection: connection.stream_ended())

    def stream_failed(self, error: Exception) -> None:
        self._tell(lambda connection: connection.stream_failed(error))

    def stream_paused(self) -> None:
        self._tell(lambda connection: connection.stream_paused(paused=True))

    def stream_resumed(self) -> None:
        self._tell(lambda connection: connection.stream_paused(paused=False))

    def _tell(self, event: "Callable[[ForwardConnection], None]") -> None:
        if self._held is not None:
            self._held.append(event)
        elif self._connection is not None:
            event(self._connection)


class ForwardConnection(asyncio.Protocol):
    """One application and its HTTP requests."""

    def __init__(self, server: Owner, listening: Listening, transport: asyncio.Transport) -> None:
        self.phase = Phase.HANDSHAKE
        self.up = 0
        self.down = 0
        self._server = server
        self._listening = listening
        self._transport = transport
        self._machine = HttpForward()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_is_for_head = False
        self._surplus = 0  # bytes taken from the socket that wait in the machine
        self._stream_paused = False
        self._write_paused = False
        self._commands: deque[Command] = deque()
        self._doing = False
        self._tunnel = False
        self._app_ended = False
        self._far_ended = False
        self._opening: asyncio.Task[None] | None = None
        self._pass: Pass | None = None
        self._counted = 0
        self._heard = False  # the open stream has said something
        self._stream: Stream | None = None
        self._consumer: StreamConsumer | None = None
        self._target: Target | None = None
        self._started = 0.0

    def begin(self, first: bytes) -> None:
        """Take the bytes that came before the socket was this connection's."""
        self.data_received(first)

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when it ends now."""
        return self._machine.phase is HttpPhase.IDLE

    @property
    def kept(self) -> bool:
        """Always: requests follow one another."""
        return True

    # The application's side, called by the event loop.

    def data_received(self, data: bytes) -> None:
        if self.phase in (Phase.LINGERING, Phase.GONE):
            return
        self.up += len(data)
        if self._tunnel:
            if self._stream is not None:
                self._stream.write(data)
            return
        if not self._machine.hungry:
            self._surplus += len(data)
        self._do(self._machine.application_data(data))

    def eof_received(self) -> bool:
        self._app_ended = True
        if self.phase in (Phase.LINGERING, Phase.GONE):
            return False
        if not self._tunnel:
            self._do(self._machine.application_eof())
        elif self._stream is not None:
            self._stream.write_eof()
            self._close_if_over()
        return self.phase in (Phase.OPENING, Phase.RELAYING)

    def pause_writing(self) -> None:
        self._write_paused = True
        if self._stream is not None:
            self._stream.pause()

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._stream is not None:
            self._stream.resume()

    def connection_lost(self, error: Exception | None) -> None:
        self._cancel_timer()
        if self.phase not in (Phase.LINGERING, Phase.GONE):
            self._ended("ok" if self.idle else "E_APPLICATION_GONE")
        self._drop_stream()
        self.phase = Phase.GONE
        self._server.forget(self)

    # What the machine wants.

    def _do(self, commands: Iterable[Command]) -> None:
        """In the order in which they were given, also where doing one brings others."""
        self._commands.extend(commands)
        if self._doing:
            return
        self._doing = True
        try:
            while self._commands and self.phase not in (Phase.LINGERING, Phase.GONE):
                self._do_one(self._commands.popleft())
        except Exception as error:
            explained(error)
            self._finish("E_INTERNAL", reset=True)
        finally:
            self._doing = False
        if self.phase not in (Phase.LINGERING, Phase.GONE):
            self._after()

    def _do_one(self, command: Command) -> None:
        match command:
            case ToApplication(data):
                self.down += len(data)
                self._transport.write(data)
            case ToTarget(data):
                if self._stream is not None:
                    self._stream.write(data)
            case Open():
                self._open(command)
            case CloseStream():
                self._drop_stream()
            case Tunnel():
                self._tunnel = True
            case End(code, data, reset):
                self._end_with(code, data, reset=reset)

    def _after(self) -> None:
        """Settle who waits for whom, and for how long."""
        if self._tunnel or self._machine.hungry:
            self._surplus = 0
        self._settle_reading()
        if not self.idle or self._tunnel:
            self._cancel_timer()
            return
        if self._server.draining:
            self._finish("ok", reset=False)
            return
        partial = self._machine.partial
        if self._timer is None or partial is not self._timer_is_for_head:
            self._cancel_timer()
            options = self._server.options
            seconds = options.handshake_timeout_seconds if partial else options.keep_alive_seconds
            self._timer_is_for_head = partial
            self._timer = self._server.loop.call_later(seconds, self._waited_enough)

    def _waited_enough(self) -> None:
        self._finish("E_HANDSHAKE_TIMEOUT" if self._timer_is_for_head else "ok", reset=False)

    def _settle_reading(self) -> None:
        if self._transport.is_closing():
            return
        if self._stream_paused or self._surplus >= self._server.options.buffer_bytes:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _end_with(self, code: str, data: bytes, *, reset: bool) -> None:
        if data:
            refusal = REFUSALS.get(code)
            if refusal is not None and refusal.layer == "proxy" and refusal.status < 500:
                self._server.warn_once(code, refusal.text)  # the application's fault
            self._linger(data, code)
        elif reset:
            self._finish(code, reset=True)
        else:
            self._linger(b"", code)

    # Streams.

    def _open(self, request: Open) -> None:
        self._target = request.target
        self._started = self._server.loop.time()
        if self._server.draining:
            self._do(self._machine.stream_refused(REFUSALS["E_ADMISSION"]))
            return
        self.phase = Phase.OPENING
        self._server.stats.streams += 1
        self._heard = False
        asked = Connect(request.target, request.credential, request.token)
        self._opening = self._server.spawn(self, asked)

    async def open_stream(self, request: Connect) -> None:
        """Body of the task that waits for the upstream. A crash ends this connection and no other."""
        server = self._server
        try:
            self._pass = await server.gate.enter(self._listening.name, peer_of(self._transport), request)
            stream = await server.upstream.open(request.target, self._pass.caller)
        except Exception as error:
            self._opening = None
            if self.phase is Phase.OPENING:
                self._not_opened(error)
            return
        self._opening = None
        if self.phase is not Phase.OPENING:  # the application left in the same turn of the loop
            stream.abort()
            return
        self.phase = Phase.RELAYING
        self._stream = stream
        self._consumer = consumer = StreamConsumer(self)
        self._far_ended = False
        try:
            stream.start(self._consumer)
            if self._write_paused:
                stream.pause()
            self._do(self._machine.stream_opened())
            if self._tunnel and self._app_ended and self._stream is stream:
                stream.write_eof()
            consumer.flow()
        except Exception as error:
            self._drop_stream()
            self._broken_off(error)

    def _not_opened(self, error: Exception) -> None:
        refusal = explained(error)
        self._log("stream.refused", refusal.code, refusal.layer, str(error))
        self._stream_is_gone()
        self._do(self._machine.stream_refused(refusal))

    def stream_data(self, data: bytes) -> None:
        if not self._heard:
            self._heard = True
            self._server.stats.first_byte.add(self._server.loop.time() - self._started)
        if self._tunnel:
            if not self._transport.is_closing():
                self.down += len(data)
                self._transport.write(data)
        else:
            self._do(self._machine.stream_data(data))

    def stream_eof(self) -> None:
        self._far_ended = True
        if not self._tunnel:
            self._do(self._machine.stream_eof())
            return
        with contextlib.suppress(OSError, RuntimeError):
            self._transport.write_eof()
        self._close_if_over()

    def stream_ended(self) -> None:
        """Over in both directions, in good order."""
        self._stream_is_gone()
        if self._tunnel:
            self._finish("ok", reset=False)
        else:
            self._do(self._machine.stream_eof())

    def stream_failed(self, error: Exception) -> None:
        """Over before its time."""
        self._stream_is_gone()
        self._broken_off(error)

    def stream_paused(self, *, paused: bool) -> None:
        """Take nothing more from the application for now, or go on."""
        self._stream_paused = paused
        if self.phase is Phase.RELAYING:
            self._settle_reading()

    def _broken_off(self, error: Exception) -> None:
        refusal = explained(error)
        if self._tunnel or not self.idle:
            self._log("stream.broken", refusal.code, refusal.layer, str(error))
        if self._tunnel:
            self._finish(refusal.code, reset=True)
        elif self._machine.phase is HttpPhase.OPENING:
            self._do(self._machine.stream_refused(refusal))
        else:
            self._do(self._machine.stream_failed(refusal))

    def _stream_is_gone(self) -> None:
        if self._consumer is not None:
            self._consumer.release()
        self._stream = self._consumer = None
        self._stream_paused = False
        if self.phase in (Phase.OPENING, Phase.RELAYING):
            self.phase = Phase.HANDSHAKE
            self._server.stats.streams -= 1
        self._leave()

    def _drop_stream(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        stream = self._stream
        self._stream_is_gone()
        if stream is None:
            return
        if self._tunnel and self._app_ended:
            stream.close()  # what it sent before its end is still on the way
        else:
            stream.abort()

    # Ends.

    def _close_if_over(self) -> None:
        if self._app_ended and self._far_ended:
            self._finish("ok", reset=False)

    def _linger(self, last_words: bytes, code: str) -> None:
        """Say why, then read on a moment: closing over unread bytes resets, which can eat the answer."""
        self._ended(code)
        self._drop_stream()
        self.phase = Phase.LINGERING
        self._cancel_timer()
        if last_words:
            self.down += len(last_words)
            self._transport.write(last_words)
        if self._app_ended:
            self._transport.close()
            return
        with contextlib.suppress(OSError, RuntimeError):
            self._transport.write_eof()
        if not self._transport.is_closing():
            self._transport.resume_reading()
        self._timer = self._server.loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _finish(self, code: str, *, reset: bool) -> None:
        """End now: what is in the socket's buffer is still delivered, or with a reset it is not."""
        self._cancel_timer()
        if self.phase is Phase.GONE:
            return
        if self.phase is not Phase.LINGERING:
            self._ended(code)
        self._drop_stream()
        self.phase = Phase.GONE
        if reset:
            reset_connection(self._transport)
        else:
            self._transport.close()

    def look(self) -> None:
        """End if the application said its last word a while ago, and is not there to hear an answer."""
        if self._app_ended and self.phase in (Phase.OPENING, Phase.RELAYING) and is_gone(self._transport):
            self._finish("E_APPLICATION_GONE", reset=True)

    def end(self, code: str) -> None:
        """End from outside (shutdown): an exchange breaks off, the others just close."""
        self._finish(code, reset=not self.idle)

    def abort(self) -> None:
        """End from outside, whatever the socket still holds for an application that does not read."""
        self.end("E_SHUTDOWN")
        self._transport.abort()

    def _ended(self, code: str) -> None:
        stats = self._server.stats
        stats.ended[code] += 1
        self._listening.ended[code] += 1
        stats.bytes_up += self.up
        stats.bytes_down += self.down

    def count(self) -> bool:
        """Charge what was carried since the last time to who pays for it. False: they may not go on."""
        if self._pass is None:
            return True
        count, self._counted = self.up + self.down - self._counted, self.up + self.down
        return self._server.gate.count(self._pass, count)

    def _leave(self) -> None:
        if self._pass is not None:
            self.count()
            self._server.gate.leave(self._pass)
            self._pass = None

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _log(self, event: str, code: str, layer: str, reason: str) -> None:
        log.info(
            event,
            code=code,
            layer=layer,
            reason=reason,
            seconds=round(self._server.loop.time() - self._started, 3),
            target=destination(self._target.reveal()) if self._target is not None else None,
        )
