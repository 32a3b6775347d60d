"""Books that come and go as files (docs/protocol/10 §4.2)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from nym_credentials.errors import BookAlreadyHere, BookRefused, BookUsed, OutOfTickets, StoreError
from nym_credentials.store.bookfile import BookForm, read_book_file
from nym_credentials.store.records import BookSource, BookState, Settlement
from nym_credentials.store.store_io import TicketStore
from tests.credentials.books import (
    EPOCH,
    EXPIRATION,
    TODAY,
    TYPE,
    WORLD,
    book_file,
    date_signatures,
    make_book,
)
from zknym import (
    EpochKey,
    ImportableTicketBook,
    TicketBook,
    aggregate_verification_keys,
    b58encode,
    generate_signers,
)


@pytest.fixture
async def store(path):
    async with await TicketStore.open(path, clock=lambda: 1_000.0) as store:
        yield store


@pytest.fixture
async def other(tmp_path):
    async with await TicketStore.open(tmp_path / "other" / "tickets.sqlite") as store:
        yield store


async def test_a_full_file(store):
    info = await store.import_book(book_file(), TODAY)
    assert (info.book_id, info.ticket_type, info.expiration, info.epoch_id) == (1, TYPE, EXPIRATION, EPOCH)
    assert (info.state, info.source, info.total, info.remaining) == (
        BookState.ACTIVE,
        BookSource.IMPORTED,
        50,
        50,
    )
    assert (info.added_unix, info.purchase_id) == (1_000, None)
    assert await store.books() == [info]
    assert await store.remaining(TYPE, TODAY) == 50
    assert await store.purchases.epoch_key(EPOCH) == WORLD.epoch_key


@pytest.mark.parametrize("form", [None, BookForm.FULL])
async def test_base58_text(store, form):
    text = b58encode(book_file()) + "\n"
    assert (await store.import_book(text.encode(), TODAY, form=form)).remaining == 50


@pytest.mark.parametrize("form", [None, BookForm.STANDALONE])
async def test_a_book_alone_needs_public_data_in_the_store(store, form):
    content = ImportableTicketBook.decode(book_file())
    with pytest.raises(BookRefused, match="lacks public data"):
        await store.import_book(content.book.encode(), TODAY, form=form)
    await store.purchases.put_epoch_key(WORLD.epoch_key)
    await store.purchases.put_coin_signatures(WORLD.coin_set)
    with pytest.raises(BookRefused, match="lacks public data"):
        await store.import_book(content.book.encode(), TODAY, form=form)
    await store.purchases.put_date_signatures(date_signatures(EXPIRATION))
    assert (await store.import_book(content.book.encode(), TODAY, form=form)).remaining == 50


@pytest.mark.parametrize("data", [b"", b"rubbish", b"\x00" * 177, b"\xff" * 400, "käse".encode()])
async def test_rubbish(store, data):
    for form in (None, *BookForm):
        with pytest.raises(BookRefused, match="no ticketbook file"):
            await store.import_book(data, TODAY, form=form)


async def test_the_wrong_form(store):
    with pytest.raises(BookRefused, match="of the form standalone"):
        await store.import_book(book_file(), TODAY, form=BookForm.STANDALONE)


async def test_every_cut_file_is_refused():
    data = book_file()
    for length in range(0, len(data), 97):
        with pytest.raises(BookRefused):
            read_book_file(data[:length], BookForm.FULL)


async def test_the_same_book_is_taken_once(store):
    await store.import_book(book_file(), TODAY)
    content = ImportableTicketBook.decode(book_file())
    spent = replace(content, book=replace(content.book, spent_tickets=3))
    for data, how in ((book_file(), {}), (content.book.encode(), {}), (spent.encode(), {"used": 3})):
        with pytest.raises(BookAlreadyHere, match="number 1"):
            await store.import_book(data, TODAY, **how)
    assert len(await store.books()) == 1


async def test_a_used_book_needs_a_word(store):
    content = make_book()
    data = replace(content, book=replace(content.book, spent_tickets=10)).encode()
    with pytest.raises(BookUsed, match="10 of its tickets"):
        await store.import_book(data, TODAY)
    with pytest.raises(BookUsed, match="10 of its tickets are spent, not 9"):
        await store.import_book(data, TODAY, used=9)
    with pytest.raises(BookRefused):
        await store.import_book(data, TODAY, used=50)
    info = await store.import_book(data, TODAY, used=12)
    assert (info.first, info.next, info.total, info.remaining) == (12, 12, 38, 38)
    assert (await store.take(TYPE, TODAY)).index == 12


async def test_a_range_of_a_book(store, other):
    """One book split between two stores: disjoint ranges."""
    data = make_book().encode()
    await store.import_book(data, TODAY, end=2)
    await other.import_book(data, TODAY, used=2, end=4)
    for one, indices in ((store, [0, 1]), (other, [2, 3])):
        assert [(await one.take(TYPE, TODAY)).index for _ in indices] == indices
        with pytest.raises(OutOfTickets):
            await one.take(TYPE, TODAY)
    with pytest.raises(BookRefused):
        await store.export_book(1)
    for used, end in ((3, 3), (-1, 3), (0, 51)):
        with pytest.raises(BookRefused):
            await store.import_book(make_book().encode(), TODAY, used=used, end=end)


async def test_an_expired_book(store):
    await store.import_book(book_file(), EXPIRATION)
    with pytest.raises(BookRefused, match="expired"):
        await store.import_book(make_book().encode(), EXPIRATION + timedelta(days=1))


async def test_files_that_do_not_verify(store):
    content, foreign = (
        make_book(),
        aggregate_verification_keys([(s.index, s.verification) for s in generate_signers(2, 3)]),
    )
    another_day = date_signatures(EXPIRATION - timedelta(days=1))
    for changed in (
        replace(content, master_key=EpochKey(EPOCH, foreign)),
        replace(content, master_key=EpochKey(EPOCH + 1, WORLD.master)),
        replace(content, date_signatures=another_day),
        replace(
            content,
            date_signatures=replace(date_signatures(EXPIRATION), signatures=another_day.signatures),
        ),
        replace(
            content,
            coin_signatures=replace(WORLD.coin_set, signatures=WORLD.coin_set.signatures[::-1]),
        ),
    ):
        with pytest.raises(BookRefused, match="does not verify"):
            await store.import_book(changed.encode(), TODAY)
    assert await store.books() == []
    assert await store.purchases.epoch_key(EPOCH) is None


async def test_another_key_than_the_known_one_changes_nothing(store):
    foreign = aggregate_verification_keys([(s.index, s.verification) for s in generate_signers(2, 3)])
    await store.purchases.put_epoch_key(EpochKey(EPOCH, foreign))
    with pytest.raises(StoreError, match="another master key"):
        await store.import_book(book_file(), TODAY)
    assert await store.books() == []


async def test_an_export_is_the_end_of_the_book_here(store, other):
    await store.import_book(book_file(), TODAY)
    for _ in range(3):
        await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
    back = await store.take(TYPE, TODAY)
    with pytest.raises(BookRefused, match="in use"):
        await store.export_book(1)
    await store.settle(back, Settlement.UNSENT)
    data = await store.export_book(1)
    [info] = await store.books()
    assert (info.state, info.remaining) == (BookState.EXPORTED, 0)
    with pytest.raises(OutOfTickets):
        await store.take(TYPE, TODAY)
    with pytest.raises(BookRefused, match="it is exported"):
        await store.export_book(1)
    assert await store.export_book(1, again=True) == data
    assert ImportableTicketBook.decode(data).book.spent_tickets == 4, "upstream's import counts from here"

    with pytest.raises(BookUsed):
        await other.import_book(data, TODAY)
    assert (await other.import_book(data, TODAY, used=4)).remaining == 46
    assert (await other.take(TYPE, TODAY)).index == 4


async def test_an_unused_book_goes_from_store_to_store_unchanged(store, other):
    await store.import_book(book_file(), TODAY)
    data = await store.export_book(1)
    assert data == book_file()
    assert (await other.import_book(data, TODAY)).remaining == 50


@pytest.mark.parametrize("base58", [False, True])
@pytest.mark.parametrize("form", list(BookForm))
async def test_forms_of_export(store, other, form, base58):
    await store.import_book(book_file(), TODAY)
    data = await store.export_book(1, form=form, base58=base58)
    assert data.isascii() is base58
    content = ImportableTicketBook.decode(book_file())
    read = read_book_file(data)
    assert (read.form, read.content.book) == (form, content.book)
    if form is BookForm.STANDALONE and not base58:
        assert TicketBook.decode(data) == content.book
    await other.purchases.put_epoch_key(WORLD.epoch_key)
    await other.purchases.put_coin_signatures(WORLD.coin_set)
    await other.purchases.put_date_signatures(date_signatures(EXPIRATION))
    assert (await other.import_book(data, TODAY)).remaining == 50


async def test_reclaiming_an_export(store):
    await store.import_book(book_file(), TODAY)
    await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
    data = await store.export_book(1)
    with pytest.raises(BookAlreadyHere, match="reclaim"):
        await store.import_book(data, TODAY, used=1)
    assert (await store.import_book(data, TODAY, reclaim=True)).remaining == 49
    assert (await store.take(TYPE, TODAY)).index == 1
    with pytest.raises(BookAlreadyHere):
        await store.import_book(data, TODAY, reclaim=True)


async def test_reclaiming_never_goes_back(store):
    """The file of before the export is still around."""
    await store.import_book(book_file(), TODAY)
    for _ in range(2):
        await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
    await store.export_book(1)
    await store.import_book(book_file(), TODAY, reclaim=True)
    assert (await store.take(TYPE, TODAY)).index == 2


async def test_giving_up_and_trusting(store):
    await store.import_book(book_file(), TODAY)
    assert (await store.give_up_book(1)).state is BookState.EXHAUSTED
    with pytest.raises(BookRefused, match="exhausted"):
        await store.give_up_book(1)
    with pytest.raises(BookRefused, match="no tickets to export"):
        await store.export_book(1)
    assert (await store.trust_book(1)).remaining == 50
    with pytest.raises(BookRefused, match="no book number 7"):
        await store.trust_book(7)


async def test_expired_books_lose_their_secrets_and_keep_their_counts(store):
    await store.import_book(book_file(), TODAY)
    await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
    assert await store.forget_expired(EXPIRATION) == 0
    assert (await store.take(TYPE, EXPIRATION)).index == 1
    assert await store.forget_expired(EXPIRATION + timedelta(days=1)) == 1
    assert await store.forget_expired(EXPIRATION + timedelta(days=1)) == 0
    [info] = await store.books()
    assert (info.state, info.accepted, info.taken, info.remaining) == (BookState.EXPIRED, 1, 1, 0)
    assert await store.purchases.epoch_key(EPOCH) is None
    async with store._core.database.transaction() as connection:
        assert (await connection.exec_driver_sql("SELECT sealed FROM books")).all() == [(None,)]
    with pytest.raises(BookRefused):
        await store.trust_book(1)
