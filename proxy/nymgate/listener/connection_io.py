"""One application's connection: its handshake, then the relay between its socket and a stream of the upstream.

An ``asyncio.Protocol`` without asyncio streams: bytes that arrive go to the upstream's stream as they are, and back,
with pause and resume in both directions, so that at most ``buffer`` bytes wait anywhere
(``docs/explanation/performance.md`` §2 has what that is worth). Its life as a table::

    HANDSHAKE ──Connect──► OPENING ──gate, stream──► RELAYING ──both ends──► gone
        ├────Refuse───────────┴──no stream──► LINGERING ──read out──► gone
        └────Forward──► the socket goes to an ``http_forward_io.ForwardConnection``

A clean end is a FIN in each direction; whatever breaks a stream off is a reset, so that no application takes half a
file for a whole one.
"""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import cast

import structlog

from nymgate.access.admission_io import Pass
from nymgate.listener.caller import Caller
from nymgate.listener.credential import Credential
from nymgate.listener.detect import machine_for
from nymgate.listener.handshake import (
    Action,
    Answer,
    Authenticate,
    Connect,
    Forward,
    Handshake,
    Refuse,
    Target,
)
from nymgate.listener.http_forward_io import ForwardConnection
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


class Connection(asyncio.Protocol):
    """One application: its handshake, then the relay between its socket and a stream of the upstream."""

    __slots__ = (
        "_answered",
        "_app_ended",
        "_counted",
        "_early",
        "_far_ended",
        "_handshake",
        "_listening",
        "_opening",
        "_pass",
        "_server",
        "_shaken",
        "_started",
        "_stream",
        "_target",
        "_timer",
        "_transport",
        "down",
        "phase",
        "up",
    )

    def __init__(self, server: Owner, listening: Listening) -> None:
        self.phase = Phase.HANDSHAKE
        self.up = 0
        self.down = 0
        self._server = server
        self._listening = listening
        self._handshake: Handshake  # from the first byte on
        self._shaken = False
        self._early = b""  # what the application sent before its stream was up
        self._app_ended = False
        self._far_ended = False
        self._answered = False
        self._opening: asyncio.Task[None] | None = None  # or that of a login
        self._pass: Pass | None = None
        self._counted = 0
        self._stream: Stream | None = None
        self._target: Target | None = None
        self._started = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is lost when it ends now."""
        return self.phase is Phase.HANDSHAKE

    @property
    def kept(self) -> bool:
        """Never: its one request makes it a stream."""
        return False

    # The application's side, called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has the methods, not the base class
        self._timer = self._server.loop.call_later(
            self._server.options.handshake_timeout_seconds, self._handshake_expired
        )
        self._transport.set_write_buffer_limits(high=self._server.options.buffer_bytes)
        if not self._server.admit(self, self._listening):
            if not self._server.draining:
                self._server.warn_once("E_ADMISSION", "there is no room even for a refusal")
            self._finish("E_ADMISSION", reset=True)

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.RELAYING:
            assert self._stream is not None
            self.up += len(data)
            self._stream.write(data)
        elif self.phase is Phase.HANDSHAKE:
            self._shake(data)
        elif self.phase is Phase.OPENING:
            self._early += data
            if len(self._early) >= self._server.options.buffer_bytes:
                self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._app_ended = True
        if self.phase is Phase.RELAYING:
            assert self._stream is not None
            self._stream.write_eof()
            self._close_if_over()
        return self.phase in (Phase.OPENING, Phase.RELAYING)  # False: the transport closes by itself

    def pause_writing(self) -> None:
        if self._stream is not None:
            self._stream.pause()

    def resume_writing(self) -> None:
        if self._stream is not None:
            self._stream.resume()

    def connection_lost(self, error: Exception | None) -> None:
        self._timer.cancel()
        if self.phase in (Phase.OPENING, Phase.RELAYING):
            self._ended("E_APPLICATION_GONE")
        elif self.phase is Phase.HANDSHAKE:
            self._ended("E_NO_REQUEST")
        self.phase = Phase.GONE
        self._drop_stream()
        self._server.forget(self)

    # The handshake.

    def _shake(self, data: bytes) -> None:
        if self._shaken:
            handshake = self._handshake
        else:
            self._shaken = True
            machines = self._listening.machines_for(self._transport)
            handshake = self._handshake = machine_for(data[0], machines)
        self._act(handshake.feed(data))

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case Answer(answer):
                    self._transport.write(answer)
                case Connect():
                    self._open(action)
                case Authenticate(credential):
                    self._login(credential)
                case Refuse(answer, code, reason):
                    self._server.warn_once(code, reason)
                    self._linger(answer, code)
                case Forward(first):
                    self._hand_over(first)

    def _hand_over(self, first: bytes) -> None:
        """From here on another protocol has the socket."""
        self._timer.cancel()
        self.phase = Phase.GONE
        heir = ForwardConnection(self._server, self._listening, self._transport)
        self._server.replace(self, heir)
        self._transport.set_protocol(heir)
        heir.begin(first)

    def _login(self, credential: Credential) -> None:
        """At once for those who were right before; others wait, and are read no further meanwhile."""
        if self._server.gate.doorkeeper.known(credential) is not None:
            self._act(self._handshake.authenticated(True))
            return
        self._transport.pause_reading()
        self._opening = self._server.spawn_login(self._check(credential))

    async def _check(self, credential: Credential) -> None:
        """Body of the task that waits for the password to be hashed."""
        try:
            right = await self._server.gate.login(credential, peer_of(self._transport))
            code = "" if right else "E_AUTH_FAILED"
        except Exception as error:
            code = explained(error).code
        self._opening = None
        if self.phase is not Phase.HANDSHAKE or self._transport.is_closing():
            return
        actions = self._handshake.authenticated(not code)
        if code:
            (refuse,) = actions
            assert isinstance(refuse, Refuse)
            self._server.warn_once(code, REFUSALS[code].text)
            self._linger(refuse.data, code)
        else:
            self._transport.resume_reading()
            self._act(actions)

    def _open(self, request: Connect) -> None:
        self._timer.cancel()
        self._target = request.target
        self._early = self._handshake.rest
        self._started = self._server.loop.time()
        if self._server.draining:
            self._linger(self._handshake.failed(REFUSALS["E_ADMISSION"]), "E_ADMISSION")
            return
        self.phase = Phase.OPENING
        self._server.stats.streams += 1
        self._opening = self._server.spawn(self, request)

    async def open_stream(self, request: Connect) -> None:
        """Body of the task that waits for the upstream. A crash ends this connection and no other."""
        server = self._server
        try:
            self._pass = await server.gate.enter(self._listening.name, peer_of(self._transport), request)
            if request.lookup is not None:
                await self._look_up(request, self._pass.caller)
                return
            if server.options.early_success:
                self._early_answer()
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
        try:
            self._relay(stream)
        except Exception as error:
            stream.abort()
            self.stream_failed(error)

    async def _look_up(self, request: Connect, caller: Caller) -> None:
        from nymgate.listener.lookup_io import look_up  # few ask, and what speaks DNS takes a while to load

        server, host = self._server, request.target.host
        assert request.lookup is not None
        found = await look_up(server.upstream, server.options.resolver, host, request.lookup, caller)
        self._opening = None
        if self.phase is Phase.OPENING:
            self._linger(self._handshake.succeeded(found), "ok")

    def _early_answer(self) -> None:
        self._answered = True
        self._transport.write(self._handshake.succeeded())

    def _relay(self, stream: Stream) -> None:
        self.phase = Phase.RELAYING
        self._stream = stream
        if not self._answered:
            self._transport.write(self._handshake.succeeded())
        early, self._early = self._early, b""
        if len(early) >= self._server.options.buffer_bytes:
            self._transport.resume_reading()
        stream.start(self)
        if early and self._stream is not None:
            self.up += len(early)
            stream.write(early)
        if self._app_ended and self._stream is not None:
            stream.write_eof()

    def _not_opened(self, error: Exception) -> None:
        refusal = explained(error)
        code = refusal.code
        log.info(
            "stream.refused",
            code=code,
            layer=refusal.layer,
            reason=str(error),
            seconds=self._seconds(),
            target=self._shown_target(),
        )
        if self._answered:
            self._finish(code, reset=True)
        else:
            self._linger(self._handshake.failed(refusal), code)

    def _handshake_expired(self) -> None:
        self._finish("E_HANDSHAKE_TIMEOUT", reset=False)

    # The far side, called by the upstream's stream.

    def stream_data(self, data: bytes) -> None:
        if not self._transport.is_closing():  # between a failed write and connection_lost
            if not self.down:
                self._server.stats.first_byte.add(self._server.loop.time() - self._started)
            self.down += len(data)
            self._transport.write(data)

    def stream_eof(self) -> None:
        self._far_ended = True
        with contextlib.suppress(OSError, RuntimeError):  # the application may be gone already
            self._transport.write_eof()
        self._close_if_over()

    def stream_ended(self) -> None:
        self._stream = None
        self._finish("ok", reset=False)

    def stream_failed(self, error: Exception) -> None:
        self._stream = None
        refusal = explained(error)
        code = refusal.code
        log.info(
            "stream.broken",
            code=code,
            layer=refusal.layer,
            reason=str(error),
            seconds=self._seconds(),
            up=self.up,
            down=self.down,
            target=self._shown_target(),
        )
        self._finish(code, reset=True)

    def stream_paused(self) -> None:
        if self.phase is Phase.RELAYING and not self._transport.is_closing():
            self._transport.pause_reading()

    def stream_resumed(self) -> None:
        if self.phase is Phase.RELAYING and not self._transport.is_closing():
            self._transport.resume_reading()

    # Ends.

    def _close_if_over(self) -> None:
        if self._app_ended and self._far_ended:
            self._finish("ok", reset=False)

    def _linger(self, last_words: bytes, code: str) -> None:
        """Say why, then read on a moment: closing over unread bytes resets, which can eat the answer."""
        self._ended(code)
        self.phase = Phase.LINGERING
        self._transport.write(last_words)
        if self._app_ended:
            self._transport.close()
            return
        with contextlib.suppress(OSError, RuntimeError):
            self._transport.write_eof()
        if not self._transport.is_closing():
            self._transport.resume_reading()
        self._timer.cancel()
        self._timer = self._server.loop.call_later(LINGER_SECONDS, self._transport.abort)

    def _finish(self, code: str, *, reset: bool) -> None:
        """End now: what is in the socket's buffer is still delivered, or with a reset it is not."""
        self._timer.cancel()
        if self.phase is Phase.GONE:
            return
        if self.phase is not Phase.LINGERING:
            self._ended(code)
        self.phase = Phase.GONE
        self._drop_stream()
        if reset:
            reset_connection(self._transport)
        else:
            self._transport.close()

    def _drop_stream(self) -> None:
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        stream, self._stream = self._stream, None
        if stream is None:
            return
        if self._app_ended:
            stream.close()  # what it sent before its end is still on the way
        else:
            stream.abort()

    def look(self) -> None:
        """End if the application said its last word a while ago, and is not there to hear an answer."""
        if self._app_ended and self.phase in (Phase.OPENING, Phase.RELAYING) and is_gone(self._transport):
            self._finish("E_APPLICATION_GONE", reset=True)

    def end(self, code: str) -> None:
        """End from outside (shutdown): open streams break off, the others just close."""
        self._finish(code, reset=self.phase in (Phase.OPENING, Phase.RELAYING))

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
        if self.phase in (Phase.OPENING, Phase.RELAYING):
            stats.streams -= 1
        self._leave()
        if self._target is not None and self._server.says_ends:
            log.debug(
                "stream.ended",
                code=code,
                seconds=self._seconds(),
                up=self.up,
                down=self.down,
                target=self._shown_target(),
            )

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

    def _seconds(self) -> float:
        return round(self._server.loop.time() - self._started, 3)

    def _shown_target(self) -> object:
        return destination(self._target.reveal()) if self._target is not None else None
