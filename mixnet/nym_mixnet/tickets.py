"""Where tickets come from, as the gateway link sees it (docs/protocol/03 §9.4).

The link knows nothing of wallets: it asks a `TicketSource` for one prepared ticket at a time, sends it, and
says what became of it. Every prepared ticket is settled exactly once.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol


class TicketOutcome(StrEnum):
    """What became of a prepared ticket."""

    ACCEPTED = "accepted"
    """The gateway raised the allowance."""
    NEVER_SENT = "never_sent"
    """Not one byte of it left: as good as new."""
    REFUSED_UNSPENT = "refused_unspent"
    """Refused before the gateway stored it, by its own account. It has seen the payment all the same."""
    SPENT = "spent"
    """The gateway says that it was spent before: it must not be used again."""
    UNKNOWN = "unknown"
    """Sent, but no answer came: count it as spent."""


class PreparedTicket(Protocol):
    """One ticket made out to one gateway, valid for ±30 s around its making."""

    @property
    def credential(self) -> bytes:
        """`gateway_frames.Credential.encode()`: payment, pay info, date and epoch."""
        ...

    async def settle(self, outcome: TicketOutcome, available_total: int | None, reason: str) -> None:
        """Record the outcome durably.

        `available_total`: the allowance in bytes after an accepted ticket. `reason`: what the gateway said when it
        refused, else empty.
        """
        ...


class TicketSource(Protocol):
    """Hands out tickets one at a time."""

    async def prepare(self, gateway_identity: bytes) -> PreparedTicket:
        """Make out one ticket for that gateway (32-byte identity). Raises `NoTickets`."""
        ...
