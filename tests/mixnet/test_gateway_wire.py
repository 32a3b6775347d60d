"""The gateway's wire format: round trips, what the reference's parser refuses, and garbage."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nym_mixnet.errors import GatewayError, MalformedGatewayMessage
from nym_mixnet.gateway_frames import (
    Credential,
    ForgetMe,
    ForgetMeAck,
    RememberMe,
    RememberMeAck,
    SessionType,
    make_pay_info,
    open_credential,
    open_forward,
    open_frame,
    open_pushed,
    open_request,
    open_response,
    parse_sensitive_request,
    parse_sensitive_response,
    seal_credential,
    seal_forward,
    seal_frame,
    seal_pushed,
    seal_request,
    seal_response,
)
from nym_mixnet.gateway_requests import (
    AuthenticateRequest,
    ClaimFreeBandwidth,
    EcashCredential,
    EncryptedRequest,
    HandshakeError,
    HandshakePayload,
    LegacyAuthenticate,
    LegacyCredential,
    RegisterRequest,
    SupportedProtocolRequest,
    UpgradeModeJwt,
    parse_handshake,
    parse_request,
)
from nym_mixnet.gateway_responses import (
    AuthenticateResponse,
    BandwidthResponse,
    EncryptedResponse,
    ErrorResponse,
    OutOfBandwidthResponse,
    RegisterResponse,
    SendResponse,
    SupportedProtocolResponse,
    TicketReplayResponse,
    parse_response,
)
from nym_mixnet.session_key import SessionKey
from nym_sphinx.addressing import NodeAddress
from nym_sphinx.mix_packet import MixPacket
from nym_sphinx.sizes import KeyRotation, PacketSize

KEY = SessionKey(bytes(range(32)))
NONCE = bytes(12)

u8 = st.integers(0, 255)
i64 = st.integers(-(2**63), 2**63 - 1)
text = st.text(st.characters(exclude_categories=["Cs"]))
raw = st.binary(max_size=80)
flag = st.booleans()

requests = st.one_of(
    st.builds(SupportedProtocolRequest),
    st.builds(RegisterRequest, u8, raw),
    st.builds(
        AuthenticateRequest,
        u8,
        st.binary(min_size=32, max_size=32),
        raw,
        raw,
        st.integers(0, 2**64 - 1),
        st.binary(min_size=64, max_size=64),
    ),
    st.builds(ClaimFreeBandwidth),
    st.builds(EcashCredential, raw, raw),
    st.builds(UpgradeModeJwt, text),
    st.builds(EncryptedRequest, raw, raw),
    st.builds(LegacyAuthenticate, st.none() | u8, text, text, text),
    st.builds(LegacyCredential, st.sampled_from(["bandwidthCredential", "bandwidthCredentialV2"]), raw, raw),
)
responses = st.one_of(
    st.builds(AuthenticateResponse, u8, flag, i64, flag),
    st.builds(RegisterResponse, u8, flag, flag),
    st.builds(BandwidthResponse, i64, flag),
    st.builds(SendResponse, i64, flag),
    st.builds(SupportedProtocolResponse, u8),
    st.builds(EncryptedResponse, raw, raw),
    st.builds(ErrorResponse, text),
    st.builds(OutOfBandwidthResponse, i64, i64),
    st.builds(TicketReplayResponse),
)
json_values = st.recursive(
    st.none() | flag | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=8,
)


@given(requests)
def test_requests_round_trip(request: Any) -> None:
    assert parse_request(request.encode()) == request


@given(responses)
def test_responses_round_trip(response: Any) -> None:
    assert parse_response(response.encode()) == response


@given(st.builds(HandshakePayload, u8, raw) | st.builds(HandshakeError, text))
def test_handshake_messages_round_trip(message: Any) -> None:
    assert parse_handshake(message.encode()) == message


@pytest.mark.parametrize("parse", [parse_request, parse_response, parse_handshake])
@given(garbage=st.text() | st.builds(json.dumps, json_values))
def test_garbage_text_is_malformed_and_nothing_else(parse: Any, garbage: str) -> None:
    with suppress(MalformedGatewayMessage):
        parse(garbage)


@given(
    st.sampled_from(
        [
            "supportedProtocol",
            "registerHandshakeInitRequest",
            "authenticateV2",
            "ecashCredential",
            "upgradeModeJWT",
            "encryptedRequest",
            "authenticate",
            "send",
            "bandwidth",
            "typedError",
            "error",
        ]
    ),
    st.dictionaries(
        st.sampled_from(
            [
                "data",
                "protocol_version",
                "iv",
                "nonce",
                "token",
                "error",
                "message",
                "status",
                "available_total",
            ]
        ),
        json_values,
    ),
)
def test_wrong_fields_are_malformed_and_nothing_else(tag: str, fields: dict[str, Any]) -> None:
    body = json.dumps({"type": tag, **fields})
    for parse in (parse_request, parse_response):
        with suppress(MalformedGatewayMessage):
            parse(body)


@given(requests, st.data())
def test_cut_requests_are_malformed(request: Any, data: st.DataObject) -> None:
    whole = request.encode()
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(MalformedGatewayMessage):
        parse_request(cut)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ('{"type":"send","remaining_bandwidth":9223372036854775808}', "remaining_bandwidth"),
        ('{"type":"send","remaining_bandwidth":1.0}', "remaining_bandwidth"),
        ('{"type":"send","remaining_bandwidth":true}', "remaining_bandwidth"),
        ('{"type":"send","remaining_bandwidth":null}', "remaining_bandwidth"),
        ('{"type":"send","remaining_bandwidth":1,"remaining_bandwidth":2}', "remaining_bandwidth"),
        ('{"type":"send","remaining_bandwidth":1,"upgrade_mode":null}', "upgrade_mode"),
        ('{"type":"send","type":"send","remaining_bandwidth":1}', "type"),
        ('{"type":"send"}', "remaining_bandwidth"),
        ('{"type":5}', "type"),
        ('{"type":"supportedProtocol","version":256}', "version"),
        ('{"type":"supportedProtocol","version":-1}', "version"),
        ('{"type":"error","message":"\\ud800"}', ""),
        ('{"type":"error","message":7}', "message"),
        ('{"type":"error","message":NaN}', ""),
        ('{"type":"typedError","error":"something"}', "error"),
        (
            '{"type":"typedError","error":{"out_of_bandwidth":{"required":1}}}',
            "error.out_of_bandwidth.available",
        ),
        ('{"type":"encryptedResponse","ciphertext":[256],"nonce":[]}', "ciphertext"),
        ('{"type":"encryptedResponse","ciphertext":[true],"nonce":[]}', "ciphertext"),
        ('{"type":"encryptedResponse","ciphertext":"AAAA","nonce":[]}', "ciphertext"),
        ("[]", ""),
        ("[" * 100_000, ""),
        ('{"type":"send","remaining_bandwidth":' + "9" * 5000 + "}", ""),
    ],
)
def test_responses_that_a_typed_parser_refuses(body: str, field: str) -> None:
    with pytest.raises(MalformedGatewayMessage) as caught:
        parse_response(body)
    assert str(caught.value).startswith(field)


@pytest.mark.parametrize(
    "body",
    [
        '{"type":"ecashCredential","enc_credential":[1],"iv":[2],"nonce":[2]}',
        '{"type":"ecashCredential","enc_credential":[1]}',
        '{"type":"authenticateV2"}',
        '{"type":"registerHandshakeInitRequest","protocol_version":null,"data":[]}',
        '{"type":"encryptedRequest","ciphertext":[1]}',
        '{"type":"upgradeModeJWT","token":1}',
        '{"protocol_version":6}',
    ],
)
def test_requests_that_a_typed_parser_refuses(body: str) -> None:
    with pytest.raises(MalformedGatewayMessage):
        parse_request(body)


@pytest.mark.parametrize(
    ("field", "value"), [("nonce", "AB=="), ("nonce", "AAA"), ("addressCiphertext", "A A=")]
)
def test_only_proper_base64_is_taken(field: str, value: str) -> None:
    good = AuthenticateRequest(6, bytes(32), b"x", b"y", 1, bytes(64)).encode()
    body = json.loads(good)
    assert parse_request(json.dumps(body))
    body[field] = value
    with pytest.raises(MalformedGatewayMessage, match=f"{field}: not base64"):
        parse_request(json.dumps(body))


def test_tolerated_spellings() -> None:
    replay = parse_response('{"type":"typedError","error":{"ticket_replay":null}}')
    assert replay == TicketReplayResponse()
    assert parse_response(
        '{"upgrade_mode" : true, "remaining_bandwidth" : -7, "type" : "send", "x": [1]}'
    ) == (SendResponse(-7, upgrade_mode=True))
    assert parse_request('{"type":"authenticate","address":"a","enc_address":"b","iv":"c"}') == (
        LegacyAuthenticate(None, "a", "b", "c")
    )


@pytest.mark.parametrize("amount", ["00", "-0", "01", "+1", "1_0", "\u0661"])
def test_the_fast_path_for_send_takes_json_numbers_only(amount: str) -> None:
    body = f'{{"type":"send","remaining_bandwidth":{amount},"upgrade_mode":false}}'
    try:
        expected = json.loads(body)["remaining_bandwidth"]
    except ValueError:
        with pytest.raises(MalformedGatewayMessage):
            parse_response(body)
    else:
        assert parse_response(body) == SendResponse(expected)


# ---- sealed things --------------------------------------------------------------------------------------

packets = st.builds(
    MixPacket,
    st.builds(NodeAddress, st.ip_addresses(), st.integers(0, 65535)).filter(lambda a: "%" not in str(a)),
    st.sampled_from([bytes(size.packet_bytes) for size in PacketSize]),
    st.sampled_from(list(KeyRotation)),
)


@given(packets, st.binary(min_size=12, max_size=12))
def test_packets_round_trip(packet: MixPacket, nonce: bytes) -> None:
    newer = seal_forward(packet, KEY, nonce, protocol_version=5)
    older = seal_forward(packet, KEY, nonce, protocol_version=4)
    assert (newer[0], older[0]) == (2, 1)
    assert open_forward(newer, KEY) == packet
    assert open_forward(older, KEY) == MixPacket(packet.first_hop, packet.packet)


@given(st.binary(min_size=1, max_size=3000), st.binary(min_size=12, max_size=12))
def test_payloads_round_trip_and_every_changed_byte_shows(payload: bytes, nonce: bytes) -> None:
    frame = seal_pushed(payload, KEY, nonce)
    assert open_pushed(frame, KEY) == payload
    for position in (0, 2, 13, 14, len(frame) - 1):
        changed = frame[:position] + bytes([frame[position] ^ 4]) + frame[position + 1 :]
        with pytest.raises(MalformedGatewayMessage):
            open_pushed(changed, KEY)


@given(st.binary(max_size=100))
def test_garbage_frames_are_malformed_and_nothing_else(frame: bytes) -> None:
    for read in (open_frame, open_pushed, open_forward):
        with suppress(MalformedGatewayMessage):
            read(frame, KEY)


@given(st.binary(max_size=60))
def test_sealed_garbage_is_no_packet(plaintext: bytes) -> None:
    for kind in (1, 2):
        with pytest.raises(MalformedGatewayMessage):
            open_forward(seal_frame(kind, plaintext + b"\0", KEY, NONCE), KEY)


def test_an_empty_sealed_body_is_malformed() -> None:
    with pytest.raises(MalformedGatewayMessage):
        open_pushed(bytes((1, 1)) + bytes(12 + 16), KEY)


@pytest.mark.parametrize("request_", [ForgetMe(True, False), RememberMe(SessionType.SOCKS5)])
def test_sensitive_requests_round_trip(request_: Any) -> None:
    assert open_request(seal_request(request_, KEY, NONCE), KEY) == request_


@pytest.mark.parametrize("response", [ForgetMeAck(), RememberMeAck()])
def test_sensitive_responses_round_trip(response: Any) -> None:
    assert open_response(seal_response(response, KEY, NONCE), KEY) == response


@pytest.mark.parametrize(
    "plaintext",
    [
        b"",
        b"{}",
        b"\xff",
        b'{"ForgetMe":{"client":true}}',
        b'{"ForgetMe":{"client":true,"stats":true},"RememberMe":{"session_type":"Vpn"}}',
        b'{"RememberMe":{"session_type":"vpn"}}',
        b'{"Other":{}}',
        b'"ForgetMeAck"',
    ],
)
def test_malformed_sensitive_messages(plaintext: bytes) -> None:
    for parse in (parse_sensitive_request, parse_sensitive_response):
        with pytest.raises(MalformedGatewayMessage):
            parse(plaintext)


def test_wrong_nonces_and_keys_do_not_open() -> None:
    sealed = seal_request(ForgetMe(True, True), KEY, NONCE)
    with pytest.raises(MalformedGatewayMessage, match="expected length"):
        open_request(EncryptedRequest(sealed.ciphertext, b"short"), KEY)
    with pytest.raises(MalformedGatewayMessage, match="encrypt or decrypt"):
        open_request(sealed, SessionKey(bytes(32)))


@given(
    st.binary(max_size=1300),
    st.binary(min_size=72, max_size=72),
    st.dates(),
    st.integers(0, 2**64 - 1),
)
def test_credentials_round_trip(payment: bytes, pay_info: bytes, day: date, epoch: int) -> None:
    credential = Credential(payment, pay_info, day, epoch)
    encoded = credential.encode()
    assert Credential.decode(encoded) == credential
    assert Credential.decode(open_credential(seal_credential(encoded, KEY, NONCE), KEY)) == credential
    for wrong in (encoded[:-1], encoded + b"\0", b"", encoded[:3]):
        with pytest.raises(MalformedGatewayMessage):
            Credential.decode(wrong)


def test_pay_info_says_when_and_for_whom() -> None:
    gateway = bytes(range(32))
    credential = Credential(b"", make_pay_info(bytes(32), -5, gateway), date(2026, 11, 22), 3)
    assert (credential.unix_time, credential.gateway_identity) == (-5, gateway)
    # 1970-01-01 is day 2 440 588
    assert (
        int.from_bytes(credential.encode()[-12:-8], "big")
        == 2_440_588 + (date(2026, 11, 22) - date(1970, 1, 1)).days
    )
    with pytest.raises(ValueError, match="72 bytes"):
        Credential(b"", b"short", date(2026, 1, 1), 0).encode()


@pytest.mark.parametrize("day", [0, 2**31 - 1, -(2**31)])
def test_days_beyond_the_calendar_are_malformed(day: int) -> None:
    data = bytes(4) + bytes(72) + day.to_bytes(4, "big", signed=True) + bytes(8)
    with pytest.raises(MalformedGatewayMessage):
        Credential.decode(data)


def test_secrets_do_not_show() -> None:
    assert "00010203" not in repr(KEY)
    assert repr(KEY) == "SessionKey(…)"
    ticket = seal_credential(b"secret payment", KEY, NONCE)
    assert str(ticket.ciphertext) not in repr(ticket)
    assert "secret" not in repr(Credential(b"secret", b"secret" * 12, date(2026, 1, 1), 0))
    with pytest.raises(ValueError, match="32 bytes"):
        SessionKey(b"short")


def test_all_errors_are_gateway_errors() -> None:
    assert issubclass(MalformedGatewayMessage, GatewayError)
