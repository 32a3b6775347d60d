"""Text messages from a gateway to its client (docs/protocol/03 §6.2; vectors: ``json``).

Amounts of bandwidth are signed: a revoked ticket leaves a negative balance (§9.1). One `SendResponse` comes
back per forwarded packet, so that one has a fast path past the JSON parser.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nym_mixnet.errors import MalformedGatewayMessage
from nym_mixnet.wire_json import Fields, JsonFaultError, compact, load_json

# 18 digits always fit the signed 64-bit integer that the slow path checks for
_SEND = re.compile(
    r'\{"type":"send","remaining_bandwidth":(0|-?[1-9][0-9]{0,17}),"upgrade_mode":(true|false)\}'
)


@dataclass(frozen=True, slots=True)
class AuthenticateResponse:
    """Answer to `authenticateV2`. A missing version reads as 0."""

    protocol_version: int
    status: bool
    bandwidth_remaining: int
    upgrade_mode: bool = False

    def encode(self) -> str:
        return compact(
            {
                "type": "authenticate",
                "protocol_version": self.protocol_version,
                "status": self.status,
                "bandwidth_remaining": self.bandwidth_remaining,
                "upgrade_mode": self.upgrade_mode,
            }
        )


@dataclass(frozen=True, slots=True)
class RegisterResponse:
    """The registration is complete and this connection is authenticated."""

    protocol_version: int
    status: bool
    upgrade_mode: bool = False

    def encode(self) -> str:
        return compact(
            {
                "type": "register",
                "protocol_version": self.protocol_version,
                "status": self.status,
                "upgrade_mode": self.upgrade_mode,
            }
        )


@dataclass(frozen=True, slots=True)
class BandwidthResponse:
    """Answer to a claim: the new total, not the increment."""

    available_total: int
    upgrade_mode: bool = False

    def encode(self) -> str:
        return compact(
            {
                "type": "bandwidth",
                "available_total": self.available_total,
                "upgrade_mode": self.upgrade_mode,
            }
        )


@dataclass(frozen=True, slots=True)
class SendResponse:
    """One packet was accepted."""

    remaining_bandwidth: int
    upgrade_mode: bool = False

    def encode(self) -> str:
        mode = "true" if self.upgrade_mode else "false"
        return f'{{"type":"send","remaining_bandwidth":{self.remaining_bandwidth},"upgrade_mode":{mode}}}'


@dataclass(frozen=True, slots=True)
class SupportedProtocolResponse:
    version: int

    def encode(self) -> str:
        return compact({"type": "supportedProtocol", "version": self.version})


@dataclass(frozen=True, slots=True)
class EncryptedResponse:
    """A sealed answer to an encrypted request (§6.3)."""

    ciphertext: bytes
    nonce: bytes

    def encode(self) -> str:
        return compact(
            {"type": "encryptedResponse", "ciphertext": list(self.ciphertext), "nonce": list(self.nonce)}
        )


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """A refusal with nothing but a text (§8)."""

    message: str

    def encode(self) -> str:
        return compact({"type": "error", "message": self.message})


@dataclass(frozen=True, slots=True)
class OutOfBandwidthResponse:
    """A packet was dropped because the allowance does not cover it."""

    required: int
    available: int

    def encode(self) -> str:
        amounts = {"required": self.required, "available": self.available}
        return compact({"type": "typedError", "error": {"out_of_bandwidth": amounts}})


@dataclass(frozen=True, slots=True)
class TicketReplayResponse:
    """The ticket was spent before. Current gateways say so with an `ErrorResponse` instead (§9.4)."""

    def encode(self) -> str:
        return '{"type":"typedError","error":"ticket_replay"}'


Response = (
    AuthenticateResponse
    | RegisterResponse
    | BandwidthResponse
    | SendResponse
    | SupportedProtocolResponse
    | EncryptedResponse
    | ErrorResponse
    | OutOfBandwidthResponse
    | TicketReplayResponse
)


def _typed_error(fields: Fields) -> OutOfBandwidthResponse | TicketReplayResponse:
    error = fields.raw("error")
    if error == "ticket_replay" or error == {"ticket_replay": None}:
        return TicketReplayResponse()
    if isinstance(error, dict) and list(error) == ["out_of_bandwidth"]:
        amounts = fields.object("error").object("out_of_bandwidth")
        return OutOfBandwidthResponse(amounts.i64("required"), amounts.i64("available"))
    raise JsonFaultError(fields.at("error"), "unknown error")


def _read(fields: Fields, tag: str) -> Response:
    match tag:
        case "send":
            return SendResponse(fields.i64("remaining_bandwidth"), fields.flag("upgrade_mode", False))
        case "bandwidth":
            return BandwidthResponse(fields.i64("available_total"), fields.flag("upgrade_mode", False))
        case "authenticate":
            return AuthenticateResponse(
                fields.u8("protocol_version", 0),
                fields.flag("status"),
                fields.i64("bandwidth_remaining"),
                fields.flag("upgrade_mode", False),
            )
        case "register":
            return RegisterResponse(
                fields.u8("protocol_version", 0), fields.flag("status"), fields.flag("upgrade_mode", False)
            )
        case "supportedProtocol":
            return SupportedProtocolResponse(fields.u8("version"))
        case "encryptedResponse":
            return EncryptedResponse(fields.byte_array("ciphertext"), fields.byte_array("nonce"))
        case "error":
            return ErrorResponse(fields.text("message"))
        case "typedError":
            return _typed_error(fields)
        case _:
            raise JsonFaultError("type", f"unknown variant `{tag[:60]}`")


def parse_response(text: str) -> Response:
    """Read a gateway's text frame. `MalformedGatewayMessage` names what is wrong."""
    match = _SEND.fullmatch(text)
    if match is not None:
        return SendResponse(int(match[1]), match[2] == "true")
    try:
        fields = Fields(load_json(text))
        return _read(fields, fields.text("type"))
    except JsonFaultError as fault:
        raise MalformedGatewayMessage(str(fault)) from None
