"""What a node did with the packets it got, by kind, and the faults that a test may switch on.

Plain mutable objects: the hot path adds one to an attribute and reads two flags per packet.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass


@dataclass(slots=True)
class MixCounters:
    """Counts since the node started. A packet received is forwarded, final or dropped; the rest still
    waits.
    """

    received: int = 0
    received_data: int = 0
    received_acks: int = 0
    forwarded: int = 0
    """handed to the link of their next hop (at a gateway also the packets of its clients and released acks)
    """
    final: int = 0
    dropped_lost: int = 0
    """thrown away on purpose, by the fault knob"""
    dropped_replayed: int = 0
    dropped_malformed: int = 0
    """header or payload that does not authenticate, unknown routing flag, impossible next address"""
    dropped_expired_key: int = 0
    dropped_no_route: int = 0
    """next hop that is not an address of this network"""
    dropped_queue_full: int = 0
    dropped_unreachable: int = 0
    """queued for a next hop that could not be connected to, or when the node stopped"""
    dropped_unsupported: int = 0
    """a packet type other than Sphinx"""
    connections_in: int = 0
    connections_corrupted: int = 0
    """incoming connections closed because their framing could not be understood"""

    def as_dict(self) -> dict[str, int]:
        """Name to count."""
        return dataclasses.asdict(self)


@dataclass(slots=True)
class GatewayCounters:
    """What a gateway did for its clients."""

    sessions: int = 0
    refused_sessions: int = 0
    packets_from_clients: int = 0
    refused_packets: int = 0
    out_of_bandwidth: int = 0
    pushed_messages: int = 0
    pushed_acks: int = 0
    stored: int = 0
    """payloads kept for clients that were not connected"""
    stored_refused: int = 0
    """payloads dropped because the store of that client was full; their senders will repeat them"""
    returned_to_store: int = 0
    """payloads that a broken connection had not taken yet"""
    acks_released: int = 0
    unknown_clients: int = 0
    charged_bytes: int = 0
    """taken from allowances for packets"""
    tickets: int = 0
    """tickets that were taken"""
    tickets_refused: int = 0
    granted_bytes: int = 0
    """given for tickets"""
    revoked_bytes: int = 0
    """taken back because signers rejected tickets"""
    tickets_verified: int = 0
    """tickets that enough signers found good"""
    tickets_rejected: int = 0

    def as_dict(self) -> dict[str, int]:
        """Name to count."""
        return dataclasses.asdict(self)


@dataclass(slots=True)
class ExitCounters:
    """What an exit did for its clients."""

    messages: int = 0
    malformed: int = 0
    connects: int = 0
    connected: int = 0
    refused_by_policy: int = 0
    failed_connects: int = 0
    queries: int = 0
    controls: int = 0
    bytes_to_targets: int = 0
    bytes_from_targets: int = 0
    ended_by_gap: int = 0
    ended_by_silence: int = 0
    ended_by_lost_packet: int = 0

    def as_dict(self) -> dict[str, int]:
        """Name to count."""
        return dataclasses.asdict(self)


@dataclass(slots=True)
class Faults:
    """Trouble on demand. All off by default."""

    loss: float = 0.0
    """probability 0..1 that a received packet is thrown away"""
    stall: bool = False
    """stops reading and answering, keeps every connection open"""
    extra_delay_seconds: float = 0.0
    """added to each packet's own delay"""
    refuse: bool = False
    """exits only: every Connect is answered with a refusal"""
    clock_offset_seconds: float = 0.0
    """gateways only, here and below: the clock is ahead by so much"""
    refuse_tickets: bool = False
    """every ticket is refused, and not put on record"""
    lose_ticket_answers: bool = False
    """tickets are taken, put on record and credited, and the connection is cut instead of an answer"""
    charge_factor: float = 1.0
    """a packet costs so many times its length"""
