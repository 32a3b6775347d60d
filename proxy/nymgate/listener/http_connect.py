"""HTTP CONNECT as an application speaks it to us (RFC 9110 §9.3.6): a sans-IO machine and its state table.

It reads the first words of a connection. CONNECT becomes a stream; everything else is handed to ``http_forward``,
which speaks HTTP for as long as the connection lasts. The head of a CONNECT holds nothing that this proxy needs but
its first line and who asks, so it is checked with one expression instead of h11's events, at a tenth of the time
(``docs/explanation/performance.md`` §2); a test holds that h11 takes whatever is taken here.
"""

import re
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from nymgate.listener.credential import Credential, of_authorization, of_isolation
from nymgate.listener.handshake import Action, Connect, Forward, Refuse
from nymgate.listener.http_message import MAX_HEAD_BYTES, BadRequest, answer, split_authority
from nymgate.refusals import REFUSALS, Refusal

_CONNECT: Final = b"CONNECT "
_SUCCESS: Final = b"HTTP/1.1 200 Connection established\r\n\r\n"
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE: Final = rb"[ \t\x21-\x7e\x80-\xff]*"
_FIRST: Final = re.compile(rb"CONNECT ([\x21-\x7e]+) HTTP/1\.[01]\r\n")
_FIELDS: Final = re.compile(rb"(?:" + _TOKEN + rb":" + _VALUE + rb"\r\n)*\r\n")
# A CONNECT has no body; one that says it has would have two readers disagree on where the tunnel begins.
_BODY: Final = re.compile(
    rb"^(?:transfer-encoding:|content-length:(?![ \t]*0+[ \t]*\r))", re.IGNORECASE | re.MULTILINE
)
_OURS: Final = re.compile(
    rb"^(proxy-authorization|(?:x-)?tor-stream-isolation):[ \t]*(.*?)[ \t]*\r$", re.IGNORECASE | re.MULTILINE
)
# Most heads have none of the headers that are looked at below, which one look shows.
_TELLING: Final = re.compile(
    rb"^[tcpx](?:ransfer-encoding|ontent-length|roxy-authorization|-tor-stream|or-stream)",
    re.IGNORECASE | re.MULTILINE,
)
_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


class State(Enum):
    """How far a connection has come."""

    HEAD = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    FORWARDING = auto()
    REFUSED = auto()


class Event(Enum):
    """What the bytes, or the upstream, brought."""

    CONNECT = auto()
    OTHER_METHOD = auto()
    BAD_REQUEST = auto()
    SUCCEEDED = auto()
    FAILED = auto()


TRANSITIONS: Final[Mapping[tuple[State, Event], State]] = {
    (State.HEAD, Event.CONNECT): State.CONNECTING,
    (State.HEAD, Event.OTHER_METHOD): State.FORWARDING,
    (State.HEAD, Event.BAD_REQUEST): State.REFUSED,
    (State.CONNECTING, Event.SUCCEEDED): State.CONNECTED,
    (State.CONNECTING, Event.FAILED): State.REFUSED,
}


def refuse(code: str) -> Refuse:
    """A refusal of the table as HTTP says it."""
    refusal = REFUSALS[code]
    return Refuse(answer(refusal), code, refusal.text)


class HttpHandshake:
    """The machine of one connection; see ``handshake.Handshake`` for the contract."""

    __slots__ = ("_buffer", "rest", "state")

    def __init__(self) -> None:
        self.state = State.HEAD
        self.rest = b""
        self._buffer = b""

    def feed(self, data: bytes) -> list[Action]:
        """Take bytes, in pieces of any size."""
        if self.state is not State.HEAD:
            return []
        searched = max(0, len(self._buffer) - 3)
        self._buffer = self._buffer + data if self._buffer else data
        if not self._buffer.startswith(_CONNECT):
            if _CONNECT.startswith(self._buffer):
                return []
            return self._done(Event.OTHER_METHOD, Forward(self._buffer))
        end = self._buffer.find(b"\r\n\r\n", searched)
        if end >= 0 and end + 4 <= MAX_HEAD_BYTES:
            return self._head(end + 4)
        if _BARE_LF.search(
            self._buffer, searched, end if end >= 0 else len(self._buffer)
        ):  # such a head may never end
            return self._done(Event.BAD_REQUEST, refuse("E_HTTP_SYNTAX"))
        if len(self._buffer) > MAX_HEAD_BYTES:
            return self._done(Event.BAD_REQUEST, refuse("E_HTTP_TOO_LARGE"))
        return []

    def _head(self, end: int) -> list[Action]:
        first = _FIRST.match(self._buffer, 0, end)
        if first is None or not _FIELDS.fullmatch(self._buffer, first.end(), end):
            return self._done(Event.BAD_REQUEST, refuse("E_HTTP_SYNTAX"))
        telling = _TELLING.search(self._buffer, first.end(), end) is not None
        if telling and _BODY.search(self._buffer, first.end(), end):
            return self._done(Event.BAD_REQUEST, refuse("E_HTTP_FRAMING"))
        try:
            target = split_authority(first[1], None)
        except BadRequest as error:
            return self._done(Event.BAD_REQUEST, refuse(error.code))
        self.rest = self._buffer[end:]
        credential, token = _caller(self._buffer, first.end(), end) if telling else (None, None)
        return self._done(Event.CONNECT, Connect(target, credential, token))

    def _done(self, event: Event, action: Action) -> list[Action]:
        self._buffer = b""
        self._move(event)
        return [action]

    def authenticated(self, ok: bool) -> list[Action]:
        """Never asked: who asks is said with the request."""
        raise AssertionError("nobody was to be checked")

    def succeeded(self, found: str | None = None) -> bytes:
        """The answer that starts the stream."""
        self._move(Event.SUCCEEDED)
        return _SUCCESS

    def failed(self, refusal: Refusal) -> bytes:
        """The answer that says why there is no stream."""
        self._move(Event.FAILED)
        return answer(refusal)

    def _move(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]


def _caller(head: bytes, start: int, end: int) -> tuple[Credential | None, str | None]:
    """Who asks, by the two headers that say so."""
    found = _OURS.findall(head, start, end)
    if not found:
        return None, None
    authorization = [value for name, value in found if name[:1] in b"Pp"]
    return of_authorization(authorization), of_isolation(
        [value for name, value in found if name[:1] not in b"Pp"]
    )
