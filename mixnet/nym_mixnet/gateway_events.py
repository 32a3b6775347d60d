"""What happens in a gateway session, as `gateway_session` tells it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from nym_mixnet.errors import GatewayError
from nym_mixnet.gateway_frames import SensitiveResponse
from nym_mixnet.session_key import SessionKey
from nym_mixnet.tickets import TicketOutcome


@dataclass(frozen=True, slots=True)
class AuthenticationStarted:
    """This timestamp (Unix seconds) is about to be used: store it first."""

    timestamp: int


@dataclass(frozen=True, slots=True)
class Registered:
    """A shared key was agreed: store it."""

    session_key: SessionKey


@dataclass(frozen=True, slots=True)
class Ready:
    """Packets can be sent. `remaining`: the allowance in bytes, None after a registration (unknown)."""

    remaining: int | None
    upgrade_mode: bool
    protocol_version: int


@dataclass(frozen=True, slots=True)
class PushedMessage:
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class PushedAck:
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class BandwidthChanged:
    """The allowance in bytes as the gateway has just stated it; negative after a revoked ticket."""

    remaining: int
    upgrade_mode: bool


@dataclass(frozen=True, slots=True)
class OutOfBandwidthEvent:
    """A packet was dropped: the allowance does not cover it."""

    required: int
    available: int


@dataclass(frozen=True, slots=True)
class ClaimAnswered:
    """The answer to the running claim. `available_total` only if accepted; `reason` only if not."""

    outcome: TicketOutcome
    available_total: int | None = None
    upgrade_mode: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SensitiveAnswered:
    """The answer to an encrypted request."""

    response: SensitiveResponse


@dataclass(frozen=True, slots=True)
class Refused:
    """The gateway refused something that belongs to no claim, usually a packet. The session goes on."""

    reason: str


@dataclass(frozen=True, slots=True)
class Garbage:
    """Something unreadable or out of place arrived and was ignored. `kind` is one of a few fixed words."""

    kind: Literal["text", "binary", "undecryptable", "unexpected"]
    detail: str


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; the connection is of no use any more."""

    error: GatewayError


Event = (
    AuthenticationStarted
    | Registered
    | Ready
    | PushedMessage
    | PushedAck
    | BandwidthChanged
    | OutOfBandwidthEvent
    | ClaimAnswered
    | SensitiveAnswered
    | Refused
    | Garbage
    | Closed
)
