"""What upstream stores, exports and spends, through the ticket store: chain.json, recorded-chain.json.

Byte for byte both ways: what upstream wrote comes in, what goes out is what upstream wrote, and a ticket taken from the
store has the serial number that upstream computed for that index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from nym_credentials.errors import BookAlreadyHere, BookRefused, BookUsed
from nym_credentials.store.bookfile import BookForm
from nym_credentials.store.records import Settlement
from nym_credentials.store.store_io import TicketStore
from nym_credentials.tickets.answers import UNKNOWN_ANSWER, Cause, answer_for
from nym_credentials.tickets.source_io import StoredTickets
from nym_mixnet.gateway_session import ticket_outcome
from nym_mixnet.tickets import TicketOutcome
from tests.vector_files import load, unhex
from zknym import (
    CoinSignatureSet,
    DateSignatureSet,
    EpochKey,
    ImportableTicketBook,
    PayInfo,
    PendingTicketBook,
    SpendingCredential,
    TicketBook,
    TicketType,
    b58decode,
    b58encode,
)

pytestmark = pytest.mark.vectors

CHAIN, RECORDED = load("chain"), load("recorded-chain")

STORED: Mapping[str, Any] = {
    "coin_indices_signatures": CoinSignatureSet,
    "epoch_verification_key": EpochKey,
    "expiration_date_signatures": DateSignatureSet,
    "issued_ticketbook": TicketBook,
    "pending_ticketbook": PendingTicketBook,
}
FILES = {"importable_bare", "importable_full_len", "importable_full_sha256"}
RECORDED_KINDS = {"importable_full_hex", "importable_parts", "book", "client_database_rows"}
ROW_KINDS = {
    "ecash_ticketbook",
    "expiration_date_signatures",
    "coin_indices_signatures",
    "master_verification_key",
    "pending_issuance",
}
NOT_APPLICABLE = {"client_private_identity_pem": "the key of a mixnet client: no part of the ticket store"}


def test_every_kind_is_known():
    assert set(CHAIN["storage"]) == set(STORED) | FILES
    assert set(RECORDED["storage"]) - set(NOT_APPLICABLE) == RECORDED_KINDS
    assert set(RECORDED["storage"]["client_database_rows"]) == ROW_KINDS


def stored(name: str) -> Any:
    entry = CHAIN["storage"][name]
    return STORED[name].decode(unhex(entry["data_hex"]), entry["revision"])


def row_value(row: Mapping[str, Any], column: str, kind: Any) -> Any:
    return kind.decode(unhex(row[column]), row["serialization_revision"])


@asynccontextmanager
async def store_with(folder, *public: Any):
    """A store that knows these parts of public data."""
    async with await TicketStore.open(folder / "tickets.sqlite") as store:
        for part in public:
            if isinstance(part, EpochKey):
                await store.purchases.put_epoch_key(part)
            elif isinstance(part, CoinSignatureSet):
                await store.purchases.put_coin_signatures(part)
            else:
                await store.purchases.put_date_signatures(part)
        yield store


async def columns(store: TicketStore, table: str) -> list[tuple[int, bytes]]:
    """Revision and bytes of a table of public data, as they lie in the database."""
    async with store._core.database.transaction() as connection:
        rows = await connection.execute(text(f"SELECT revision, data FROM {table}"))
        return [(row.revision, row.data) for row in rows]


async def test_public_data_is_stored_as_upstream_stores_it(tmp_path):
    parts = {
        "epoch_keys": "epoch_verification_key",
        "coin_signatures": "coin_indices_signatures",
        "date_signatures": "expiration_date_signatures",
    }
    async with store_with(tmp_path, *(stored(name) for name in parts.values())) as store:
        for table, name in parts.items():
            entry = CHAIN["storage"][name]
            assert await columns(store, table) == [(entry["revision"], unhex(entry["data_hex"]))]
    async with store_with(tmp_path) as store:
        book = stored("issued_ticketbook")
        assert await store.purchases.for_book(book.epoch_id, book.expiration) == tuple(
            stored(name) for name in parts.values()
        )


def test_pending_books_are_read_and_written():
    entry = CHAIN["storage"]["pending_ticketbook"]
    assert stored("pending_ticketbook").encode().hex() == entry["data_hex"]
    for row in RECORDED["storage"]["client_database_rows"]["pending_issuance"]:
        pending = row_value(row, "pending_ticketbook_data", PendingTicketBook)
        assert pending.encode().hex() == row["pending_ticketbook_data"]
        assert (pending.deposit_id, pending.expiration.isoformat()) == (
            row["deposit_id"],
            row["expiration_date"],
        )


async def test_standalone_books(tmp_path):
    data = unhex(CHAIN["storage"]["issued_ticketbook"]["data_hex"])
    book = stored("issued_ticketbook")
    (tmp_path / "empty").mkdir()
    async with store_with(tmp_path / "empty") as store:
        with pytest.raises(BookRefused):
            await store.import_book(data, book.expiration)
    public = (stored(name) for name in ("epoch_verification_key", "coin_indices_signatures"))
    async with store_with(tmp_path, *public, stored("expiration_date_signatures")) as store:
        info = await store.import_book(data, book.expiration, used=book.spent_tickets)
        assert (info.ticket_type, info.expiration, info.epoch_id) == (
            book.ticket_type,
            book.expiration,
            book.epoch_id,
        )
        assert await store.export_book(info.book_id, form=BookForm.STANDALONE) == data


async def test_files_without_public_data(tmp_path):
    data = unhex(CHAIN["storage"]["importable_bare"]["data_hex"])
    book = ImportableTicketBook.decode(data).book
    public = (stored(name) for name in ("epoch_verification_key", "coin_indices_signatures"))
    async with store_with(tmp_path, *public, stored("expiration_date_signatures")) as store:
        info = await store.import_book(data, book.expiration, used=book.spent_tickets)
        full = await store.export_book(info.book_id)
    assert len(full) == CHAIN["storage"]["importable_full_len"]
    assert hashlib.sha256(full).hexdigest() == CHAIN["storage"]["importable_full_sha256"]


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


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"row {row['id']}")
        for row in RECORDED["storage"]["client_database_rows"]["ecash_ticketbook"]
    ],
)
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


@pytest.mark.parametrize(
    "spend", [pytest.param(s, id=f"ticket {s['ticket_index']}") for s in CHAIN["spends"]]
)
async def test_tickets_are_those_that_upstream_spends(tmp_path, spend):
    day = date.fromisoformat(spend["spend_date"])
    public = (stored(name) for name in ("epoch_verification_key", "coin_indices_signatures"))
    async with store_with(tmp_path, *public, stored("expiration_date_signatures")) as store:
        data = unhex(CHAIN["storage"]["issued_ticketbook"]["data_hex"])
        await store.import_book(data, day, used=spend["ticket_index"])
        taken = await store.take(stored("issued_ticketbook").ticket_type, day)
        assert taken.index == spend["ticket_index"]
        info = PayInfo.decode(unhex(spend["pay_info_hex"]))
        credential, _ = taken.book.pay(info, day, taken.master, taken.coin_signatures, taken.date_signatures)
        await store.settle(taken, Settlement.ACCEPTED)
    theirs = SpendingCredential.decode(unhex(spend["credential_bytes_hex"]))
    assert credential.payment.encoded_serial_number().hex() == spend["serial_number_hex"]
    assert replace(credential, payment=theirs.payment) == theirs
    assert len(credential.encode()) == spend["credential_len"]
    credential.verify(taken.master.key)


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
