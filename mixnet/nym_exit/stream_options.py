"""The numbers of a byte stream over the mixnet, each with where it comes from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Time limits in seconds, sizes in bytes or packets.

    Attributes:
        gap_limit_seconds: how long later messages wait behind a missing one without any progress before the
            stream ends. A packet is retransmitted about every 1.6 s, so this is ten tries: at a loss of one
            in five a 50 MB download then breaks once in 400 times (with 12 s, eight tries, once in 15).
            What has not come by then was acknowledged and lost, and never comes (docs/protocol/03 §10).
        keepalive_seconds: an empty message goes out after so long without another (docs/protocol/05 §3.5).
        idle_limit_seconds: the stream ends when nothing at all came for so long. Keep-alives count, other
            than in the reference, which cuts a busy one-way transfer after this time.
        silence_limit_seconds: the same at the end that opened the stream: an exit, the reference's too, sends a
            keep-alive every 60 s whatever its target does (docs/protocol/05 §3.5), so two and a half missed ones
            mean that it has stalled. Time without a link does not count; at the reference's exit neither does time
            in which we hold reply SURBs back, for its keep-alives wait for SURBs like all it says.
        overdue_seconds: after so long a silence the end that opened the stream sends a keep-alive at once, with
            reply SURBs, whatever is believed to be in stock: what the exit says next cannot be waiting for them.
        eof_hold_seconds: towards a peer that takes our end-of-data for the end of the connection, it is
            held back until the peer closes or has been quiet for so long (docs/protocol/05 §3.5).
        late_close_seconds: a closing message that nobody waits for leaves so much later, out of the way of
            packets that matter; the reference closes after the same time.
        linger_seconds: a peer without half-close that has closed drops its side after about 5 s (§3.5);
            the local side may write so long and is then cut off.
        close_wait_seconds: how long a peer without half-close may take to close after our closing message
            (it needs 3 s and the way back); also how long an own close may go without progress.
        receive_limit_bytes: bytes that may wait for the local reader or behind a gap. The protocol cannot
            slow the sender down, so beyond this the stream ends with an error.
        demand_limit_bytes: with more than this waiting, the stream stops asking for reply SURBs.
        window_messages: messages sent and not yet acknowledged, counted from the oldest. The other side
            refuses what is more than 1000 ahead of what it has in order (§3.3).
        lane_gate_packets: nothing new is queued while more packets of this stream wait for a slot.
        partial_gate_packets: a message that does not fill ``max_chunk_packets`` is queued only when no more
            than so many packets wait: until then, later bytes may still join it at no delay.
        max_chunk_packets: largest message.
        write_high_water_bytes: unsent bytes at which the local writer is asked to pause.
        write_low_water_bytes: unsent bytes at which it may go on.
    """

    gap_limit_seconds: float = 15.0
    keepalive_seconds: float = 60.0
    idle_limit_seconds: float = 300.0
    silence_limit_seconds: float = 150.0
    overdue_seconds: float = 90.0
    eof_hold_seconds: float = 30.0
    late_close_seconds: float = 3.0
    linger_seconds: float = 5.0
    close_wait_seconds: float = 30.0
    receive_limit_bytes: int = 16 * 1024 * 1024
    demand_limit_bytes: int = 1024 * 1024
    window_messages: int = 500
    lane_gate_packets: int = 30
    partial_gate_packets: int = 3
    max_chunk_packets: int = 10
    write_high_water_bytes: int = 128 * 1024
    write_low_water_bytes: int = 48 * 1024
