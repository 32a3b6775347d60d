"""What upstream stores, exports and spends, through the ticket store: chain.json.

Byte for byte both ways: what upstream wrote comes in, what goes out is what upstream wrote, and a ticket taken from the
store has the serial number that upstream computed for that index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from nym_credentials.errors import BookRefused
from nym_credentials.store.bookfile import BookForm
from nym_credentials.store.records import Settlement
from tests.credentials.vector_store import columns, store_with
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
)

pytestmark = pytest.mark.vectors

CHAIN = load("chain")

STORED: Mapping[str, Any] = {
    "coin_indices_signatures": CoinSignatureSet,
    "epoch_verification_key": EpochKey,
    "expiration_date_signatures": DateSignatureSet,
    "issued_ticketbook": TicketBook,
    "pending_ticketbook": PendingTicketBook,
}
FILES = {"importable_bare", "importable_full_len", "importable_full_sha256"}


def test_every_kind_is_known():
    assert set(CHAIN["storage"]) == set(STORED) | FILES


def stored(name: str) -> Any:
    entry = CHAIN["storage"][name]
    return STORED[name].decode(unhex(entry["data_hex"]), entry["revision"])


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
