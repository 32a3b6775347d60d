"""What a client is told, what it counts and what it receives."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from nym_sphinx import V259, Recipient

from .pending import ACK_WAIT_ADDITION_SECONDS, ACK_WAIT_MULTIPLIER

# At 36 % loss (one fifth each way) 25 attempts fail once in 10^11 packets; a dead recipient is reported after
# about 25 × 1.6 s.
RETRANSMISSION_LIMIT = 25


ACK_SECONDS_BOUNDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Upper bounds of the ranges that acks are counted in."""


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """Behaviour of a client beyond its traffic profile; defaults as docs/protocol/04 §1 unless said."""

    version: int = V259
    retransmission_limit: int = RETRANSMISSION_LIMIT  # the reference has none and never gives up
    ack_wait_multiplier: float = ACK_WAIT_MULTIPLIER
    ack_wait_addition_seconds: float = ACK_WAIT_ADDITION_SECONDS
    use_cover_slots_for_data: bool = False  # loop cover slots carry data while there is any


@dataclass(slots=True)
class ClientStats:
    """Counters since start. `acks_received` counts acks of our own packets, cover included."""

    sent_real: int = 0
    sent_cover: int = 0
    sent_retransmissions: int = 0
    sent_surb_supply: int = 0
    acks_received: int = 0
    cover_acks_received: int = 0
    frames_received: int = 0
    replies_received: int = 0
    cover_received: int = 0
    messages_received: int = 0
    surbs_made: int = 0
    surbs_received: int = 0
    packets_lost: int = 0
    undecodable: int = 0
    unknown_lengths: int = 0
    empty_slots: int = 0
    ack_seconds_smoothed: float = 0.0
    ack_seconds_sum: float = 0.0
    ack_seconds_counts: list[int] = field(default_factory=lambda: [0] * (len(ACK_SECONDS_BOUNDS) + 1))
    """Acks of packets with data by the time they took: range by range, the last one for all beyond the bounds."""

    def acked_after(self, seconds: float) -> None:
        """An ack of a packet with data came that long after it left."""
        smoothed = self.ack_seconds_smoothed
        self.ack_seconds_smoothed = smoothed + (seconds - smoothed) / 16 if smoothed else seconds
        self.ack_seconds_sum += seconds
        self.ack_seconds_counts[bisect_left(ACK_SECONDS_BOUNDS, seconds)] += 1


@dataclass(frozen=True, slots=True)
class ReceivedMessage:
    """A whole message. `sender_tag`: whom `reply` can answer; `via`: for a reply, whom its SURB was given to."""

    data: bytes = field(repr=False)
    sender_tag: bytes | None = field(default=None, repr=False)
    via: Recipient | None = field(default=None, repr=False)
