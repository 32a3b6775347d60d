"""The wire format between client and gateway in one place (docs/protocol/03), for both sides of it.

Text messages are in `gateway_requests` (client to gateway) and `gateway_responses` (gateway to client),
sealed frames and records in `gateway_frames`, the key in `session_key`; this module gathers their names and
the numbers of the protocol.
"""

from __future__ import annotations

from nym_mixnet.gateway_frames import (
    FORWARD_V2_PROTOCOL,
    KIND_FORWARD,
    KIND_FORWARD_V2,
    KIND_PUSHED,
    LONGEST_ACK_BYTES,
    PAY_INFO_BYTES,
    SPHINX_ACK_BYTES,
    Credential,
    ForgetMe,
    ForgetMeAck,
    RememberMe,
    RememberMeAck,
    SensitiveRequest,
    SensitiveResponse,
    SessionType,
    is_ack,
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
    Handshake,
    HandshakeError,
    HandshakePayload,
    LegacyAuthenticate,
    LegacyCredential,
    RegisterRequest,
    Request,
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
    Response,
    SendResponse,
    SupportedProtocolResponse,
    TicketReplayResponse,
    parse_response,
)
from nym_mixnet.session_key import (
    KDF_SALT_BYTES,
    NONCE_BYTES,
    SESSION_KEY_BYTES,
    TAG_BYTES,
    SessionKey,
    derive_session_key,
)

CURRENT_PROTOCOL = 6
"""The highest version both sides may use (§2)."""
OLDEST_PROTOCOL = 4
"""The first version with `authenticateV2`."""

DEFAULT_WEBSOCKET_PORT = 9000
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_TIMESTAMP_SKEW_SECONDS = 120
REFILL_THRESHOLD_BYTES = 40_000_000
"""A client claims more when less than this is left (§9.2)."""
FREE_ALLOWANCE_BYTES = 64 * 1024**3
"""What one free claim adds, until the next midnight UTC (§9.3)."""
TICKET_BYTES = {
    "v1-mixnet-entry": 200_000_000,
    "v1-mixnet-exit": 100_000_000,
    "v1-wireguard-entry": 500_000_000,
    "v1-wireguard-exit": 500_000_000,
}
"""What one ticket of each type adds (§9.2)."""
MIXNET_ENTRY_TICKET_BYTES = TICKET_BYTES["v1-mixnet-entry"]

# Texts that clients match on, or that a gateway must word like this (§4, §5, §7.3, §8, §9).
TEXT_NOT_REGISTERED = "the client is not registered"
TEXT_WRONG_KEY = "failed to verify provided address ciphertext"
TEXT_DUPLICATE = "There is already an open connection to this client"
TEXT_STALE = "attempted to overwrite client session with a stale authentication"
TEXT_INCOMPATIBLE = "incompatible protocol version"
TEXT_TIMESTAMP_SKEWED = "the provided request timestamp is excessively skewed"
TEXT_TIMESTAMP_REUSED = "the provided request timestamp is smaller or equal to one previously used"
TEXT_TICKETS_ONLY = "This gateway is only accepting coconut credentials for bandwidth"
TEXT_ALREADY_SPENT = "already been spent before"
TEXT_MALFORMED_BINARY = "Provided binary request was malformed"

__all__ = [
    "CURRENT_PROTOCOL",
    "DEFAULT_WEBSOCKET_PORT",
    "FORWARD_V2_PROTOCOL",
    "FREE_ALLOWANCE_BYTES",
    "KDF_SALT_BYTES",
    "KIND_FORWARD",
    "KIND_FORWARD_V2",
    "KIND_PUSHED",
    "LONGEST_ACK_BYTES",
    "MAX_MESSAGE_BYTES",
    "MAX_TIMESTAMP_SKEW_SECONDS",
    "MIXNET_ENTRY_TICKET_BYTES",
    "NONCE_BYTES",
    "OLDEST_PROTOCOL",
    "PAY_INFO_BYTES",
    "REFILL_THRESHOLD_BYTES",
    "SESSION_KEY_BYTES",
    "SPHINX_ACK_BYTES",
    "TAG_BYTES",
    "TEXT_ALREADY_SPENT",
    "TEXT_DUPLICATE",
    "TEXT_INCOMPATIBLE",
    "TEXT_MALFORMED_BINARY",
    "TEXT_NOT_REGISTERED",
    "TEXT_STALE",
    "TEXT_TICKETS_ONLY",
    "TEXT_TIMESTAMP_REUSED",
    "TEXT_TIMESTAMP_SKEWED",
    "TEXT_WRONG_KEY",
    "TICKET_BYTES",
    "AuthenticateRequest",
    "AuthenticateResponse",
    "BandwidthResponse",
    "ClaimFreeBandwidth",
    "Credential",
    "EcashCredential",
    "EncryptedRequest",
    "EncryptedResponse",
    "ErrorResponse",
    "ForgetMe",
    "ForgetMeAck",
    "Handshake",
    "HandshakeError",
    "HandshakePayload",
    "LegacyAuthenticate",
    "LegacyCredential",
    "OutOfBandwidthResponse",
    "RegisterRequest",
    "RegisterResponse",
    "RememberMe",
    "RememberMeAck",
    "Request",
    "Response",
    "SendResponse",
    "SensitiveRequest",
    "SensitiveResponse",
    "SessionKey",
    "SessionType",
    "SupportedProtocolRequest",
    "SupportedProtocolResponse",
    "TicketReplayResponse",
    "UpgradeModeJwt",
    "derive_session_key",
    "is_ack",
    "make_pay_info",
    "open_credential",
    "open_forward",
    "open_frame",
    "open_pushed",
    "open_request",
    "open_response",
    "parse_handshake",
    "parse_request",
    "parse_response",
    "parse_sensitive_request",
    "parse_sensitive_response",
    "seal_credential",
    "seal_forward",
    "seal_frame",
    "seal_pushed",
    "seal_request",
    "seal_response",
]
