"""One session with a gateway as the client sees it, without I/O (docs/protocol/03 §2, §5, §6, §11).

Frames go in with `receive_text` and `receive_binary`, events come out; texts to send wait in
`data_to_send()`. The owner handles the events of a call *before* it sends: the timestamp of an
authentication must be on disk before it is used, because the gateway accepts each only once.

There are no request ids. Answers come in the order of the requests and each forwarded packet has exactly
one, so counting tells which request a bare `error` belongs to; pushed frames may come at any point.
"""

from __future__ import annotations

import random
from enum import StrEnum

from nym_mixnet.errors import (
    DuplicateSession,
    GatewayError,
    GatewayProtocolError,
    GatewayRefused,
    HandshakeFailed,
    IncompatibleVersion,
    MalformedGatewayMessage,
    NotRegistered,
    printable,
)
from nym_mixnet.gateway_events import (
    AuthenticationStarted,
    BandwidthChanged,
    ClaimAnswered,
    Closed,
    Event,
    Garbage,
    OutOfBandwidthEvent,
    PushedAck,
    PushedMessage,
    Ready,
    Refused,
    Registered,
    SensitiveAnswered,
)
from nym_mixnet.gateway_wire import (
    CURRENT_PROTOCOL,
    MAX_TIMESTAMP_SKEW_SECONDS,
    NONCE_BYTES,
    OLDEST_PROTOCOL,
    TEXT_ALREADY_SPENT,
    TEXT_DUPLICATE,
    TEXT_INCOMPATIBLE,
    TEXT_MALFORMED_BINARY,
    TEXT_NOT_REGISTERED,
    TEXT_STALE,
    TEXT_TICKETS_ONLY,
    TEXT_WRONG_KEY,
    AuthenticateRequest,
    AuthenticateResponse,
    BandwidthResponse,
    ClaimFreeBandwidth,
    EncryptedResponse,
    ErrorResponse,
    OutOfBandwidthResponse,
    RegisterResponse,
    Response,
    SendResponse,
    SensitiveRequest,
    SessionKey,
    SupportedProtocolRequest,
    SupportedProtocolResponse,
    TicketReplayResponse,
    UpgradeModeJwt,
    is_ack,
    open_pushed,
    open_response,
    parse_response,
    seal_credential,
    seal_forward,
    seal_request,
)
from nym_mixnet.handshake import ClientHandshake, HandshakeState
from nym_mixnet.keys import ClientKeys
from nym_mixnet.tickets import TicketOutcome
from nym_sphinx.mix_packet import MixPacket


class SessionState(StrEnum):
    FRESH = "fresh"
    NEGOTIATING = "negotiating"
    REGISTERING = "registering"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    CLOSED = "closed"


class Trigger(StrEnum):
    """What moves a session from one state to the next."""

    START = "start"
    VERSION_AND_NO_KEY = "version known, no shared key"
    VERSION_AND_KEY = "version known, shared key at hand"
    REGISTERED = "registered"
    AUTHENTICATED = "authenticated"
    FAILED = "failed"


TRANSITIONS: dict[tuple[SessionState, Trigger], SessionState] = {
    (SessionState.FRESH, Trigger.START): SessionState.NEGOTIATING,
    (SessionState.NEGOTIATING, Trigger.VERSION_AND_NO_KEY): SessionState.REGISTERING,
    (SessionState.NEGOTIATING, Trigger.VERSION_AND_KEY): SessionState.AUTHENTICATING,
    (SessionState.REGISTERING, Trigger.REGISTERED): SessionState.READY,
    (SessionState.AUTHENTICATING, Trigger.AUTHENTICATED): SessionState.READY,
    **{(state, Trigger.FAILED): SessionState.CLOSED for state in SessionState},
}


# Refusals of a ticket that leave it unspent: steps 1-4 and 6-8 of docs/protocol/03 §9.4.
_TICKET_UNSPENT_TEXTS = (
    TEXT_MALFORMED_BINARY,
    "provided unknown ticketbook type",
    "contained more than a single ticket",
    "invalid spending date",
    "the DKG threshold value",
    "key share hasn't been verified",
    "payinfo",
    "provided ticket failed to get verified",
    "failed to verify provided ticket",
    TEXT_TICKETS_ONLY,
)
_CLAIM_TEXTS = (
    TEXT_ALREADY_SPENT,
    *(text for text in _TICKET_UNSPENT_TEXTS if text != TEXT_MALFORMED_BINARY),
)


def next_timestamp(now_unix: int, last: int | None) -> int:
    """The timestamp for the next authentication: above every one used before (docs/protocol/03 §5).

    A last one so far ahead that the gateway cannot have accepted it (our clock was wrong then) is passed
    over.
    """
    if last is None or last > now_unix + MAX_TIMESTAMP_SKEW_SECONDS:
        return now_unix
    return max(now_unix, last + 1)


def classify_refusal(text: str) -> GatewayError:
    """The error for a text with which a gateway ends a session before it began (docs/protocol/03 §8)."""
    if TEXT_NOT_REGISTERED in text or TEXT_WRONG_KEY in text:
        return NotRegistered(text)
    if TEXT_DUPLICATE in text or TEXT_STALE in text:
        return DuplicateSession(text)
    if TEXT_INCOMPATIBLE in text:
        return IncompatibleVersion(f"the gateway refused our protocol version: {printable(text)}")
    return GatewayRefused(text)


def ticket_outcome(text: str) -> TicketOutcome:
    """What became of a ticket that was answered with this text. Unknown texts count as spent."""
    if TEXT_ALREADY_SPENT in text:
        return TicketOutcome.SPENT
    if any(known in text for known in _TICKET_UNSPENT_TEXTS):
        return TicketOutcome.REFUSED_UNSPENT
    return TicketOutcome.UNKNOWN


class GatewaySession:
    """The state machine. `session_key` is None for a client that has to register."""

    def __init__(
        self,
        *,
        keys: ClientKeys,
        gateway_identity: bytes,
        session_key: SessionKey | None,
        last_timestamp: int | None,
        rng: random.Random,
    ) -> None:
        self.state = SessionState.FRESH
        self.protocol_version = CURRENT_PROTOCOL
        self._keys = keys
        self._gateway_identity = gateway_identity
        self._key = session_key
        self._last_timestamp = last_timestamp
        self._rng = rng
        self._outbox: list[str] = []
        self._handshake: ClientHandshake | None = None
        self._packets_sealed = 0
        self._packets_answered = 0
        self._claim_after_packets: int | None = None

    # ---- what the client does ----------------------------------------------------------------------------

    def start(self) -> None:
        """The connection is open: ask for the protocol version."""
        self._move(Trigger.START)
        self._outbox.append(SupportedProtocolRequest().encode())

    def data_to_send(self) -> list[str]:
        """Text frames to send now, in order; each is handed out once."""
        texts, self._outbox = self._outbox, []
        return texts

    def seal(self, packet: MixPacket) -> bytes:
        """The binary frame that forwards `packet`. Only when READY."""
        assert self._key is not None
        self._packets_sealed += 1
        nonce = self._rng.randbytes(NONCE_BYTES)
        return seal_forward(packet, self._key, nonce, protocol_version=self.protocol_version)

    @property
    def unanswered_packets(self) -> int:
        """Packets that were sealed and that the gateway has not answered; it answers each."""
        return max(0, self._packets_sealed - self._packets_answered)

    @property
    def claiming(self) -> bool:
        """A claim was handed out for sending and is not answered yet."""
        return self._claim_after_packets is not None

    def claim_free(self) -> None:
        """Ask for the free allowance; `ClaimAnswered` follows."""
        self._begin_claim()
        self._outbox.append(ClaimFreeBandwidth().encode())

    def claim_ticket(self, credential: bytes) -> None:
        """Pay with an encoded credential; `ClaimAnswered` follows."""
        assert self._key is not None
        self._begin_claim()
        sealed = seal_credential(credential, self._key, self._rng.randbytes(NONCE_BYTES))
        self._outbox.append(sealed.encode())

    def request(self, request: SensitiveRequest) -> None:
        """Send an encrypted request; `SensitiveAnswered` follows."""
        assert self._key is not None
        self._outbox.append(seal_request(request, self._key, self._rng.randbytes(NONCE_BYTES)).encode())

    def announce_upgrade(self, token: str) -> None:
        """Tell the gateway of a network upgrade; `BandwidthChanged` or `Refused` follows."""
        self._outbox.append(UpgradeModeJwt(token).encode())

    def silent_too_long(self) -> GatewayError:
        """The gateway did not answer in time while the session was being set up: it is over."""
        if self._handshake is not None and self._handshake.state is not HandshakeState.DONE:
            failure = self._handshake.timed_out()
            if failure.reply is not None:
                self._outbox.append(failure.reply)
        waiting_for = self.state
        self._move(Trigger.FAILED)
        return GatewayProtocolError(f"the gateway gave no answer while {waiting_for}")

    # ---- what arrives ------------------------------------------------------------------------------------

    def receive_binary(self, frame: bytes) -> PushedMessage | PushedAck | Garbage:
        """A pushed frame: allowed in every state that has a key, also before the answer to a request."""
        if self._key is None:
            return Garbage("unexpected", "a binary frame before there is a key")
        try:
            payload = open_pushed(frame, self._key)
        except MalformedGatewayMessage as error:
            undecryptable = len(frame) > 2 and frame[1] == 1 and error.detail.startswith("failed")
            return Garbage("undecryptable" if undecryptable else "binary", error.detail)
        return PushedAck(payload) if is_ack(payload) else PushedMessage(payload)

    def receive_text(self, text: str, now_unix: int) -> list[Event]:
        """A text frame. `now_unix`: seconds, for the timestamp of an authentication."""
        if self.state in (SessionState.CLOSED, SessionState.FRESH):
            return []  # a gateway repeats its last error before it hangs up
        if self._handshake is not None and self._handshake.state is not HandshakeState.DONE:
            try:
                return self._handshake_step(self._handshake, text)
            except MalformedGatewayMessage:
                pass  # no handshake message: perhaps a refusal
        try:
            response = parse_response(text)
        except MalformedGatewayMessage as error:
            return [Garbage("text", error.detail)]
        if self.state is SessionState.READY:
            return [self._while_ready(response)]
        if isinstance(response, SendResponse | OutOfBandwidthResponse):
            return [Garbage("unexpected", "an answer to a packet that was never sent")]
        if isinstance(response, ErrorResponse):
            return [self._fail(classify_refusal(response.message))]
        if self.state is SessionState.NEGOTIATING:
            return self._negotiated(response, now_unix)
        if self.state is SessionState.REGISTERING:
            return self._registered(response)
        return self._authenticated(response)

    def _move(self, trigger: Trigger) -> None:
        self.state = TRANSITIONS[self.state, trigger]

    def _fail(self, error: GatewayError) -> Closed:
        self._move(Trigger.FAILED)
        return Closed(error)

    def _negotiated(self, response: Response, now_unix: int) -> list[Event]:
        if not isinstance(response, SupportedProtocolResponse):
            return [self._fail(GatewayProtocolError("the gateway did not say which protocol it speaks"))]
        if response.version < OLDEST_PROTOCOL:
            return [
                self._fail(
                    IncompatibleVersion(
                        f"the gateway speaks protocol {response.version} at most, this client needs at least "
                        f"{OLDEST_PROTOCOL}: choose another gateway"
                    )
                )
            ]
        self.protocol_version = min(response.version, CURRENT_PROTOCOL)
        if self._key is None:
            self._move(Trigger.VERSION_AND_NO_KEY)
            self._handshake = ClientHandshake.new(
                self._keys.signing_key, self._gateway_identity, self.protocol_version, self._rng
            )
            self._outbox.append(self._handshake.start())
            return []
        self._move(Trigger.VERSION_AND_KEY)
        timestamp = next_timestamp(now_unix, self._last_timestamp)
        request = AuthenticateRequest.create(
            self._keys,
            self._key,
            protocol_version=self.protocol_version,
            nonce=self._rng.randbytes(NONCE_BYTES),
            timestamp=timestamp,
        )
        self._outbox.append(request.encode())
        return [AuthenticationStarted(timestamp)]

    def _handshake_step(self, handshake: ClientHandshake, text: str) -> list[Event]:
        try:
            self._outbox += handshake.receive(text)
        except HandshakeFailed as failure:
            if failure.reply is not None:
                self._outbox.append(failure.reply)
            return [self._fail(failure)]
        if handshake.state is not HandshakeState.DONE:
            return []
        # Stored messages arrive before `register` does, sealed with the new key (§7.4).
        self._key = handshake.session_key
        self.protocol_version = handshake.negotiated_version
        return [Registered(self._key)]

    def _registered(self, response: Response) -> list[Event]:
        if not isinstance(response, RegisterResponse):
            return [Garbage("unexpected", f"a {type(response).__name__} while registering")]
        if self._key is None or not response.status:
            return [self._fail(GatewayRefused("registration without success"))]
        self._move(Trigger.REGISTERED)
        return [Ready(None, response.upgrade_mode, self.protocol_version)]

    def _authenticated(self, response: Response) -> list[Event]:
        if not isinstance(response, AuthenticateResponse):
            return [Garbage("unexpected", f"a {type(response).__name__} while authenticating")]
        if not response.status:
            return [self._fail(GatewayRefused("authentication without success"))]
        if response.protocol_version > CURRENT_PROTOCOL:
            return [
                self._fail(
                    IncompatibleVersion(
                        f"the gateway switched to protocol {response.protocol_version}, this client speaks "
                        f"{CURRENT_PROTOCOL} at most: update this program"
                    )
                )
            ]
        self.protocol_version = response.protocol_version
        self._move(Trigger.AUTHENTICATED)
        return [Ready(response.bandwidth_remaining, response.upgrade_mode, self.protocol_version)]

    # ---- the running session -----------------------------------------------------------------------------

    def _begin_claim(self) -> None:
        assert self.state is SessionState.READY
        assert not self.claiming
        self._claim_after_packets = self._packets_sealed

    def _end_claim(self) -> None:
        # the answer to the claim is also the proof that all packets before it were dealt with
        if self._claim_after_packets is not None:
            self._packets_answered = max(self._packets_answered, self._claim_after_packets)
            self._claim_after_packets = None

    def _while_ready(self, response: Response) -> Event:
        match response:
            case SendResponse(remaining, upgrade_mode):
                self._packets_answered += 1
                return BandwidthChanged(remaining, upgrade_mode)
            case OutOfBandwidthResponse(required, available):
                self._packets_answered += 1
                return OutOfBandwidthEvent(required, available)
            case BandwidthResponse(total, upgrade_mode):
                if not self.claiming:
                    return BandwidthChanged(total, upgrade_mode)
                self._end_claim()
                return ClaimAnswered(TicketOutcome.ACCEPTED, total, upgrade_mode)
            case TicketReplayResponse():
                if not self.claiming:
                    return Garbage("unexpected", "an answer to a claim that was never made")
                self._end_claim()
                return ClaimAnswered(TicketOutcome.SPENT, reason="ticket replay")
            case ErrorResponse(message):
                return self._refused(message)
            case EncryptedResponse():
                return self._sensitive(response)
            case _:
                return Garbage("unexpected", f"a {type(response).__name__} in a running session")

    def _refused(self, message: str) -> ClaimAnswered | Refused:
        if self._answers_claim(message):
            self._end_claim()
            return ClaimAnswered(ticket_outcome(message), reason=printable(message))
        self._packets_answered += 1
        return Refused(printable(message))

    def _answers_claim(self, message: str) -> bool:
        if self._claim_after_packets is None:
            return False
        if any(text in message for text in _CLAIM_TEXTS):
            return True
        return self._packets_answered >= self._claim_after_packets

    def _sensitive(self, response: EncryptedResponse) -> SensitiveAnswered | Garbage:
        assert self._key is not None
        try:
            return SensitiveAnswered(open_response(response, self._key))
        except MalformedGatewayMessage as error:
            return Garbage("undecryptable", error.detail)
