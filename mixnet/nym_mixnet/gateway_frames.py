"""What travels sealed between client and gateway: packets, pushed payloads, requests, tickets.

Binary frames are ``kind || flag || nonce(12) || body`` (docs/protocol/03 §7.1, vectors: ``binary``),
sensitive requests are JSON inside a sealed envelope (§6.3, vectors: ``encrypted_text``), a ticket is a
sealed record (§9.4).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from nym_mixnet.errors import MalformedGatewayMessage
from nym_mixnet.gateway_requests import EcashCredential, EncryptedRequest
from nym_mixnet.gateway_responses import EncryptedResponse
from nym_mixnet.session_key import NONCE_BYTES, SessionKey
from nym_mixnet.wire_json import Fields, JsonFaultError, compact, load_json
from nym_sphinx.errors import SphinxError
from nym_sphinx.mix_packet import MixPacket

KIND_FORWARD = 1
KIND_FORWARD_V2 = 2
KIND_PUSHED = 1
FORWARD_V2_PROTOCOL = 5
"""From this protocol version on a packet travels with the byte of its key rotation."""

SPHINX_ACK_BYTES = 21
LONGEST_ACK_BYTES = 48
"""Pushed payloads up to this length are acks: 21 for Sphinx, 48 for outfox (§7.2)."""

PAY_INFO_BYTES = 72
_CREDENTIAL_OVERHEAD_BYTES = 4 + PAY_INFO_BYTES + 4 + 8
_JULIAN_UNIX_EPOCH = 2_440_588
_UNIX_EPOCH = date(1970, 1, 1)

_ENCRYPTED = 1
_PREFIX_BYTES = 2
_BODY_START = _PREFIX_BYTES + NONCE_BYTES
_TOO_SHORT = "the request is too short"


def seal_frame(kind: int, plaintext: bytes, key: SessionKey, nonce: bytes) -> bytes:
    """A sealed binary frame. `nonce`: 12 fresh random bytes."""
    return bytes((kind, _ENCRYPTED)) + nonce + key.seal(plaintext, nonce)


def open_frame(frame: bytes, key: SessionKey) -> bytes:
    """The plaintext of a binary frame whatever its kind; `MalformedGatewayMessage` says what is wrong.

    Frames that are not sealed are read as the reference reads them, 12 bytes skipped all the same.
    """
    if len(frame) < _PREFIX_BYTES:
        raise MalformedGatewayMessage(_TOO_SHORT)
    if frame[1] > _ENCRYPTED:
        raise MalformedGatewayMessage("the encryption flag had an unexpected value")
    if len(frame) < _BODY_START:
        raise MalformedGatewayMessage(_TOO_SHORT)
    if frame[1] == _ENCRYPTED:
        return key.open(frame[_BODY_START:], frame[_PREFIX_BYTES:_BODY_START])
    return frame[_BODY_START:]


def seal_forward(packet: MixPacket, key: SessionKey, nonce: bytes, *, protocol_version: int) -> bytes:
    """The frame that asks the gateway to forward `packet`."""
    if protocol_version >= FORWARD_V2_PROTOCOL:
        return seal_frame(KIND_FORWARD_V2, packet.encode_v2(), key, nonce)
    return seal_frame(KIND_FORWARD, packet.encode_v1(), key, nonce)


def open_forward(frame: bytes, key: SessionKey) -> MixPacket:
    """The gateway's side of `seal_forward`."""
    kind = _known_kind(frame, (KIND_FORWARD, KIND_FORWARD_V2), "request")
    plaintext = open_frame(frame, key)
    try:
        return MixPacket.decode_v1(plaintext) if kind == KIND_FORWARD else MixPacket.decode_v2(plaintext)
    except SphinxError as error:
        raise MalformedGatewayMessage(f"failed to serialise created sphinx packet: {error}") from None


def seal_pushed(payload: bytes, key: SessionKey, nonce: bytes) -> bytes:
    """The frame in which a gateway delivers a message or an ack."""
    return seal_frame(KIND_PUSHED, payload, key, nonce)


def open_pushed(frame: bytes, key: SessionKey) -> bytes:
    """The client's side of `seal_pushed`."""
    _known_kind(frame, (KIND_PUSHED,), "response")
    return open_frame(frame, key)


def _known_kind(frame: bytes, kinds: tuple[int, ...], what: str) -> int:
    # the order of the checks is the reference's: length and flag of a frame come before its kind
    if len(frame) >= _BODY_START and frame[1] <= _ENCRYPTED and frame[0] not in kinds:
        raise MalformedGatewayMessage(f"received {what} with an unknown kind: {frame[0]}")
    return frame[0] if frame else 0


def is_ack(payload: bytes) -> bool:
    """Acks and messages are told apart by length alone (§7.2)."""
    return len(payload) <= LONGEST_ACK_BYTES


class SessionType(StrEnum):
    """What a client says it is for, in `RememberMe`."""

    VPN = "Vpn"
    MIXNET = "Mixnet"
    WASM = "Wasm"
    NATIVE = "Native"
    SOCKS5 = "Socks5"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class ForgetMe:
    """Delete what is stored about this client: messages, allowance and shared key (it must register anew)."""

    client: bool
    stats: bool

    def encode(self) -> str:
        return compact({"ForgetMe": {"client": self.client, "stats": self.stats}})


@dataclass(frozen=True, slots=True)
class RememberMe:
    """Keep statistics about this session."""

    session_type: SessionType

    def encode(self) -> str:
        return compact({"RememberMe": {"session_type": self.session_type.value}})


@dataclass(frozen=True, slots=True)
class ForgetMeAck:
    def encode(self) -> str:
        return '{"ForgetMeAck":{}}'


@dataclass(frozen=True, slots=True)
class RememberMeAck:
    def encode(self) -> str:
        return '{"RememberMeAck":{}}'


SensitiveRequest = ForgetMe | RememberMe
SensitiveResponse = ForgetMeAck | RememberMeAck


def _variant(plaintext: bytes) -> tuple[str, Fields]:
    value = load_json(plaintext)
    outer = Fields(value)
    if len(outer.values) != 1:
        raise JsonFaultError("", "exactly one variant expected")
    name = next(iter(outer.values))
    return name, outer.object(name)


def parse_sensitive_request(plaintext: bytes) -> SensitiveRequest:
    try:
        name, fields = _variant(plaintext)
        if name == "ForgetMe":
            return ForgetMe(fields.flag("client"), fields.flag("stats"))
        if name == "RememberMe":
            return RememberMe(SessionType(fields.text("session_type")))
    except ValueError as error:  # includes JsonFaultError
        raise MalformedGatewayMessage(f"malformed request: {error}") from None
    raise MalformedGatewayMessage(f"malformed request: unknown variant `{name[:60]}`")


def parse_sensitive_response(plaintext: bytes) -> SensitiveResponse:
    try:
        name, _ = _variant(plaintext)
    except JsonFaultError as fault:
        raise MalformedGatewayMessage(f"malformed response: {fault}") from None
    if name == "ForgetMeAck":
        return ForgetMeAck()
    if name == "RememberMeAck":
        return RememberMeAck()
    raise MalformedGatewayMessage(f"malformed response: unknown variant `{name[:60]}`")


def seal_request(request: SensitiveRequest, key: SessionKey, nonce: bytes) -> EncryptedRequest:
    return EncryptedRequest(key.seal(request.encode().encode("utf-8"), nonce), nonce)


def open_request(request: EncryptedRequest, key: SessionKey) -> SensitiveRequest:
    return parse_sensitive_request(key.open(request.ciphertext, request.nonce))


def seal_response(response: SensitiveResponse, key: SessionKey, nonce: bytes) -> EncryptedResponse:
    return EncryptedResponse(key.seal(response.encode().encode("utf-8"), nonce), nonce)


def open_response(response: EncryptedResponse, key: SessionKey) -> SensitiveResponse:
    return parse_sensitive_response(key.open(response.ciphertext, response.nonce))


@dataclass(frozen=True, slots=True)
class Credential:
    """One ticket as it is paid with: the payment itself and what it is bound to (§9.4).

    `pay_info` is 72 bytes: 32 random, the Unix time in seconds (8, signed), the gateway's identity (32).
    """

    payment: bytes = field(repr=False)
    pay_info: bytes = field(repr=False)
    spend_date: date
    epoch_id: int

    def encode(self) -> bytes:
        if len(self.pay_info) != PAY_INFO_BYTES:
            raise ValueError(f"pay info has {PAY_INFO_BYTES} bytes, not {len(self.pay_info)}")
        julian_day = _JULIAN_UNIX_EPOCH + (self.spend_date - _UNIX_EPOCH).days
        return (
            len(self.payment).to_bytes(4, "big")
            + self.payment
            + self.pay_info
            + julian_day.to_bytes(4, "big", signed=True)
            + self.epoch_id.to_bytes(8, "big")
        )

    @classmethod
    def decode(cls, data: bytes) -> Credential:
        """`MalformedGatewayMessage` for any length but the right one, or a day that is no date."""
        if len(data) < 4 or len(data) != int.from_bytes(data[:4], "big") + _CREDENTIAL_OVERHEAD_BYTES:
            raise MalformedGatewayMessage("the received encrypted data was malformed")
        end = len(data) - _CREDENTIAL_OVERHEAD_BYTES + 4
        day = int.from_bytes(data[-12:-8], "big", signed=True)
        try:
            spend_date = _UNIX_EPOCH + timedelta(days=day - _JULIAN_UNIX_EPOCH)
        except OverflowError:
            raise MalformedGatewayMessage("the received encrypted data was malformed") from None
        return cls(data[4:end], data[end:-12], spend_date, int.from_bytes(data[-8:], "big"))

    @property
    def gateway_identity(self) -> bytes:
        """Whom the ticket is for."""
        return self.pay_info[40:]

    @property
    def unix_time(self) -> int:
        """When it was made out."""
        return int.from_bytes(self.pay_info[32:40], "big", signed=True)


def make_pay_info(random_part: bytes, unix_time: int, gateway_identity: bytes) -> bytes:
    """The 72 bytes that bind a ticket to a moment (±30 s) and a gateway."""
    return random_part + unix_time.to_bytes(8, "big", signed=True) + gateway_identity


def seal_credential(credential: bytes, key: SessionKey, nonce: bytes) -> EcashCredential:
    """Seal an encoded `Credential`."""
    return EcashCredential(key.seal(credential, nonce), nonce)


def open_credential(request: EcashCredential, key: SessionKey) -> bytes:
    """The encoded `Credential` in a sealed one."""
    return key.open(request.ciphertext, request.nonce)
