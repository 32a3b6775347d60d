"""Files by which books move between programs (docs/protocol/10 §4.2). Pure.

Read are all three forms of upstream's command line: `--full`, `--standalone`, and base58 of either. A written file
carries the number of spent tickets inside of the book: upstream's import starts counting there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from nym_credentials.errors import BookRefused
from zknym import (
    CoinSignatureSet,
    DateSignatureSet,
    EcashError,
    EpochKey,
    ImportableTicketBook,
    MalformedData,
    TicketBook,
    b58decode,
    b58encode,
)


class BookForm(StrEnum):
    """What a file holds."""

    FULL = "full"
    """The book with all public data: what upstream imports with `--full`. The right one to export."""
    STANDALONE = "standalone"
    """The book alone: for `--standalone`, where the other side has the public data."""


@dataclass(frozen=True, slots=True)
class BookFile:
    """A book file that was read."""

    form: BookForm
    content: ImportableTicketBook


def read_book_file(data: bytes, form: BookForm | None = None) -> BookFile:
    """What a file holds, of the given form or of whichever fits. Nothing is verified yet. Raises `BookRefused`."""
    binary = _from_base58(data)
    failures: list[EcashError] = []
    for candidate in (form,) if form is not None else (BookForm.FULL, BookForm.STANDALONE):
        try:
            if candidate is BookForm.FULL:
                return BookFile(candidate, ImportableTicketBook.decode(binary))
            return BookFile(candidate, ImportableTicketBook(TicketBook.decode(binary)))
        except EcashError as error:
            failures.append(error)
    raise BookRefused(
        f"This is no ticketbook file{f' of the form {form}' if form else ''}: {failures[0]}.",
        "Give a file written by `nym-cli ecash issue-ticket-book --output-file` or by an export of this program.",
    )


def write_book_file(
    book: TicketBook,
    spent: int,
    public: tuple[EpochKey, CoinSignatureSet, DateSignatureSet],
    form: BookForm,
    *,
    base58: bool = False,
) -> bytes:
    """The content of a file for `book`, of which the first `spent` tickets are gone."""
    book = replace(book, spent_tickets=spent)
    if form is BookForm.STANDALONE:
        data = book.encode()
    else:
        key, coins, dates = public
        data = ImportableTicketBook(book, dates, coins, key).encode()
    return b58encode(data).encode() if base58 else data


def _from_base58(data: bytes) -> bytes:
    """`data` itself, or what it is the base58 of. No binary form consists of base58 characters only."""
    try:
        return b58decode(data.decode("ascii").strip())
    except (UnicodeDecodeError, MalformedData):
        return data
