"""The facts of `nymgate privacy`: what the ticket store remembers, and whose keys lie in the data folder.

Only numbers and moments come out of here: accounts, gateways and identities are counted through, in the order in
which they were met.
"""

from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nymgate.privacy.report import Book, Claim, Deposit, Identities, Usage
from nymgate.purse.money_io import Money, explained

if TYPE_CHECKING:
    from nym_credentials.store.records import BookInfo, Spending, TicketEntry

_KEY_FILE: Final = "public_identity.pem"
_DEEP: Final = 4
"""Folders below the one of the network: workers, isolated identities."""
_KEY_BYTES: Final = 4_096


class _Numbers:
    """0, 1, … for things in the order of their first appearance."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, thing: Hashable) -> int:
        return self._known.setdefault(thing, len(self._known))


async def usage_of(money: Money) -> Usage:
    """Of an open store, on the network of its plan."""
    with explained():
        spendings = await money.store.purchases.spendings()
        books = await money.store.books()
        entries = await money.store.ledger()
    here = [item for item in spendings if item.network == money.plan.network.name]
    return usage(here, books, entries)


def usage(spendings: "list[Spending]", books: "list[BookInfo]", entries: "list[TicketEntry]") -> Usage:
    """From the rows of the store."""
    from nym_credentials.store.records import BookSource, BookState, Settlement, TicketState

    accounts, gateways = _Numbers(), _Numbers()
    by_purchase = {book.purchase_id: book.book_id for book in books if book.purchase_id is not None}
    deposits = [
        Deposit(
            unix=item.paid_unix if item.paid_unix is not None else item.begun_unix,
            account=accounts.of(item.account),
            price=item.price,
            book=by_purchase.get(item.purchase_id),
        )
        for item in spendings
        if item.state.may_be_paid
    ]
    sent = (TicketState.TAKEN, TicketState.ACCEPTED, TicketState.GIVEN_UP)
    claims = [
        Claim(
            unix=entry.taken_unix,
            book=entry.book_id,
            gateway=None if entry.gateway is None else gateways.of(entry.gateway),
            accepted=entry.state is TicketState.ACCEPTED,
            doubled=entry.settlement is Settlement.SPENT,
        )
        for entry in sorted(entries, key=lambda entry: entry.taken_unix)
        if entry.state in sent
    ]
    return Usage(
        deposits=tuple(sorted(deposits, key=lambda deposit: deposit.unix)),
        books=tuple(
            Book(
                number=book.book_id,
                added_unix=book.added_unix,
                bought=book.source is BookSource.BOUGHT,
                exported=book.state is BookState.EXPORTED,
                suspect=book.state is BookState.SUSPECT,
                expiration=book.expiration,
            )
            for book in sorted(books, key=lambda book: book.added_unix)
        ),
        claims=tuple(claims),
    )


def identities_in(folder: Path) -> Identities | None:
    """The mixnet identities below the folder of a network; None if something there cannot be read."""
    seen: set[bytes] = set()
    folders = 0
    try:
        for path in _key_files(folder, _DEEP):
            with path.open("rb") as file:
                key = b"".join(file.read(_KEY_BYTES).split())
            folders += 1
            seen.add(key)
    except OSError:
        return None
    return Identities(folders, folders - len(seen))


def _key_files(folder: Path, deep: int) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        if path.name == _KEY_FILE:
            yield path
        elif deep and path.is_dir() and not path.is_symlink():
            yield from _key_files(path, deep - 1)
