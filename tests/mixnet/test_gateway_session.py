"""The client's session machine, without a socket."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet.errors import (
    DuplicateSession,
    GatewayError,
    GatewayProtocolError,
    GatewayRefused,
    HandshakeFailed,
    IncompatibleVersion,
    NotRegistered,
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
from nym_mixnet.gateway_session import (
    TRANSITIONS,
    GatewaySession,
    SessionState,
    Trigger,
    classify_refusal,
    next_timestamp,
    ticket_outcome,
)
from nym_mixnet.gateway_wire import (
    AuthenticateRequest,
    AuthenticateResponse,
    BandwidthResponse,
    ClaimFreeBandwidth,
    EcashCredential,
    EncryptedRequest,
    EncryptedResponse,
    ErrorResponse,
    ForgetMe,
    ForgetMeAck,
    HandshakeError,
    HandshakePayload,
    OutOfBandwidthResponse,
    RegisterRequest,
    RegisterResponse,
    Request,
    SendResponse,
    SessionKey,
    SupportedProtocolRequest,
    SupportedProtocolResponse,
    TicketReplayResponse,
    UpgradeModeJwt,
    open_credential,
    open_forward,
    open_request,
    parse_request,
    seal_pushed,
    seal_response,
)
from nym_mixnet.handshake import GatewayHandshake
from nym_mixnet.keys import ClientKeys, SigningKey
from nym_mixnet.tickets import TicketOutcome
from nym_sphinx.addressing import NodeAddress
from nym_sphinx.mix_packet import MixPacket
from nym_sphinx.sizes import KeyRotation

NOW = 1_767_225_600
KEY = SessionKey(bytes(range(32)))
GATEWAY = SigningKey(b"g" * 32)
KEYS = ClientKeys.generate(random.Random(2))
PACKET = MixPacket(NodeAddress.parse("127.0.0.1:1789"), bytes(386), KeyRotation.EVEN)
NONCE = bytes(12)


def fresh(key: SessionKey | None = KEY, last: int | None = None) -> GatewaySession:
    return GatewaySession(
        keys=KEYS,
        gateway_identity=GATEWAY.public,
        session_key=key,
        last_timestamp=last,
        rng=random.Random(1),
    )


def sent(session: GatewaySession) -> list[Request]:
    return [parse_request(text) for text in session.data_to_send()]


def negotiating(key: SessionKey | None = KEY, last: int | None = None) -> GatewaySession:
    session = fresh(key, last)
    session.start()
    assert sent(session) == [SupportedProtocolRequest()]
    return session


def authenticating(version: int = 6) -> GatewaySession:
    session = negotiating()
    assert receive(session, SupportedProtocolResponse(version).encode()) == [AuthenticationStarted(NOW)]
    return session


def ready(remaining: int = 10**9) -> GatewaySession:
    session = authenticating()
    session.data_to_send()
    answer = AuthenticateResponse(6, True, remaining)
    assert receive(session, answer.encode()) == [Ready(remaining, False, 6)]
    return session


def receive(session: GatewaySession, text: str) -> list[Event]:
    return session.receive_text(text, NOW)


def closed(events: list[Event]) -> GatewayError:
    (event,) = events
    assert isinstance(event, Closed)
    return event.error


# ---- the table ------------------------------------------------------------------------------------------


def test_the_table_is_complete_for_failures_and_has_no_way_out_of_closed() -> None:
    assert {state for state, trigger in TRANSITIONS if trigger is Trigger.FAILED} == set(SessionState)
    for (state, _), target in TRANSITIONS.items():
        assert state is not SessionState.CLOSED or target is SessionState.CLOSED
    assert set(TRANSITIONS.values()) == set(SessionState) - {SessionState.FRESH}


def test_every_other_pair_is_impossible() -> None:
    session = fresh()
    with pytest.raises(KeyError):
        session._move(Trigger.REGISTERED)


# ---- setting up -----------------------------------------------------------------------------------------


def test_authentication() -> None:
    session = authenticating()
    (request,) = sent(session)
    assert isinstance(request, AuthenticateRequest)
    assert request.timestamp == NOW
    assert request.signature_is_valid()
    assert request.proves(KEY)
    assert session.state is SessionState.AUTHENTICATING
    assert receive(session, AuthenticateResponse(6, True, -5, True).encode()) == [Ready(-5, True, 6)]
    assert session.state is SessionState.READY


def test_registration_with_messages_before_its_end() -> None:
    session = negotiating(key=None)
    assert receive(session, SupportedProtocolResponse(5).encode()) == []
    assert session.state is SessionState.REGISTERING
    handshake = GatewayHandshake.new(GATEWAY, random.Random(3))
    (request,) = sent(session)
    assert isinstance(request, RegisterRequest)
    assert isinstance(session.receive_binary(bytes(50)), Garbage)
    assert receive(session, handshake.begin(request)) == []
    (third,) = session.data_to_send()
    assert receive(session, handshake.receive(third)) == [Registered(handshake.session_key)]
    pushed = seal_pushed(b"m" * 100, handshake.session_key, NONCE)
    assert session.receive_binary(pushed) == PushedMessage(b"m" * 100)
    assert receive(session, RegisterResponse(5, True).encode()) == [Ready(None, False, 5)]
    assert session.protocol_version == 5
    assert session.state is SessionState.READY


def test_pushed_frames_before_the_answer_and_acks_by_length() -> None:
    session = authenticating()
    assert session.receive_binary(seal_pushed(bytes(48), KEY, NONCE)) == PushedAck(bytes(48))
    assert session.receive_binary(seal_pushed(bytes(49), KEY, NONCE)) == PushedMessage(bytes(49))


@pytest.mark.parametrize(("offered", "used"), [(4, 4), (5, 5), (6, 6), (7, 6), (255, 6)])
def test_the_version_is_the_highest_common_one(offered: int, used: int) -> None:
    session = authenticating(offered)
    (request,) = sent(session)
    assert isinstance(request, AuthenticateRequest)
    assert request.protocol_version == used


@pytest.mark.parametrize("offered", [0, 1, 2, 3])
def test_gateways_older_than_the_oldest(offered: int) -> None:
    session = negotiating()
    assert isinstance(
        closed(receive(session, SupportedProtocolResponse(offered).encode())), IncompatibleVersion
    )
    assert session.state is SessionState.CLOSED


def test_a_gateway_that_switches_to_a_newer_version() -> None:
    error = closed(receive(authenticating(), AuthenticateResponse(7, True, 1).encode()))
    assert isinstance(error, IncompatibleVersion)
    assert not error.retryable


def test_an_answer_without_a_version_means_the_old_frames() -> None:
    session = authenticating()
    assert receive(session, '{"type":"authenticate","status":true,"bandwidth_remaining":5}') == [
        Ready(5, False, 0)
    ]
    assert session.seal(PACKET)[0] == 1


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("the client is not registered", NotRegistered),
        ("failed to authenticate the client: the client is not registered", NotRegistered),
        ("failed to verify provided address ciphertext", NotRegistered),
        ("There is already an open connection to this client", DuplicateSession),
        ("attempted to overwrite client session with a stale authentication", DuplicateSession),
        (
            "Attempted to negotiate connection with client using incompatible protocol version. Ours is 6",
            IncompatibleVersion,
        ),
        ("the provided request timestamp is smaller or equal to one previously used", GatewayRefused),
        ("", GatewayRefused),
    ],
)
def test_refusals_by_their_texts(text: str, kind: type[GatewayError]) -> None:
    assert type(classify_refusal(text)) is kind
    session = authenticating()
    session.data_to_send()
    assert type(closed(receive(session, ErrorResponse(text).encode()))) is kind
    assert session.state is SessionState.CLOSED
    assert receive(session, ErrorResponse(text).encode()) == []  # real gateways say it twice


def test_a_refused_registration() -> None:
    session = negotiating(key=None)
    receive(session, SupportedProtocolResponse(6).encode())
    text = "There is already an open connection to this client"
    assert isinstance(closed(receive(session, ErrorResponse(text).encode())), DuplicateSession)


def test_a_handshake_that_fails_tells_the_gateway() -> None:
    session = negotiating(key=None)
    receive(session, SupportedProtocolResponse(6).encode())
    session.data_to_send()
    assert isinstance(closed(receive(session, HandshakePayload(6, bytes(124)).encode())), HandshakeFailed)
    assert session.data_to_send() == [HandshakeError("sent request was malformed").encode()]


@pytest.mark.parametrize("response", [RegisterResponse(6, False), AuthenticateResponse(6, False, 0)])
def test_answers_without_success(response: RegisterResponse | AuthenticateResponse) -> None:
    if isinstance(response, AuthenticateResponse):
        session = authenticating()
    else:
        session = negotiating(key=None)
        receive(session, SupportedProtocolResponse(6).encode())
    events = receive(session, response.encode())
    assert isinstance(closed(events), GatewayRefused)


def test_registered_without_a_handshake() -> None:
    session = negotiating(key=None)
    receive(session, SupportedProtocolResponse(6).encode())
    assert isinstance(closed(receive(session, RegisterResponse(6, True).encode())), GatewayRefused)


def test_no_answer_about_the_version() -> None:
    assert isinstance(closed(receive(negotiating(), BandwidthResponse(1).encode())), GatewayProtocolError)


def test_what_does_not_belong_is_skipped_while_setting_up() -> None:
    session = negotiating()
    for text in (SendResponse(1).encode(), OutOfBandwidthResponse(1, 0).encode(), "garbage"):
        (event,) = receive(session, text)
        assert isinstance(event, Garbage)
    session = authenticating()
    (event,) = receive(session, BandwidthResponse(5).encode())
    assert isinstance(event, Garbage)
    session = negotiating(key=None)
    receive(session, SupportedProtocolResponse(6).encode())
    (event,) = receive(session, BandwidthResponse(5).encode())
    assert isinstance(event, Garbage)
    assert session.state is SessionState.REGISTERING


def test_nothing_is_read_before_the_start() -> None:
    assert receive(fresh(), SupportedProtocolResponse(6).encode()) == []


@pytest.mark.parametrize(
    ("session", "told"),
    [(negotiating(), False), (authenticating(), False), (negotiating(key=None), True)],
)
def test_silence_ends_it(session: GatewaySession, told: bool) -> None:
    if told:
        receive(session, SupportedProtocolResponse(6).encode())
    session.data_to_send()
    assert isinstance(session.silent_too_long(), GatewayProtocolError)
    assert session.state is SessionState.CLOSED
    assert bool(session.data_to_send()) is told


@pytest.mark.parametrize(
    ("now", "last", "expected"),
    [
        (100, None, 100),
        (100, 50, 100),
        (100, 99, 100),
        (100, 100, 101),
        (100, 150, 151),
        (100, 220, 221),
        (100, 221, 100),  # nobody can have accepted that one
    ],
)
def test_timestamps_rise(now: int, last: int | None, expected: int) -> None:
    assert next_timestamp(now, last) == expected


# ---- the running session --------------------------------------------------------------------------------


def test_sending_and_its_answers() -> None:
    session = ready()
    assert open_forward(session.seal(PACKET), KEY) == PACKET
    assert receive(session, SendResponse(7).encode()) == [BandwidthChanged(7, False)]
    assert receive(session, SendResponse(-1_800_004_826, True).encode()) == [
        BandwidthChanged(-1_800_004_826, True)
    ]
    assert receive(session, OutOfBandwidthResponse(2413, -12).encode()) == [OutOfBandwidthEvent(2413, -12)]
    assert receive(session, ErrorResponse("no").encode()) == [Refused("no")]


def test_frames_are_sealed_with_fresh_nonces() -> None:
    session = ready()
    assert session.seal(PACKET)[2:14] != session.seal(PACKET)[2:14]


def test_a_free_claim() -> None:
    session = ready()
    session.claim_free()
    assert sent(session) == [ClaimFreeBandwidth()]
    assert session.claiming
    assert receive(session, BandwidthResponse(9, True).encode()) == [
        ClaimAnswered(TicketOutcome.ACCEPTED, 9, True)
    ]
    assert not session.claiming


def test_a_ticket() -> None:
    session = ready()
    session.claim_ticket(b"credential")
    (request,) = sent(session)
    assert isinstance(request, EcashCredential)
    assert open_credential(request, KEY) == b"credential"
    assert receive(session, BandwidthResponse(9).encode()) == [ClaimAnswered(TicketOutcome.ACCEPTED, 9)]


def test_one_claim_at_a_time() -> None:
    session = ready()
    session.claim_free()
    with pytest.raises(AssertionError):
        session.claim_free()


UNSPENT = [
    "Provided binary request was malformed - failed to either encrypt or decrypt provided message",
    "provided unknown ticketbook type",
    "the received payment contained more than a single ticket. that's currently not supported",
    "the provided credential has an invalid spending date. got 2026-11-23 but expected 2026-11-22",
    "the DKG threshold value for epoch 6 is currently unavailable. we're probably mid-epoch transition",
    "the provided key share hasn't been verified",
    "provided payinfo's public key does not match provider's",
    "provided payinfo's timestamp is invalid",
    "received payinfo is a duplicate",
    "the provided ticket failed to get verified",
    "failed to verify provided ticket due to invalid expiration date signatures",
    "This gateway is only accepting coconut credentials for bandwidth",
]


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        *((text, TicketOutcome.REFUSED_UNSPENT) for text in UNSPENT),
        (
            "the provided bandwidth credential has already been spent before at this gateway",
            TicketOutcome.SPENT,
        ),
        ("Internal gateway storage error", TicketOutcome.UNKNOWN),
        ("something new", TicketOutcome.UNKNOWN),
    ],
)
def test_refused_tickets(text: str, outcome: TicketOutcome) -> None:
    assert ticket_outcome(text) is outcome
    session = ready()
    session.claim_ticket(b"x")
    assert receive(session, ErrorResponse(text).encode()) == [ClaimAnswered(outcome, reason=text)]
    assert not session.claiming


def test_the_typed_replay_answer() -> None:
    session = ready()
    session.claim_ticket(b"x")
    (event,) = receive(session, TicketReplayResponse().encode())
    assert isinstance(event, ClaimAnswered)
    assert event.outcome is TicketOutcome.SPENT
    (event,) = receive(session, TicketReplayResponse().encode())
    assert isinstance(event, Garbage)


def test_errors_belong_to_the_packets_before_the_claim_until_all_are_answered() -> None:
    session = ready()
    for _ in range(3):
        session.seal(PACKET)
    session.claim_ticket(b"x")
    session.seal(PACKET)
    malformed = ErrorResponse("Provided binary request was malformed - something").encode()
    assert receive(session, malformed) == [Refused("Provided binary request was malformed - something")]
    receive(session, SendResponse(1).encode())
    receive(session, OutOfBandwidthResponse(2413, 1).encode())
    (event,) = receive(session, malformed)
    assert isinstance(event, ClaimAnswered)
    assert event.outcome is TicketOutcome.REFUSED_UNSPENT
    assert receive(session, malformed) == [Refused("Provided binary request was malformed - something")]


def test_texts_about_tickets_belong_to_the_claim_whatever_the_count() -> None:
    session = ready()
    session.seal(PACKET)  # this gateway does not answer every packet
    session.claim_ticket(b"x")
    (event,) = receive(session, ErrorResponse("received payinfo is a duplicate").encode())
    assert isinstance(event, ClaimAnswered)


def test_an_answered_claim_settles_the_count() -> None:
    session = ready()
    session.seal(PACKET)
    session.claim_free()
    receive(session, BandwidthResponse(5).encode())
    session.claim_ticket(b"x")
    (event,) = receive(session, ErrorResponse("unheard of").encode())
    assert isinstance(event, ClaimAnswered)


def test_upgrade_mode() -> None:
    session = ready()
    session.announce_upgrade("a.b.c")
    assert sent(session) == [UpgradeModeJwt("a.b.c")]
    assert receive(session, BandwidthResponse(40_000_001, True).encode()) == [
        BandwidthChanged(40_000_001, True)
    ]


def test_sensitive_requests() -> None:
    session = ready()
    session.request(ForgetMe(client=True, stats=False))
    (request,) = sent(session)
    assert isinstance(request, EncryptedRequest)
    assert open_request(request, KEY) == ForgetMe(client=True, stats=False)
    answer = seal_response(ForgetMeAck(), KEY, NONCE)
    assert receive(session, answer.encode()) == [SensitiveAnswered(ForgetMeAck())]
    (event,) = receive(session, EncryptedResponse(answer.ciphertext, bytes(11)).encode())
    assert isinstance(event, Garbage)
    assert event.kind == "undecryptable"


@pytest.mark.parametrize(
    "text",
    [
        RegisterResponse(6, True).encode(),
        AuthenticateResponse(6, True, 1).encode(),
        SupportedProtocolResponse(6).encode(),
        "",
        "{}",
    ],
)
def test_what_has_no_place_in_a_running_session_is_skipped(text: str) -> None:
    session = ready()
    (event,) = receive(session, text)
    assert isinstance(event, Garbage)
    assert session.state is SessionState.READY


@given(st.lists(st.text() | st.binary(max_size=100), max_size=20))
def test_garbage_never_ends_a_running_session(pieces: list[str | bytes]) -> None:
    session = ready()
    for piece in pieces:
        if isinstance(piece, bytes):
            event: Event = session.receive_binary(piece)
        else:
            (event,) = receive(session, piece)
        assert isinstance(event, Garbage)
    assert session.state is SessionState.READY


def test_refusals_are_printable() -> None:
    (event,) = receive(ready(), ErrorResponse("a\r\nb" + "x" * 1000).encode())
    assert isinstance(event, Refused)
    assert event.reason.isprintable()
    assert len(event.reason) < 310
