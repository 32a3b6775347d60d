"""Books in the database of an upstream client, `credentials_database.db` (docs/protocol/10 §4.1). Pure.

The column `used_tickets` counts, not the number inside of the book. Sets of revision 1 lack the epoch, which is
another column then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from nym_credentials.errors import BookRefused
from zknym import (
    CoinSignatureSet,
    DateSignatureSet,
    EcashError,
    EpochKey,
    ImportableTicketBook,
    TicketBook,
)

Row = Mapping[str, Any]
"""A row by the names of its columns; blobs are bytes, dates texts."""

TABLES: Final = (
    "ecash_ticketbook",
    "master_verification_key",
    "coin_indices_signatures",
    "expiration_date_signatures",
)


@dataclass(frozen=True, slots=True)
class ClientBook:
    """A book with tickets left. `used` … `total` - 1 are its fresh tickets."""

    row_id: int
    used: int
    total: int
    content: ImportableTicketBook = field(repr=False)


def read_client_books(tables: Mapping[str, Iterable[Row]], today: date) -> list[ClientBook]:
    """The books that can be spent on that UTC day. Raises `BookRefused` for rows that cannot be read."""
    try:
        keys = {row["epoch_id"]: _key(row) for row in tables["master_verification_key"]}
        coins = {row["epoch_id"]: _coins(row) for row in tables["coin_indices_signatures"]}
        dates = {
            (row["epoch_id"], row["expiration_date"]): _dates(row)
            for row in tables["expiration_date_signatures"]
        }
        return [
            ClientBook(
                row["id"],
                row["used_tickets"],
                row["total_tickets"],
                ImportableTicketBook(
                    TicketBook.decode(row["ticketbook_data"], row["serialization_revision"]),
                    dates.get((row["epoch_id"], row["expiration_date"])),
                    coins.get(row["epoch_id"]),
                    keys.get(row["epoch_id"]),
                ),
            )
            for row in tables["ecash_ticketbook"]
            if row["used_tickets"] < row["total_tickets"]
            and date.fromisoformat(row["expiration_date"]) >= today
        ]
    except (EcashError, KeyError, TypeError, ValueError) as error:
        # Neither chained nor quoted: a decoder's message could repeat a secret.
        raise BookRefused(
            f"The client's database cannot be read ({type(error).__name__}).", "Is it of a newer version?"
        ) from None


def _key(row: Row) -> EpochKey:
    data, revision = row["serialised_key"], row["serialization_revision"]
    return (
        EpochKey.decode_revision_1(data, row["epoch_id"])
        if revision == 1
        else EpochKey.decode(data, revision)
    )


def _coins(row: Row) -> CoinSignatureSet:
    data, revision = row["serialised_signatures"], row["serialization_revision"]
    if revision == 1:
        return CoinSignatureSet.decode_revision_1(data, row["epoch_id"])
    return CoinSignatureSet.decode(data, revision)


def _dates(row: Row) -> DateSignatureSet:
    data, revision = row["serialised_signatures"], row["serialization_revision"]
    if revision == 1:
        expiration = date.fromisoformat(row["expiration_date"])
        return DateSignatureSet.decode_revision_1(data, row["epoch_id"], expiration)
    return DateSignatureSet.decode(data, revision)
