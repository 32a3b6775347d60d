"""How an exit client carries its streams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from nym_exit.chunking import PACKET_BYTES
from nym_exit.stream_options import StreamOptions
from nym_exit.surb_policy import SurbPolicy


@dataclass(frozen=True, slots=True)
class ExitOptions:
    """How streams are carried.

    Attributes:
        anonymous: answers over reply SURBs. False sends our own address along: the exit knows who we are.
        surbs: how many reply SURBs go with what.
        stream: limits of each stream.
        open_timeout_seconds: how long an exit may take to answer a connection request.
        query_timeout_seconds: how long it may take to answer a question about itself.
        max_streams: streams at a time; more are refused.
        probe: ask the exit once, in the background of the first connection, what program it is.
        lane_linger_seconds: how long packets of an ended stream may stay unacknowledged until they are
            dropped.
    """

    anonymous: bool = True
    surbs: SurbPolicy = field(default_factory=SurbPolicy)
    stream: StreamOptions = field(default_factory=StreamOptions)
    open_timeout_seconds: float = 30.0
    query_timeout_seconds: float = 30.0
    max_streams: int = 4096
    probe: bool = True
    lane_linger_seconds: float = 60.0


#: What may arrive beyond the bank after a reader has stopped: answers to requests for SURBs that were on their way.
_SURBS_ON_THEIR_WAY = 1000


def room_for_bank(options: ExitOptions) -> StreamOptions:
    """Limits of a stream such that what the exit can send with the SURBs it has fits a stopped reader's buffer."""
    stream = options.stream
    needed = stream.demand_limit_bytes + (options.surbs.bank_target + _SURBS_ON_THEIR_WAY) * PACKET_BYTES
    return replace(stream, receive_limit_bytes=max(stream.receive_limit_bytes, needed))
