"""The account book: every deposit, book and ticket as plain lines, for people, spreadsheets and checks. Pure.

Lines hold no secrets. They do tell when money moved and tickets went: an export deserves the care of a bank statement.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Final

from nym_credentials.money import format_nym
from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.store.records import BookInfo, BookSource, BookState, Settlement, TicketState

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_SETTLED: Final[Mapping[TicketState, str]] = {
    TicketState.ACCEPTED: "accepted",
    TicketState.GIVEN_UP: "given_up",
    TicketState.REVERTED: "reverted",
}
"""Every other state is a way of being in use."""


@dataclass(frozen=True, slots=True)
class DepositLine:
    """One purchase: money on its way to a book."""

    purchase_id: str
    begun_unix: int
    state: PurchaseState
    ticket_type: str
    network: str
    account: str
    price_unym: int
    fee_unym: int | None
    """None before it was signed."""
    tx_hash: str
    deposit_id: int | None
    height: int | None
    problem: str

    @classmethod
    def of(cls, purchase: Purchase) -> DepositLine:
        """Without its secrets."""
        payment, deposit = purchase.payment, purchase.deposit
        return cls(
            purchase_id=str(purchase.id),
            begun_unix=purchase.created_unix,
            state=purchase.state,
            ticket_type=purchase.ticket_type.label,
            network=purchase.network,
            account=purchase.account,
            price_unym=purchase.price,
            fee_unym=payment.fee if payment is not None else None,
            tx_hash=payment.tx_hash if payment is not None else "",
            deposit_id=deposit.deposit_id if deposit is not None else None,
            height=deposit.height if deposit is not None else None,
            problem=purchase.problem,
        )


@dataclass(frozen=True, slots=True)
class BookLine:
    """One book, by what became of its tickets."""

    book_id: int
    purchase_id: str
    """Empty if it was imported."""
    source: BookSource
    ticket_type: str
    added_unix: int
    expiration: str
    """The last UTC day, YYYY-MM-DD."""
    state: BookState
    tickets: int
    fresh: int
    """Never taken."""
    in_use: int
    accepted: int
    given_up: int
    reverted: int

    @classmethod
    def of(cls, book: BookInfo) -> BookLine:
        """Of a stored book."""
        return cls(
            book_id=book.book_id,
            purchase_id=book.purchase_id or "",
            source=book.source,
            ticket_type=book.ticket_type.label,
            added_unix=book.added_unix,
            expiration=book.expiration.isoformat(),
            state=book.state,
            tickets=book.total,
            fresh=book.end - book.next,
            in_use=book.taken,
            accepted=book.accepted,
            given_up=book.given_up,
            reverted=book.reverted,
        )


@dataclass(frozen=True, slots=True)
class TicketLine:
    """One ticket that was taken at least once. Which gateway it went to is not told."""

    book_id: int
    index: int
    state: TicketState
    settlement: Settlement | None
    taken_unix: int
    settled_unix: int | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a ledger."""

    deposits: int
    """Paid for certain."""
    paid_unym: int
    fees_unym: int
    """Of what was signed and sent, as far as is known."""
    open_unym: int
    """May be paid: sent, and not seen on the chain yet."""
    books: int
    tickets: int
    accepted: int
    given_up: int
    expired: int
    """Died unused."""

    @property
    def unym_per_accepted(self) -> float | None:
        """What a ticket that a gateway credited came to, all waste included."""
        return (self.paid_unym + self.fees_unym) / self.accepted if self.accepted else None


@dataclass(frozen=True, slots=True)
class Ledger:
    """Everything that was bought and used, as the store has it."""

    deposits: tuple[DepositLine, ...] = ()
    books: tuple[BookLine, ...] = ()
    tickets: tuple[TicketLine, ...] = ()

    @classmethod
    def of(
        cls, purchases: Sequence[Purchase], books: Sequence[BookInfo], tickets: Sequence[TicketLine] = ()
    ) -> Ledger:
        """In the order of time."""
        return cls(
            tuple(
                sorted(map(DepositLine.of, purchases), key=lambda line: (line.begun_unix, line.purchase_id))
            ),
            tuple(sorted(map(BookLine.of, books), key=lambda line: line.book_id)),
            tuple(sorted(tickets, key=lambda line: (line.book_id, line.index))),
        )

    def totals(self) -> Totals:
        """Sums."""
        paid = [line for line in self.deposits if line.state.paid]
        unsure = [line for line in self.deposits if line.state is PurchaseState.BROADCAST]
        return Totals(
            deposits=len(paid),
            paid_unym=sum(line.price_unym for line in paid),
            fees_unym=sum(line.fee_unym or 0 for line in paid),
            open_unym=sum(line.price_unym for line in unsure),
            books=len(self.books),
            tickets=sum(line.tickets for line in self.books),
            accepted=sum(line.accepted for line in self.books),
            given_up=sum(line.given_up for line in self.books),
            expired=sum(line.fresh + line.reverted for line in self.books if line.state is BookState.EXPIRED),
        )

    def problems(self) -> list[str]:
        """What does not add up; empty if the ledger is balanced."""
        found = []
        by_purchase = Counter(line.purchase_id for line in self.books if line.purchase_id)
        issued = {line.purchase_id for line in self.deposits if line.state is PurchaseState.ISSUED}
        found += [
            f"Purchase {name} is issued and has no book." for name in sorted(issued - by_purchase.keys())
        ]
        found += [f"Purchase {name} has {count} books." for name, count in by_purchase.items() if count > 1]
        found += [
            f"A book says that it comes from purchase {name}, which is not issued."
            for name in sorted(by_purchase.keys() - issued)
        ]
        ids = Counter(
            (line.network, line.deposit_id) for line in self.deposits if line.deposit_id is not None
        )
        found += [
            f"Deposit {number} belongs to {count} purchases."
            for (_, number), count in ids.items()
            if count > 1
        ]
        for book in self.books:
            parts = book.fresh + book.in_use + book.accepted + book.given_up + book.reverted
            if parts != book.tickets:
                found.append(
                    f"Book {book.book_id} has {book.tickets} tickets, and {parts} are accounted for."
                )
        return found + self._ticket_problems()

    def _ticket_problems(self) -> list[str]:
        if not self.tickets:
            return []
        found = []
        seen = Counter((line.book_id, line.index) for line in self.tickets)
        found += [
            f"Ticket {index} of book {book} is listed {n} times."
            for (book, index), n in seen.items()
            if n > 1
        ]
        states = Counter((line.book_id, _SETTLED.get(line.state, "in_use")) for line in self.tickets)
        for book in self.books:
            names = ("in_use", "accepted", "given_up", "reverted")
            if any(states[book.book_id, name] != getattr(book, name) for name in names):
                found.append(f"The tickets listed of book {book.book_id} are not those that it counts.")
        known = {book.book_id for book in self.books}
        found += [
            f"Tickets are listed of book {name}, which is not."
            for name in sorted({b for b, _ in seen} - known)
        ]
        return found

    # ---- export ------------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """All of it, with sums; times as Unix seconds, amounts in unym."""
        value = {
            "totals": asdict(self.totals()),
            "problems": self.problems(),
            "deposits": [asdict(line) for line in self.deposits],
            "books": [asdict(line) for line in self.books],
            "tickets": [asdict(line) for line in self.tickets],
        }
        return json.dumps(value, indent=2)

    def to_csv(self, what: str = "deposits") -> str:
        """One table, ``deposits``, ``books`` or ``tickets``; times in ISO 8601, UTC; amounts in unym and in NYM."""
        kinds: dict[str, tuple[type[Any], Sequence[Any]]] = {
            "deposits": (DepositLine, self.deposits),
            "books": (BookLine, self.books),
            "tickets": (TicketLine, self.tickets),
        }
        if what not in kinds:
            raise ValueError("deposits, books or tickets")
        kind, lines = kinds[what]
        names = [field.name for field in fields(kind)]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\r\n")
        writer.writerow([column for name in names for column in _columns(name)])
        for line in lines:
            writer.writerow([cell for name in names for cell in _cells(name, getattr(line, name))])
        return out.getvalue()


def _columns(name: str) -> tuple[str, ...]:
    if name.endswith("_unix"):
        return (name.removesuffix("_unix") + "_utc",)
    return (name, name.removesuffix("_unym") + "_nym") if name.endswith("_unym") else (name,)


def _cells(name: str, value: Any) -> tuple[str, ...]:
    if name.endswith("_unym"):
        return ("", "") if value is None else (str(value), format_nym(value).removesuffix(" NYM"))
    if value is None:
        return ("",)
    if name.endswith("_unix"):
        return (datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),)
    text = str(value)
    # A peer's text must not become a formula in somebody's spreadsheet.
    return ("'" + text if isinstance(value, str) and text.startswith(_FORMULA_STARTS) else text,)
