"""Plain HTTP forwarding: a sans-IO machine between an application and the destinations of its requests.

One h11 connection on either side; what one understood the other writes anew (``http_message``). The application's
connection is kept for as long as it likes, whatever destinations its requests have; the stream to a destination is
kept until a request wants another one, or is of another caller. A stream that ends just as a request is sent over it
again is replaced once, where the request is safe to repeat (RFC 9110 §9.2.2). CONNECT and Upgrade turn the connection
into a tunnel.

Events go in, commands come out, in the order they are to be done; :data:`TRANSITIONS` is the order of things::

    IDLE ──ASK──► OPENING ──OPENED──► EXCHANGE ──DONE──► IDLE
      └─────────────REUSE────────────────┘ └──RETRY──► OPENING
    OPENING, EXCHANGE ──SWITCH──► TUNNEL            any ──OVER──► OVER
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import h11

from nymgate.listener.credential import Credential
from nymgate.listener.handshake import Target
from nymgate.listener.http_message import (
    MAX_HEAD_BYTES,
    BadRequest,
    answer,
    response_headers,
    trailers,
    understand,
    upgrade_headers,
)
from nymgate.refusals import REFUSALS, Refusal

_SWITCHING: Final = 101
_SAFE: Final = frozenset((b"GET", b"HEAD", b"OPTIONS"))


@dataclass(frozen=True, slots=True)
class ToApplication:
    """Write these bytes to the application."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ToTarget:
    """Write these bytes to the open stream."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Open:
    """Open a stream; ``stream_opened`` or ``stream_refused`` follows."""

    target: Target
    credential: Credential | None = None
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CloseStream:
    """Be done with the open stream."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """From now on pass bytes as they are in both directions; this machine is not asked any more."""


@dataclass(frozen=True, slots=True)
class End:
    """Say this, end the connection. With ``reset`` break it off: what the application has is not whole."""

    code: str
    data: bytes = b""
    reset: bool = False


Command = ToApplication | ToTarget | Open | CloseStream | Tunnel | End


class Phase(Enum):
    """Where the connection stands."""

    IDLE = auto()
    OPENING = auto()
    EXCHANGE = auto()
    TUNNEL = auto()
    OVER = auto()


class Event(Enum):
    """What moves it."""

    ASK = auto()
    REUSE = auto()
    OPENED = auto()
    DONE = auto()
    RETRY = auto()
    SWITCH = auto()
    OVER = auto()


TRANSITIONS: Final[Mapping[tuple[Phase, Event], Phase]] = {
    (Phase.IDLE, Event.ASK): Phase.OPENING,
    (Phase.IDLE, Event.REUSE): Phase.EXCHANGE,
    (Phase.OPENING, Event.OPENED): Phase.EXCHANGE,
    (Phase.OPENING, Event.SWITCH): Phase.TUNNEL,
    (Phase.EXCHANGE, Event.DONE): Phase.IDLE,
    (Phase.EXCHANGE, Event.RETRY): Phase.OPENING,
    (Phase.EXCHANGE, Event.SWITCH): Phase.TUNNEL,
    (Phase.IDLE, Event.OVER): Phase.OVER,
    (Phase.OPENING, Event.OVER): Phase.OVER,
    (Phase.EXCHANGE, Event.OVER): Phase.OVER,
}


class HttpForward:
    """The machine of one application's connection."""

    def __init__(self) -> None:
        self.phase = Phase.IDLE
        self._near = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._far: h11.Connection | None = None
        self._way: Open | None = None
        """Where the open stream leads, and for whom: another caller's request gets a stream of its own."""
        self._request: h11.Request | None = None
        """What is asked there now; None for a tunnel."""
        self._method = b""
        self._request_over = False
        self._answered = False
        """The destination has said something to this request."""
        self._reused = False
        self._commands: list[Command] = []

    @property
    def hungry(self) -> bool:
        """Whether bytes of the application are used at once, and not merely kept."""
        return self.phase is Phase.IDLE or (self.phase is Phase.EXCHANGE and not self._request_over)

    @property
    def partial(self) -> bool:
        """Whether the head of a request has begun to arrive."""
        return self.phase is Phase.IDLE and bool(self._near.trailing_data[0])

    # ---- what happens ---------------------------------------------------------------------------------------

    def application_data(self, data: bytes) -> list[Command]:
        """The application sent this."""
        if self.phase is not Phase.OVER:
            self._near.receive_data(data)
            self._take_requests()
        return self._take_commands()

    def application_eof(self) -> list[Command]:
        """The application sends nothing more. It may still wait for an answer."""
        if self.phase is not Phase.OVER:
            self._near.receive_data(b"")
            self._take_requests()
        return self._take_commands()

    def stream_opened(self) -> list[Command]:
        """The stream that was asked for is up."""
        if self._request is None:
            established = h11.Response(status_code=200, headers=[], reason=b"Connection established")
            self._to_application(established)
            self._tunnel(b"")
        else:
            self._move(Event.OPENED)
            self._far = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
            self._send_request(self._request)
            self._take_requests()
        return self._take_commands()

    def stream_refused(self, refusal: Refusal) -> list[Command]:
        """The stream that was asked for cannot be had."""
        self._refuse(refusal)
        return self._take_commands()

    def stream_data(self, data: bytes) -> list[Command]:
        """The destination sent this."""
        far = self._far
        if self.phase is Phase.EXCHANGE and far is not None:
            self._answered = True
            far.receive_data(data)
            self._take_responses(far)
        else:
            self._drop_stream()  # bytes that nobody asked for: what follows could be taken for an answer
        return self._take_commands()

    def stream_eof(self) -> list[Command]:
        """The destination sends nothing more."""
        far = self._far
        if self.phase is not Phase.EXCHANGE or far is None:
            self._drop_stream()
        elif not self._retried():
            far.receive_data(b"")
            self._take_responses(far, ended=True)
        return self._take_commands()

    def stream_failed(self, refusal: Refusal) -> list[Command]:
        """The stream broke off; it is gone."""
        self._far = None
        if self.phase is not Phase.EXCHANGE:
            return self._take_commands()
        if not self._retried():
            self._broken(refusal)
        return self._take_commands()

    # ---- from the application -------------------------------------------------------------------------------

    def _take_requests(self) -> None:
        while self.phase in (Phase.IDLE, Phase.EXCHANGE):
            try:
                event = self._near.next_event()
            except h11.RemoteProtocolError as error:
                self._bad_request(error.error_status_hint)
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._ask(event)
            elif isinstance(event, h11.Data):
                self._to_target(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._request_over = True
                self._to_target(h11.EndOfMessage(headers=trailers(event)))
            elif isinstance(event, h11.ConnectionClosed):
                if self.phase is Phase.IDLE:
                    self._over(End("ok"))
                return

    def _ask(self, request: h11.Request) -> None:
        self._method = request.method
        try:
            asked = understand(request)
        except BadRequest as error:
            self._refuse(REFUSALS[error.code])
            return
        self._request_over = self._answered = False
        self._request = asked.request
        way = Open(asked.target, asked.credential, asked.token)
        if asked.request is None:
            self._near.next_event()  # the end of a request without body: h11 wants it read before it switches
        elif self._far is not None and self._way == way:
            self._reused = True
            self._move(Event.REUSE)
            self._send_request(asked.request)
            return
        self._drop_stream()
        self._way, self._reused = way, False
        self._move(Event.ASK)
        self._commands.append(way)

    def _send_request(self, request: h11.Request) -> None:
        self._to_target(request)
        if self._request_over:  # sent before, over a stream that was gone
            self._to_target(h11.EndOfMessage())

    def _bad_request(self, hint: int) -> None:
        if self._near.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self._over(End("E_HTTP_SYNTAX", reset=True))
        else:
            code = {431: "E_HTTP_TOO_LARGE", 501: "E_HTTP_CODING"}.get(hint, "E_HTTP_SYNTAX")
            self._refuse(REFUSALS[code])

    # ---- from the destination -------------------------------------------------------------------------------

    def _take_responses(self, far: h11.Connection, *, ended: bool = False) -> None:
        while self.phase is Phase.EXCHANGE:
            try:
                event = far.next_event()
            except h11.RemoteProtocolError:
                self._broken(REFUSALS["E_TARGET_CLOSED" if ended else "E_TARGET_HTTP"])
                return
            if isinstance(event, h11.InformationalResponse):
                self._informed(event, far)
            elif isinstance(event, h11.Response):
                headers = response_headers(event)
                self._to_application(
                    h11.Response(status_code=event.status_code, headers=headers, reason=event.reason)
                )
            elif isinstance(event, h11.Data):
                self._to_application(h11.Data(data=event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._to_application(h11.EndOfMessage(headers=self._trailers(event)))
                self._exchanged(far)
            else:  # NEED_DATA, PAUSED; ConnectionClosed comes after the end of an answer only
                return

    def _trailers(self, event: h11.EndOfMessage) -> list[tuple[bytes, bytes]]:
        """None for applications of HTTP/1.0, and none after HEAD: their answers are not chunked."""
        version = self._near.their_http_version
        if not event.headers or self._method == b"HEAD" or version is None or version < b"1.1":
            return []
        return trailers(event)

    def _informed(self, event: h11.InformationalResponse, far: h11.Connection) -> None:
        if event.status_code == _SWITCHING:
            self._to_application(
                h11.InformationalResponse(
                    status_code=_SWITCHING, headers=upgrade_headers(event), reason=event.reason
                )
            )
            self._tunnel(far.trailing_data[0])
        elif (self._near.their_http_version or b"") >= b"1.1":
            headers = response_headers(event)
            self._to_application(
                h11.InformationalResponse(status_code=event.status_code, headers=headers, reason=event.reason)
            )

    def _exchanged(self, far: h11.Connection) -> None:
        """An answer is complete. Whatever can be used again is."""
        near = self._near
        if far.our_state is h11.DONE and far.their_state is h11.DONE:
            if far.trailing_data[0]:
                self._drop_stream()
            else:
                far.start_next_cycle()
        else:
            self._drop_stream()
        if near.our_state is h11.DONE and near.their_state is h11.DONE:
            near.start_next_cycle()
            self._method = b""
            self._move(Event.DONE)
            self._take_requests()
        else:  # asked for, HTTP/1.0, or an answer before the request was over
            self._over(End("ok"))

    # ---- ends -----------------------------------------------------------------------------------------------

    def _tunnel(self, from_target: bytes) -> None:
        from_application = self._near.trailing_data[0]
        self._move(Event.SWITCH)
        self._commands.append(Tunnel())
        if from_target:
            self._commands.append(ToApplication(from_target))
        if from_application:
            self._commands.append(ToTarget(from_application))

    def _retried(self) -> bool:
        """Whether the request goes out again: the kept stream was gone before it could be heard."""
        if not self._reused or self._answered or self._method not in _SAFE:
            return False
        if self._request is None or self._way is None or not self._request_over:
            return False
        if any(name in (b"content-length", b"transfer-encoding") for name, _ in self._request.headers):
            return False  # the body is gone
        self._reused = False
        self._drop_stream()
        self._move(Event.RETRY)
        self._commands.append(self._way)
        return True

    def _broken(self, refusal: Refusal) -> None:
        """No whole answer will come."""
        if self._near.our_state is h11.SEND_RESPONSE:
            self._refuse(refusal)
        else:
            self._over(End(refusal.code, reset=True))

    def _refuse(self, refusal: Refusal) -> None:
        self._over(End(refusal.code, answer(refusal, with_body=self._method != b"HEAD")))

    def _over(self, end: End) -> None:
        self._drop_stream()
        self._move(Event.OVER)
        self._commands.append(end)

    def _drop_stream(self) -> None:
        if self._far is not None:
            self._far = None
            self._commands.append(CloseStream())

    # ---- bytes ----------------------------------------------------------------------------------------------

    def _to_target(self, event: h11.Request | h11.Data | h11.EndOfMessage) -> None:
        assert self._far is not None
        if data := self._far.send(event):
            self._commands.append(ToTarget(data))

    def _to_application(
        self, event: h11.InformationalResponse | h11.Response | h11.Data | h11.EndOfMessage
    ) -> None:
        if data := self._near.send(event):
            self._commands.append(ToApplication(data))

    def _take_commands(self) -> list[Command]:
        commands, self._commands = self._commands, []
        return commands

    def _move(self, event: Event) -> None:
        self.phase = TRANSITIONS[self.phase, event]
