"""Text messages from a client to its gateway (docs/protocol/03 §4, §5, §6.1; vectors: ``json``).

Every message is a frozen dataclass with `encode()`; `parse_request` and `parse_handshake` read them. Both
directions are here because a client writes what a gateway reads. What the reference's parser refuses is
refused, and what it tolerates (unknown fields, the alias tags) is tolerated.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from nym_mixnet.errors import MalformedGatewayMessage
from nym_mixnet.keys import KEY_BYTES, SIGNATURE_BYTES, ClientKeys, verify_signature
from nym_mixnet.session_key import SessionKey
from nym_mixnet.wire_json import Fields, JsonFaultError, compact, load_json


@dataclass(frozen=True, slots=True)
class SupportedProtocolRequest:
    """Which version does the gateway speak? Allowed before and after authentication."""

    def encode(self) -> str:
        return '{"type":"supportedProtocol"}'


@dataclass(frozen=True, slots=True)
class RegisterRequest:
    """The first message of a registration as a gateway reads it; `data` is §4's message 1."""

    protocol_version: int
    data: bytes

    def encode(self) -> str:
        return compact(
            {
                "type": "registerHandshakeInitRequest",
                "protocol_version": self.protocol_version,
                "data": list(self.data),
            }
        )


@dataclass(frozen=True, slots=True)
class AuthenticateRequest:
    """`authenticateV2`: proof of the identity key and of the shared key (§5)."""

    protocol_version: int
    client_identity: bytes
    address_ciphertext: bytes
    nonce: bytes
    timestamp: int
    signature: bytes

    @classmethod
    def create(
        cls, keys: ClientKeys, session_key: SessionKey, *, protocol_version: int, nonce: bytes, timestamp: int
    ) -> AuthenticateRequest:
        """Seal our address and sign it all. `timestamp`: Unix seconds, never used before."""
        sealed = session_key.seal(keys.identity_public, nonce)
        signed = _signed_part(protocol_version, keys.identity_public, sealed, nonce, timestamp)
        return cls(protocol_version, keys.identity_public, sealed, nonce, timestamp, keys.sign(signed))

    def signed_plaintext(self) -> bytes:
        return _signed_part(
            self.protocol_version, self.client_identity, self.address_ciphertext, self.nonce, self.timestamp
        )

    def signature_is_valid(self) -> bool:
        return verify_signature(self.client_identity, self.signed_plaintext(), self.signature)

    def proves(self, session_key: SessionKey) -> bool:
        """True if the sender holds `session_key` (the cipher is deterministic: seal again and compare)."""
        try:
            return session_key.open(self.address_ciphertext, self.nonce) == self.client_identity
        except MalformedGatewayMessage:
            return False

    def encode(self) -> str:
        return compact(
            {
                "type": "authenticateV2",
                "protocolVersion": self.protocol_version,
                "clientIdentity": list(self.client_identity),
                "addressCiphertext": base64.b64encode(self.address_ciphertext).decode("ascii"),
                "nonce": base64.b64encode(self.nonce).decode("ascii"),
                "requestUnixTimestamp": self.timestamp,
                "requestSignature": list(self.signature),
            }
        )


def _signed_part(version: int, identity: bytes, sealed: bytes, nonce: bytes, timestamp: int) -> bytes:
    return bytes([version]) + identity + sealed + nonce + timestamp.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class ClaimFreeBandwidth:
    """Ask for the free allowance of a gateway that does not insist on tickets (§9.3)."""

    def encode(self) -> str:
        return '{"type":"claimFreeTestnetBandwidth"}'


@dataclass(frozen=True, slots=True)
class EcashCredential:
    """One sealed ticket (§9.4). The field of the nonce is written `iv`."""

    ciphertext: bytes = field(repr=False)
    nonce: bytes

    def encode(self) -> str:
        return compact(
            {"type": "ecashCredential", "enc_credential": list(self.ciphertext), "iv": list(self.nonce)}
        )


@dataclass(frozen=True, slots=True)
class UpgradeModeJwt:
    """Tell the gateway of a network upgrade (§9.6). Note the capitals in the tag."""

    token: str

    def encode(self) -> str:
        return compact({"type": "upgradeModeJWT", "token": self.token})


@dataclass(frozen=True, slots=True)
class EncryptedRequest:
    """A request inside a sealed envelope (§6.3); its content is `gateway_frames.SensitiveRequest`."""

    ciphertext: bytes
    nonce: bytes

    def encode(self) -> str:
        return compact(
            {"type": "encryptedRequest", "ciphertext": list(self.ciphertext), "nonce": list(self.nonce)}
        )


@dataclass(frozen=True, slots=True)
class LegacyAuthenticate:
    """A request of old clients: it still parses, and is refused (§2)."""

    protocol_version: int | None
    address: str
    enc_address: str
    iv: str

    def encode(self) -> str:
        return compact(
            {
                "type": "authenticate",
                "protocol_version": self.protocol_version,
                "address": self.address,
                "enc_address": self.enc_address,
                "iv": self.iv,
            }
        )


@dataclass(frozen=True, slots=True)
class LegacyCredential:
    """A credential of old clients: it still parses, and is refused (§2). `tag` tells which."""

    tag: str
    ciphertext: bytes = field(repr=False)
    iv: bytes

    def encode(self) -> str:
        return compact({"type": self.tag, "enc_credential": list(self.ciphertext), "iv": list(self.iv)})


@dataclass(frozen=True, slots=True)
class HandshakePayload:
    """A step of the registration, in either direction (§4)."""

    protocol_version: int
    data: bytes

    def encode(self) -> str:
        return compact(
            {"type": "handshakePayload", "protocol_version": self.protocol_version, "data": list(self.data)}
        )


@dataclass(frozen=True, slots=True)
class HandshakeError:
    """The peer ends the registration."""

    message: str

    def encode(self) -> str:
        return compact({"type": "handshakeError", "message": self.message})


Request = (
    SupportedProtocolRequest
    | RegisterRequest
    | AuthenticateRequest
    | ClaimFreeBandwidth
    | EcashCredential
    | UpgradeModeJwt
    | EncryptedRequest
    | LegacyAuthenticate
    | LegacyCredential
)
Handshake = HandshakePayload | HandshakeError


def _base64(fields: Fields, name: str) -> bytes:
    text = fields.text(name)
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise JsonFaultError(fields.at(name), "not base64") from None
    if base64.b64encode(raw).decode("ascii") != text:  # bits after the end, which the reference refuses
        raise JsonFaultError(fields.at(name), "not base64")
    return raw


def _credential_nonce(fields: Fields) -> bytes:
    """`iv` or its alias `nonce`; both at once is one field given twice."""
    if fields.has("iv") and fields.has("nonce"):
        raise JsonFaultError(fields.at("iv"), "given more than once")
    return fields.byte_array("nonce" if fields.has("nonce") else "iv")


def _read(fields: Fields, tag: str) -> Request:
    match tag:
        case "supportedProtocol":
            return SupportedProtocolRequest()
        case "registerHandshakeInitRequest" | "handshakePayload":
            return RegisterRequest(fields.u8("protocol_version", 0), fields.byte_array("data"))
        case "authenticateV2":
            return AuthenticateRequest(
                protocol_version=fields.u8("protocolVersion"),
                client_identity=fields.byte_array("clientIdentity", KEY_BYTES),
                address_ciphertext=_base64(fields, "addressCiphertext"),
                nonce=_base64(fields, "nonce"),
                timestamp=fields.u64("requestUnixTimestamp"),
                signature=fields.byte_array("requestSignature", SIGNATURE_BYTES),
            )
        case "claimFreeTestnetBandwidth":
            return ClaimFreeBandwidth()
        case "ecashCredential":
            return EcashCredential(fields.byte_array("enc_credential"), _credential_nonce(fields))
        case "upgradeModeJWT":
            return UpgradeModeJwt(fields.text("token"))
        case "encryptedRequest":
            return EncryptedRequest(fields.byte_array("ciphertext"), fields.byte_array("nonce"))
        case "authenticate":
            version = fields.u8("protocol_version") if fields.given("protocol_version") else None
            return LegacyAuthenticate(
                version, fields.text("address"), fields.text("enc_address"), fields.text("iv")
            )
        case "bandwidthCredential" | "bandwidthCredentialV2":
            return LegacyCredential(tag, fields.byte_array("enc_credential"), fields.byte_array("iv"))
        case _:
            raise JsonFaultError("type", f"unknown variant `{tag[:60]}`")


def _tagged(text: str) -> tuple[Fields, str]:
    value: Any = load_json(text)
    fields = Fields(value)
    return fields, fields.text("type")


def parse_request(text: str) -> Request:
    """Read a client's text frame. `MalformedGatewayMessage` names what is wrong."""
    try:
        return _read(*_tagged(text))
    except JsonFaultError as fault:
        raise MalformedGatewayMessage(str(fault)) from None


def parse_handshake(text: str) -> Handshake:
    """Read a text frame of a running registration, in either direction."""
    try:
        fields, tag = _tagged(text)
        if tag == "handshakePayload":
            return HandshakePayload(fields.u8("protocol_version", 0), fields.byte_array("data"))
        if tag == "handshakeError":
            return HandshakeError(fields.text("message"))
        raise JsonFaultError("type", "not a handshake message")
    except JsonFaultError as fault:
        raise MalformedGatewayMessage(str(fault)) from None
