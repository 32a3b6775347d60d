"""What can keep a book from being bought, and the state of the supply that follows, as tables. Pure.

::

    OK ──tickets run low and none can be bought──► DEGRADED ──the last one is gone──► EXHAUSTED
     ▲◄─────────enough tickets again, or nothing hinders any more──────┘◄──a ticket again───┘

Running out is a state, not a crash: the loop goes on in each of them, and recovers by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Supply(StrEnum):
    """How it stands with tickets."""

    OK = "ok"
    DEGRADED = "degraded"
    """Tickets are left, fewer than there should be, and no book can be bought."""
    EXHAUSTED = "exhausted"
    """No ticket is left: gateways are not paid, new streams are refused."""


class SupplyEvent(StrEnum):
    """What was found at a look at the stock."""

    FINE = "fine"
    """Tickets are left, and there are enough or a purchase is on its way without trouble."""
    HINDERED = "hindered"
    """Tickets are left, a purchase is due, and something is in its way."""
    GONE = "gone"
    """No ticket is left."""


TRANSITIONS: Final[Mapping[tuple[Supply, SupplyEvent], Supply]] = {
    (Supply.OK, SupplyEvent.FINE): Supply.OK,
    (Supply.OK, SupplyEvent.HINDERED): Supply.DEGRADED,
    (Supply.OK, SupplyEvent.GONE): Supply.EXHAUSTED,
    (Supply.DEGRADED, SupplyEvent.FINE): Supply.OK,
    (Supply.DEGRADED, SupplyEvent.HINDERED): Supply.DEGRADED,
    (Supply.DEGRADED, SupplyEvent.GONE): Supply.EXHAUSTED,
    (Supply.EXHAUSTED, SupplyEvent.FINE): Supply.OK,
    (Supply.EXHAUSTED, SupplyEvent.HINDERED): Supply.DEGRADED,
    (Supply.EXHAUSTED, SupplyEvent.GONE): Supply.EXHAUSTED,
}


class Hindrance(StrEnum):
    """Why no book is bought. The values are identifiers for logs, metrics and documentation."""

    DAY_CAP = "E_BUDGET_DAY"
    MONTH_CAP = "E_BUDGET_MONTH"
    DEPOSIT_CAP = "E_BUDGET_DEPOSIT"
    PRICE = "E_BUDGET_PRICE"
    RESERVE = "E_BUDGET_RESERVE"
    FUNDS = "E_WALLET_FUNDS"
    WALLET = "E_WALLET"
    CHAIN = "E_CHAIN"
    UNCONFIRMED = "E_PAYMENT_UNCONFIRMED"
    SIGNERS = "E_SIGNERS"
    STORE = "E_STORE"
    ELSEWHERE = "E_BOUGHT_ELSEWHERE"
    INTERNAL = "E_INTERNAL"


@dataclass(frozen=True, slots=True)
class Words:
    """A hindrance for people. ``layer`` is one of those that failures are named by everywhere."""

    layer: str
    happened: str
    to_do: str


WORDS: Final[Mapping[Hindrance, Words]] = {
    Hindrance.DAY_CAP: Words(
        "wallet",
        "The budget of this UTC day does not cover a ticketbook.",
        "Raise budget.per_day, or wait for 00:00 UTC.",
    ),
    Hindrance.MONTH_CAP: Words(
        "wallet",
        "The budget of this month does not cover a ticketbook.",
        "Raise budget.per_month, or wait for the first, 00:00 UTC.",
    ),
    Hindrance.DEPOSIT_CAP: Words(
        "wallet", "A ticketbook costs more than one deposit may.", "Raise budget.per_deposit, or wait."
    ),
    Hindrance.PRICE: Words(
        "wallet", "A ticketbook costs more than it may.", "Raise budget.max_price, or wait for a lower price."
    ),
    Hindrance.RESERVE: Words(
        "wallet",
        "Buying would leave less in the account than has to stay there.",
        "Send NYM to the account, or lower budget.reserve.",
    ),
    Hindrance.FUNDS: Words("wallet", "The account cannot pay for a ticketbook.", "Send NYM to the account."),
    Hindrance.WALLET: Words("wallet", "The account cannot be used.", "See what it says about the phrase."),
    Hindrance.CHAIN: Words(
        "chain", "The chain does not answer as it should.", "It is asked again by itself."
    ),
    Hindrance.UNCONFIRMED: Words(
        "chain", "A payment was sent and is not confirmed yet.", "It is looked for; nothing is paid twice."
    ),
    Hindrance.SIGNERS: Words(
        "signers",
        "Too few of the signers that issue ticketbooks are well.",
        "They are asked again by themselves.",
    ),
    Hindrance.STORE: Words("tickets", "The ticket store cannot be used.", "See what it says, and repair it."),
    Hindrance.ELSEWHERE: Words(
        "tickets", "Another process buys for this store.", "Nothing is to be done: its books are shared."
    ),
    Hindrance.INTERNAL: Words(
        "tickets",
        "Topping up failed in an unforeseen way.",
        "It is tried again; please report what the log says.",
    ),
}


def next_supply(state: Supply, event: SupplyEvent) -> Supply:
    """The state after a look at the stock."""
    return TRANSITIONS[state, event]
