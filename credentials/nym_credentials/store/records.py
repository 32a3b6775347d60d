"""What the ticket store keeps and hands out: books, tickets, totals (docs/protocol/10 §4).

A ticket is one index of one book. Its life is the table `TICKET_TRANSITIONS`: taken durably before its payment is
made, and usable again only if it is certain that no byte of a payment left this process (docs/protocol/10 §4.3).
Two payments with one index, even at one gateway, would show whoever has both the key of the user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final

from nym_credentials.purchase.states import PurchaseState
from zknym import CoinSignatureSet, DateSignatureSet, EpochKey, TicketBook, TicketType


class BookState(StrEnum):
    """What may happen with a book."""

    ACTIVE = "active"
    """Tickets are taken from it."""
    SUSPECT = "suspect"
    """Somebody else seems to spend it too: nothing is taken until the operator says so."""
    EXHAUSTED = "exhausted"
    """Given up as a whole, by the operator or after an old backup was restored."""
    EXPORTED = "exported"
    """Another program spends it now."""
    EXPIRED = "expired"
    """Worth nothing any more; its secrets are gone from the store."""


class BookSource(StrEnum):
    """Where a book came from."""

    BOUGHT = "bought"
    IMPORTED = "imported"


class TicketState(StrEnum):
    """Where one ticket is."""

    RESERVED = "reserved"
    """Drawn for one call, which has not got it yet: certainly nobody has made a payment of it."""
    TAKEN = "taken"
    """Handed out: a payment of it may have been sent."""
    ACCEPTED = "accepted"
    GIVEN_UP = "given_up"
    REVERTED = "reverted"


class Settlement(StrEnum):
    """What became of a taken ticket."""

    ACCEPTED = "accepted"
    """The gateway raised the allowance."""
    SPENT = "spent"
    """The gateway says that this ticket was spent before."""
    REFUSED = "refused"
    """The gateway saw the payment and refused it."""
    UNKNOWN = "unknown"
    """Sent, but no answer came."""
    CRASHED = "crashed"
    """The process ended while the ticket was in use."""
    UNSENT = "unsent"
    """No byte of it left this process: the only outcome after which it may be used again."""


TICKET_TRANSITIONS: Final[Mapping[tuple[TicketState, Settlement], TicketState]] = {
    (TicketState.RESERVED, Settlement.UNSENT): TicketState.REVERTED,
    (TicketState.TAKEN, Settlement.ACCEPTED): TicketState.ACCEPTED,
    (TicketState.TAKEN, Settlement.SPENT): TicketState.GIVEN_UP,
    (TicketState.TAKEN, Settlement.REFUSED): TicketState.GIVEN_UP,
    (TicketState.TAKEN, Settlement.UNKNOWN): TicketState.GIVEN_UP,
    (TicketState.TAKEN, Settlement.CRASHED): TicketState.GIVEN_UP,
    (TicketState.TAKEN, Settlement.UNSENT): TicketState.REVERTED,
}
"""Everything else is a mistake. A reverted ticket becomes RESERVED when it is the next to be drawn, and TAKEN when the
call that drew it hands it out."""

LATE_TRANSITIONS: Final[Mapping[Settlement, TicketState]] = {
    settlement: state
    for (before, settlement), state in TICKET_TRANSITIONS.items()
    if before is TicketState.TAKEN and settlement is not Settlement.CRASHED
}
"""A replica that was taken for dead, because its lease ran out, and was not: what it says of its ticket is true.
Nobody else has got that ticket meanwhile."""

SUSPECT_AFTER: Final = 2
"""So many fresh tickets of a book answered with "spent before" make it suspect: a copy of the store is at work.
One alone may be a gateway's lie, which shall not cost the whole book."""


class Restored(StrEnum):
    """What to do with a store that is older than it was, or a copy (docs/protocol/10 §9)."""

    REFUSE = "refuse"
    """Raise `BackupRestored`: the default."""
    EXHAUST = "exhaust"
    """Give all its books up, and hold back books of purchases under way."""
    TRUST = "trust"
    """The operator vouches: no ticket was spent since, and no copy is in use."""


@dataclass(frozen=True, slots=True)
class BookInfo:
    """A book without its secrets. Indices: tickets `first` … `end` - 1 are ours, `next` is the next fresh one."""

    book_id: int
    ticket_type: TicketType
    expiration: date
    epoch_id: int
    state: BookState
    source: BookSource
    first: int
    next: int
    end: int
    taken: int
    """Tickets in use at this moment, reserved ones included."""
    accepted: int
    given_up: int
    reverted: int
    """Tickets taken, never sent, and to be taken again."""
    added_unix: int
    purchase_id: str | None

    @property
    def total(self) -> int:
        """Tickets that the book had when it came."""
        return self.end - self.first

    @property
    def remaining(self) -> int:
        """Tickets that can still be taken, as long as the book has not expired."""
        return self.end - self.next + self.reverted if self.state is BookState.ACTIVE else 0

    def usable(self, today: date) -> int:
        """Tickets that can be taken on that UTC day."""
        return self.remaining if self.expiration >= today else 0


@dataclass(frozen=True, slots=True)
class TakenTicket:
    """One ticket that nobody else gets any more, with all that is needed to pay with it.

    Settle it exactly once, whatever happens. `book.spent_tickets` is the ticket's index.
    """

    book_id: int
    index: int
    ticket_type: TicketType
    expiration: date
    book: TicketBook = field(repr=False)
    claim: str = field(repr=False)
    """Of the call that took it: only with it the ticket can be settled."""
    master: EpochKey = field(repr=False)
    coin_signatures: CoinSignatureSet = field(repr=False)
    date_signatures: DateSignatureSet = field(repr=False)
    gateway: bytes | None = field(default=None, repr=False)
    """The account it is meant for: identity of the gateway, 32 bytes, perhaps followed by the client's."""


@dataclass(frozen=True, slots=True)
class TicketTotals:
    """Counts over the whole life of the store, of tickets that were taken at least once."""

    by_state: Mapping[TicketState, int]
    by_settlement: Mapping[Settlement, int]

    @property
    def in_use(self) -> int:
        """Taken and not settled yet."""
        return self.by_state.get(TicketState.TAKEN, 0)

    @property
    def accepted(self) -> int:
        """Credited by a gateway."""
        return self.by_state.get(TicketState.ACCEPTED, 0)

    @property
    def given_up(self) -> int:
        """Lost: paid for, never credited as far as we know."""
        return self.by_state.get(TicketState.GIVEN_UP, 0)


@dataclass(frozen=True, slots=True)
class TicketEntry:
    """One line of the ledger of tickets: an index of a book that was drawn at least once."""

    book_id: int
    index: int
    state: TicketState
    settlement: Settlement | None
    attempts: int
    """How often it was drawn: more than once only if it was never sent before."""
    taken_unix: int
    settled_unix: int | None
    gateway: bytes | None = field(default=None, repr=False)
    """Keyed hash of the account that it was meant for: it tells accounts apart, and nothing else."""


@dataclass(frozen=True, slots=True)
class Spending:
    """What one purchase costs or has cost: a line of the ledger of money. Amounts in base units of `denom`."""

    purchase_id: str
    network: str
    account: str
    ticket_type: TicketType
    state: PurchaseState
    """`state.may_be_paid` and `state.paid` say what it counts for; SIGNED may still become a payment."""
    price: int
    fee: int
    """Of the signed transaction; 0 before."""
    denom: str
    tx_hash: str | None
    height: int | None
    deposit_id: int | None
    begun_unix: int
    paid_unix: int | None
    """When the deposit was first seen on the chain."""
    changed_unix: int


@dataclass(frozen=True, slots=True)
class Replica:
    """A process that has a lease on a shared store."""

    session: str
    name: str
    joined_unix: int
    lease_seconds: float
    """Left; negative if it ran out."""


@dataclass(frozen=True, slots=True)
class GatewayAccount:
    """What is remembered of a gateway; the store knows it by a keyed hash only."""

    allowance: int | None = None
    """Bytes, as last stated; negative after a revoked ticket."""
    accepted: int = 0
    refusals: int = 0
    """Tickets lost there since the last accepted one."""
    paused_until_unix: int = 0
    changed_unix: int = 0


POINTS: Final = (
    "open:begun",
    "open:committed",
    "take:begun",
    "take:reserved",
    "take:confirming",
    "take:committed",
    "take:witnessed",
    "settle:begun",
    "settle:committed",
    "finish:begun",
    "finish:committed",
    "import:begun",
    "import:committed",
    "export:begun",
    "export:committed",
    "move:noted",
    "move:committed",
    "copy:closed",
    "copy:begun",
    "copy:committed",
)
"""Where a process can die in the middle of money, in the words of the hook `at` of the store.

"begun": inside the transaction; "committed": after it; "witnessed": the witness file knows of it too. A ticket is
taken in two: "reserved" is after the first, "confirming" inside the second.
"""
