"""What a gateway link tells about itself, and how patient it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from nym_mixnet.gateway_wire import REFILL_THRESHOLD_BYTES


class LinkState(StrEnum):
    """READY is the only state in which packets are taken."""

    CONNECTING = "connecting"
    READY = "ready"
    OUT_OF_BANDWIDTH = "out_of_bandwidth"
    """Connected, but the allowance is used up; goes on by itself once there is more."""
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Times in seconds. The defaults suit the real network; tests make them short."""

    backoff_first_seconds: float = 0.5
    backoff_limit_seconds: float = 30.0
    duplicate_wait_seconds: float = 2.0
    """At least so long is waited while the gateway finds out that our last connection is dead (1-2 s)."""
    settled_seconds: float = 10.0
    """A session that lived so long counts as a success: the next back-off starts anew."""
    connect_timeout_seconds: float = 10.0
    answer_timeout_seconds: float = 10.0
    """Longest silence while a session is being set up."""
    heartbeat_seconds: float = 15.0
    """A ping after so much silence; without a sign of life for half as long again the connection is dead."""
    close_timeout_seconds: float = 1.0
    claim_threshold_bytes: int = REFILL_THRESHOLD_BYTES
    claim_timeout_seconds: float = 60.0
    last_claim_seconds: float = 3.0
    """Longest wait for the answer to a running claim when the link is closed."""
    claim_retry_first_seconds: float = 5.0
    claim_retry_limit_seconds: float = 600.0
    settle_timeout_seconds: float = 10.0
    """Longest wait for the ticket store when the link is closed."""
    allowance_save_seconds: float = 10.0


@dataclass(slots=True)
class LinkStats:
    """Counters of one link since it was made; bytes and packets."""

    sessions: int = 0
    reconnects: int = 0
    remaining_bandwidth: int | None = None
    upgrade_mode: bool = False
    packets_sent: int = 0
    bytes_charged: int = 0
    frames_received: int = 0
    packets_refused: int = 0
    claims: int = 0
    """Claims that raised the allowance."""
    bytes_claimed: int = 0
    """By how much they raised it, what was used meanwhile not counted."""
    claims_failed: int = 0
    claiming: bool = False
    """Whether a claim is under way: how it stands is open until that has ended."""
    last_error: str | None = None
    """What is wrong at the moment, without secrets; None while all is well."""
    failures: dict[str, int] = field(default_factory=dict)
    """How often a session ended or could not be had, by kind of error."""
    garbage: dict[str, int] = field(default_factory=dict)
    """Ignored frames, by kind."""
    url: str | None = None
    """Where the running session is connected to."""
