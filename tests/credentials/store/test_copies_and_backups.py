"""Old backups and copies are not spent from unless the operator says so (docs/protocol/10 §9)."""

from __future__ import annotations

import shutil

import pytest

from nym_credentials.errors import BackupRestored, BookRefused
from nym_credentials.store.records import BookState, Restored, Settlement
from nym_credentials.store.store_io import TicketStore
from nym_credentials.store.witness_io import Witness
from tests.credentials.books import TODAY, TYPE, book_file, make_book
from tests.credentials.store.test_purchases import purchase_on_its_way


def witness_of(path):
    return path.with_name(path.name + ".witness")


@pytest.fixture
async def used(path):
    """A store from which one ticket was spent, its backup, and then another ticket."""
    async with await TicketStore.open(path) as store:
        await store.import_book(book_file(), TODAY)
        await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
    backup = path.with_name("backup")
    shutil.copyfile(path, backup)
    async with await TicketStore.open(path) as store:
        await store.settle(await store.take(TYPE, TODAY), Settlement.ACCEPTED)
    return backup


def restore_in_place(backup, path):
    """Same inode, older content."""
    path.write_bytes(backup.read_bytes())


def restore_anew(backup, path):
    """Another file under the same name, as most tools do."""
    path.unlink()
    shutil.copyfile(backup, path)


@pytest.mark.parametrize("restore", [restore_in_place, restore_anew])
async def test_an_old_backup_is_refused(used, path, restore):
    restore(used, path)
    for _ in range(2):
        with pytest.raises(BackupRestored, match=r"1 steps behind .*given up\."):
            await TicketStore.open(path)


async def test_even_an_up_to_date_copy_is_refused(used, path):
    path.rename(path.with_name("moved"))
    shutil.copyfile(path.with_name("moved"), path)
    with pytest.raises(BackupRestored, match="another file"):
        await TicketStore.open(path)


async def test_a_copy_elsewhere_is_refused_and_the_original_goes_on(used, path, tmp_path):
    shutil.copytree(path.parent, tmp_path / "copy")
    with pytest.raises(BackupRestored, match="another file"):
        await TicketStore.open(tmp_path / "copy" / path.name)
    async with await TicketStore.open(path) as store:
        assert (await store.take(TYPE, TODAY)).index == 2


async def test_a_database_without_its_witness_is_refused(used, path):
    witness_of(path).unlink()
    with pytest.raises(BackupRestored, match="missing"):
        await TicketStore.open(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"\xff" * 256])
async def test_a_damaged_witness_witnesses_nothing(used, path, content):
    witness_of(path).write_bytes(content)
    with pytest.raises(BackupRestored, match="unreadable"):
        await TicketStore.open(path)


async def test_the_witness_of_another_store(used, path):
    witness = Witness.decode(witness_of(path).read_bytes())
    assert witness is not None
    witness_of(path).write_bytes(Witness("another", witness.generation, witness.inode).encode())
    with pytest.raises(BackupRestored, match="another store"):
        await TicketStore.open(path)


async def test_moving_the_folder_is_no_copy(used, path, tmp_path):
    path.parent.rename(tmp_path / "moved")
    async with await TicketStore.open(tmp_path / "moved" / path.name) as store:
        assert (await store.take(TYPE, TODAY)).index == 2


async def test_a_new_store_in_the_place_of_an_old_one(used, path):
    for file in path.parent.glob(path.name + "*"):
        if not file.name.endswith((".witness", ".key")):
            file.unlink()
    async with await TicketStore.open(path) as store:
        await store.import_book(make_book().encode(), TODAY)
        assert (await store.take(TYPE, TODAY)).index == 0
    async with await TicketStore.open(path) as store:
        assert (await store.take(TYPE, TODAY)).index == 1


async def test_giving_everything_up(used, path):
    restore_anew(used, path)
    async with await TicketStore.open(path, restored=Restored.EXHAUST) as store:
        [book] = await store.books()
        assert (book.state, book.remaining) == (BookState.EXHAUSTED, 0)
        assert await store.remaining(TYPE, TODAY) == 0
    async with await TicketStore.open(path) as store:
        await store.import_book(make_book().encode(), TODAY)
        assert (await store.take(TYPE, TODAY)).book_id == 2
        await store.trust_book(1)
        with pytest.raises(BookRefused, match="active"):
            await store.trust_book(1)


async def test_trusting(used, path):
    restore_anew(used, path)
    async with await TicketStore.open(path, restored=Restored.TRUST) as store:
        assert (await store.books())[0].state is BookState.ACTIVE
    async with await TicketStore.open(path) as store:
        assert (await store.take(TYPE, TODAY)).index == 1, "the operator's word: this is what was asked for"
    restore_anew(used, path)
    with pytest.raises(BackupRestored):
        await TicketStore.open(path)


async def test_the_choice_changes_nothing_for_a_sound_store(used, path):
    async with await TicketStore.open(path, restored=Restored.EXHAUST) as store:
        assert (await store.books())[0].state is BookState.ACTIVE


async def test_a_purchase_from_an_old_backup_brings_a_suspect_book(path):
    """It may have been finished, and spent from, after the backup was made: signers answer the same again."""
    async with await TicketStore.open(path) as store:
        before, issued, book = purchase_on_its_way()
        before = await store.purchases.add_purchase(before)
        await store.import_book(book_file(), TODAY)
    witness_of(path).unlink()
    async with await TicketStore.open(path, restored=Restored.EXHAUST) as store:
        [stored] = await store.purchases.unfinished_purchases()
        assert stored == before
        await store.purchases.finish_purchase(issued(stored), book)
        bought = [info for info in await store.books() if info.purchase_id == str(before.id)]
        assert [info.state for info in bought] == [BookState.SUSPECT]


async def test_a_second_process_is_no_copy(used, path):
    async with await TicketStore.open(path) as first, await TicketStore.open(path) as second:
        kept = await first.take(TYPE, TODAY)
        assert (await second.take(TYPE, TODAY)).index == kept.index + 1
        assert second.left_behind == 0, "the first one's ticket is in use"
        await second.close()
        async with await TicketStore.open(path) as third:
            assert third.left_behind == 0
        await first.settle(kept, Settlement.ACCEPTED)
    async with await TicketStore.open(path) as store:
        assert store.left_behind == 1, "the second one's was never settled"
