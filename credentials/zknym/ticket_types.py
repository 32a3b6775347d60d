"""What a ticket buys (docs/protocol/07 §1)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from zknym.errors import UnknownTicketType


class TicketType(IntEnum):
    """The four kinds of ticketbook; the value is the code inside of signatures and payments."""

    MIXNET_ENTRY = 0
    MIXNET_EXIT = 1
    WIREGUARD_ENTRY = 2
    WIREGUARD_EXIT = 3

    @property
    def label(self) -> str:
        """The name in JSON, databases and on command lines."""
        return _LABELS[self]

    @property
    def bytes_per_ticket(self) -> int:
        """Bytes of bandwidth that one ticket buys (SI units)."""
        return _BYTES_PER_TICKET[self]

    @classmethod
    def from_code(cls, code: int) -> TicketType:
        """The type with that code. Raises `UnknownTicketType`."""
        try:
            return cls(code)
        except ValueError as error:
            raise UnknownTicketType(f"{code} is no ticket type: 0 to 3 are known") from error

    @classmethod
    def from_label(cls, label: str) -> TicketType:
        """The type with that name. Raises `UnknownTicketType`."""
        for ticket_type, known in _LABELS.items():
            if label == known:
                return ticket_type
        raise UnknownTicketType(f"no such ticket type; known are {', '.join(_LABELS.values())}")


_LABELS: Final = {
    TicketType.MIXNET_ENTRY: "v1-mixnet-entry",
    TicketType.MIXNET_EXIT: "v1-mixnet-exit",
    TicketType.WIREGUARD_ENTRY: "v1-wireguard-entry",
    TicketType.WIREGUARD_EXIT: "v1-wireguard-exit",
}
_BYTES_PER_TICKET: Final = {
    TicketType.MIXNET_ENTRY: 200_000_000,
    TicketType.MIXNET_EXIT: 100_000_000,
    TicketType.WIREGUARD_ENTRY: 500_000_000,
    TicketType.WIREGUARD_EXIT: 500_000_000,
}
