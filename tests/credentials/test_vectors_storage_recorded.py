"""What upstream's programs stored and exported, and what gateways answered them: recorded-chain.json."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest

from nym_credentials.errors import BookAlreadyHere, BookRefused, BookUsed
from nym_credentials.store.client_database_io import move_client_books
from nym_credentials.store.records import Settlement
from nym_credentials.tickets.answers import UNKNOWN_ANSWER, Cause, answer_for
from nym_credentials.tickets.source_io import StoredTickets
from nym_mixnet.gateway_session import ticket_outcome
from nym_mixnet.tickets import TicketOutcome
from tests.credentials.store.client_databases import make_client_database
from tests.credentials.vector_store import columns, store_with
from tests.vector_files import load, unhex
from zknym import (
    CoinSignatureSet,
    DateSignatureSet,
    EpochKey,
    ImportableTicketBook,
    PendingTicketBook,
    SpendingCredential,
    TicketBook,
    TicketType,
    b58decode,
    b58encode,
)

pytestmark = pytest.mark.vectors

RECORDED = load("recorded-chain")

RECORDED_KINDS = {"importable_full_hex", "importable_parts", "book", "client_database_rows"}
ROW_KINDS = {
    "ecash_ticketbook",
    "expiration_date_signatures",
    "coin_indices_signatures",
    "master_verification_key",
    "pending_issuance",
}
NOT_APPLICABLE = {"client_private_identity_pem": "the key of a mixnet client: no part of the ticket store"}
BOOK_ROWS = RECORDED["storage"]["client_database_rows"]["ecash_ticketbook"]


def test_every_kind_is_known():
    assert set(RECORDED["storage"]) - set(NOT_APPLICABLE) == RECORDED_KINDS
    assert set(RECORDED["storage"]["client_database_rows"]) == ROW_KINDS
    assert BOOK_ROWS


def row_value(row: Mapping[str, Any], column: str, kind: Any) -> Any:
    return kind.decode(unhex(row[column]), row["serialization_revision"])


def test_pending_books_are_read_and_written():
    for row in RECORDED["storage"]["client_database_rows"]["pending_issuance"]:
        pending = row_value(row, "pending_ticketbook_data", PendingTicketBook)
        assert pending.encode().hex() == row["pending_ticketbook_data"]
        assert (pending.deposit_id, pending.expiration.isoformat()) == (
            row["deposit_id"],
            row["expiration_date"],
        )


@pytest.mark.parametrize("base58", [False, True])
async def test_what_upstream_exported_goes_through_unchanged(tmp_path, base58):
    data = unhex(RECORDED["storage"]["importable_full_hex"])
    book = RECORDED["storage"]["book"]
    today = date.fromisoformat(book["expiration_date"])
    used = book["spent_tickets"]
    async with store_with(tmp_path) as store:
        given = b58encode(data).encode() if base58 else data
        if used:
            with pytest.raises(BookUsed):
                await store.import_book(given, today)
        info = await store.import_book(given, today, used=used)
        assert (info.ticket_type, info.epoch_id, info.next) == (
            TicketType.from_code(book["type_code"]),
            book["epoch_id"],
            used,
        )
        for name, table in (
            ("master_verification_key", "epoch_keys"),
            ("coin_index_signatures", "coin_signatures"),
            ("expiration_date_signatures", "date_signatures"),
        ):
            part = RECORDED["storage"]["importable_parts"][name]
            assert await columns(store, table) == [(part["revision"], unhex(part["data_hex"]))]
        exported = await store.export_book(info.book_id, base58=base58)
        assert (b58decode(exported.decode()) if base58 else exported) == data
        part = RECORDED["storage"]["importable_parts"]["book"]
        assert ImportableTicketBook.decode(data).book.pack().data.hex() == part["data_hex"]


@pytest.mark.parametrize("row", [pytest.param(row, id=f"row {row['id']}") for row in BOOK_ROWS])
async def test_a_book_of_upstreams_database_is_spent_where_upstream_stopped(tmp_path, row):
    rows = RECORDED["storage"]["client_database_rows"]
    book = row_value(row, "ticketbook_data", TicketBook)
    assert (book.ticket_type.label, book.expiration.isoformat(), book.epoch_id) == (
        row["ticketbook_type"],
        row["expiration_date"],
        row["epoch_id"],
    )
    [key] = [
        row_value(item, "serialised_key", EpochKey)
        for item in rows["master_verification_key"]
        if item["epoch_id"] == row["epoch_id"]
    ]
    [coins] = [
        row_value(item, "serialised_signatures", CoinSignatureSet)
        for item in rows["coin_indices_signatures"]
        if item["epoch_id"] == row["epoch_id"]
    ]
    [dates] = [
        row_value(item, "serialised_signatures", DateSignatureSet)
        for item in rows["expiration_date_signatures"]
        if (item["epoch_id"], item["expiration_date"]) == (row["epoch_id"], row["expiration_date"])
    ]
    data = ImportableTicketBook(book, dates, coins, key).encode()
    used, end = row["used_tickets"], row["total_tickets"]
    async with store_with(tmp_path) as store:
        if used == end:
            with pytest.raises(BookRefused):
                await store.import_book(data, book.expiration, used=used, end=end)
            return
        await store.import_book(data, book.expiration, used=used, end=end)
        with pytest.raises(BookAlreadyHere):
            await store.import_book(data, book.expiration, used=used, end=end)
        tickets = StoredTickets(
            store,
            ticket_type=book.ticket_type,
            clock=lambda: book.wallet.expiration + 43_200.0,
            check_payment=True,
        )
        ticket = await tickets.prepare(bytes(32))
        assert ticket.taken.index == used, "the column counts, not the blob"
        credential = SpendingCredential.decode(ticket.credential)
        spent = {
            SpendingCredential.decode(unhex(item["credential_hex"])).payment.encoded_serial_number()
            for item in RECORDED["tickets"].values()
        }
        assert credential.payment.encoded_serial_number() not in spent
        await ticket.settle("accepted", 1)
        assert await store.remaining(book.ticket_type, book.expiration) == end - used - 1


async def test_books_move_out_of_upstreams_database(tmp_path):
    rows = RECORDED["storage"]["client_database_rows"]
    names = (
        "master_verification_key",
        "coin_indices_signatures",
        "expiration_date_signatures",
        "ecash_ticketbook",
    )
    blobs = {"serialised_key", "serialised_signatures", "ticketbook_data"}
    tables = {
        name: [
            {column: unhex(value) if column in blobs else value for column, value in row.items()}
            for row in rows[name]
        ]
        for name in names
    }
    make_client_database(tmp_path / "credentials_database.db", tables)
    today = min(date.fromisoformat(row["expiration_date"]) for row in BOOK_ROWS)
    async with store_with(tmp_path) as store:
        moved = await move_client_books(store, tmp_path / "credentials_database.db", today)
        expected = [row for row in BOOK_ROWS if row["used_tickets"] < row["total_tickets"]]
        assert [(info.ticket_type.label, info.next, info.end) for info in moved] == [
            (row["ticketbook_type"], row["used_tickets"], row["total_tickets"]) for row in expected
        ]


def error_answers() -> list[Any]:
    """The error texts that gateways gave, each once."""
    texts = {
        item["answer"]["message"]: item["case"]
        for item in RECORDED["gateway_answers"]
        if isinstance(item["answer"], dict) and item["answer"]["type"] == "error"
    }
    assert texts, "no error answers were recorded"
    return [pytest.param(message, id=case) for message, case in texts.items()]


@pytest.mark.parametrize("message", error_answers())
def test_every_error_answer_of_a_gateway_is_known(message):
    answer = answer_for(message)
    assert answer is not UNKNOWN_ANSWER
    assert answer.settlement is not Settlement.UNSENT, "a ticket that a gateway saw is never made out again"
    if answer.cause is Cause.NO_TICKET:
        assert answer.settlement is None
    else:
        theirs = ticket_outcome(message)
        assert (theirs is TicketOutcome.SPENT) is (answer.settlement is Settlement.SPENT)
        assert theirs is not TicketOutcome.UNKNOWN


def test_kinds_of_answers():
    known = {"register", "authenticate", "error", "typedError", "bandwidth", "send"}
    kinds = {
        item["answer"]["type"] for item in RECORDED["gateway_answers"] if isinstance(item["answer"], dict)
    }
    assert kinds <= known
    lists = [item["answer"] for item in RECORDED["gateway_answers"] if not isinstance(item["answer"], dict)]
    assert all(isinstance(value, int) for answer in lists for value in answer)
