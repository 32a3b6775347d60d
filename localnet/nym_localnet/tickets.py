"""Where the check of an e-cash ticket plugs into a gateway (docs/protocol/03 §9.4).

The gateway opens the sealed credential, asks the verifier, and credits what it grants. Without a verifier
that knows the network's keys no ticket is good.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from nym_localnet.errors import TicketRefused

NOT_VERIFIED: Final = "the provided ticket failed to get verified"
ALREADY_SPENT: Final = "the provided bandwidth credential has already been spent before at this gateway"


@dataclass(frozen=True, slots=True)
class TicketContext:
    """What the gateway knows that the credential does not say."""

    gateway_identity: bytes
    now_unix: float
    spend: Callable[[bytes], Awaitable[bool]]
    """records a serial number at this gateway; False when it was there already"""
    client: bytes = b""
    """the identity of who pays"""


class TicketVerifier(Protocol):
    """Decides about one ticket."""

    async def verify(self, credential: bytes, context: TicketContext) -> int:
        """Bytes granted for the credential (the opened plaintext); `TicketRefused` otherwise."""
        ...


class RefuseAllTickets:
    """The verifier of a network without e-cash."""

    async def verify(self, credential: bytes, context: TicketContext) -> int:
        """Always `TicketRefused`."""
        raise TicketRefused(NOT_VERIFIED)
