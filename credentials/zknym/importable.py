"""The file by which books move between programs (docs/protocol/07 §13.3, docs/protocol/10 §4.2).

`ImportableTicketBook.encode` is what the reference's command line imports with `--full`, its base58 what
it takes on the command line; `TicketBook.encode` is what it imports with `--standalone`. Export all parts:
the importing store may lack them. Never export a book that this side goes on spending.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zknym.base58 import Base58Text
from zknym.bincode import Reader, option
from zknym.epoch_data import CoinSignatureSet, DateSignatureSet, EpochKey
from zknym.errors import InvalidArgument
from zknym.ticketbook import TicketBook
from zknym.versioned import Versioned


@dataclass(frozen=True, slots=True)
class ImportableTicketBook(Base58Text):
    """A book with, as far as they are given, the public data needed to spend it."""

    REVISION: ClassVar[int] = 1

    book: TicketBook
    date_signatures: DateSignatureSet | None = None
    coin_signatures: CoinSignatureSet | None = None
    master_key: EpochKey | None = None

    def verify(self) -> None:
        """Checks all parts against each other and under the master key: do so before relying on a file.

        Raises `InvalidArgument` when the key is missing or parts are of another epoch or date, else what
        the checks of the parts raise.
        """
        if self.master_key is None:
            raise InvalidArgument("the file has no master key: fetch it, and verify the parts one by one")
        dates, coins, key = self.date_signatures, self.coin_signatures, self.master_key.key
        epochs = {part.epoch_id for part in (self.book, dates, coins, self.master_key) if part is not None}
        if len(epochs) > 1 or (dates is not None and dates.expiration != self.book.expiration):
            raise InvalidArgument("the file mixes data of different epochs or expiration dates")
        self.book.verify(key)
        if dates is not None:
            dates.verify(key)
        if coins is not None:
            coins.verify(key)

    def encode(self) -> bytes:
        """The content of an export file (bincode)."""
        return (
            self.book.pack().encode()
            + option(self.date_signatures, _pack)
            + option(self.coin_signatures, _pack)
            + option(self.master_key, _pack)
        )

    @classmethod
    def decode(cls, data: bytes) -> ImportableTicketBook:
        """The inverse of `encode`. Raises `MalformedData`, `UnknownRevision`."""
        reader = Reader(data)
        book = Versioned.read(reader)
        dates, coins, key = (reader.option(lambda: Versioned.read(reader)) for _ in range(3))
        reader.finish()
        return cls(
            TicketBook.decode(book.data, book.revision),
            None if dates is None else DateSignatureSet.decode(dates.data, dates.revision),
            None if coins is None else CoinSignatureSet.decode(coins.data, coins.revision),
            None if key is None else EpochKey.decode(key.data, key.revision),
        )

    def pack(self) -> Versioned:
        """The content with its revision."""
        return Versioned(self.encode(), self.REVISION)


def _pack(part: DateSignatureSet | CoinSignatureSet | EpochKey) -> bytes:
    return Versioned(part.encode(), part.REVISION).encode()
