"""Books and public data at rest: what is checked when they are read (docs/protocol/07 §13.3, §13.4)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.zknym.ecash_world import EPOCH, EXPIRATION, GATEWAY, NOW_UNIX, TODAY, TYPE, WORLD, World
from zknym import (
    AggregationVerification,
    CoinIndicesSignatureVerification,
    CoinSignatureSet,
    DateSignatureSet,
    EpochKey,
    ExpirationDateSignatureVerification,
    ImportableTicketBook,
    InvalidArgument,
    IssuedRecord,
    MalformedBincode,
    MalformedData,
    MerkleProof,
    MerkleProofInvalid,
    PayInfo,
    PendingTicketBook,
    RequestInfo,
    SpendDateTooLate,
    TicketBook,
    TicketType,
    UnknownRevision,
    UserSecretKey,
    Versioned,
    merkle_root,
    prove_inclusion,
)
from zknym.bincode import varint, vector
from zknym.coin_signatures import CoinIndexSignature
from zknym.date_signatures import ExpirationDateSignature

FILE = ImportableTicketBook(WORLD.book, WORLD.date_set, WORLD.coin_set, WORLD.epoch_key)
LEAVES = [bytes([i]) * 32 for i in range(7)]


def test_a_new_book():
    book = TicketBook.issued(WORLD.wallet, EPOCH, WORLD.user, EXPIRATION)
    assert book == WORLD.book
    assert book.ticket_type is TYPE
    book.verify(WORLD.master)
    with pytest.raises(InvalidArgument):
        TicketBook.issued(WORLD.wallet, EPOCH, WORLD.user, EXPIRATION + timedelta(days=1))


def test_books_expire_after_their_date():
    assert not WORLD.book.expired(EXPIRATION)
    assert WORLD.book.expired(EXPIRATION + timedelta(days=1))
    with pytest.raises(SpendDateTooLate):
        WORLD.book.pay(
            PayInfo.create(GATEWAY, NOW_UNIX),
            EXPIRATION + timedelta(days=1),
            WORLD.epoch_key,
            WORLD.coin_set,
            WORLD.date_set,
        )


def test_a_book_of_another_user_or_epoch():
    with pytest.raises(AggregationVerification):
        replace(WORLD.book, user=UserSecretKey.generate()).verify(WORLD.master)
    with pytest.raises(AggregationVerification):
        WORLD.book.verify(World().master)


@pytest.mark.parametrize(
    "book",
    [
        replace(WORLD.book, expiration=EXPIRATION - timedelta(days=1)),
        replace(WORLD.book, ticket_type=TicketType.MIXNET_EXIT),
    ],
    ids=["date", "type"],
)
def test_books_that_contradict_themselves(book):
    with pytest.raises(MalformedData, match="contradicts"):
        TicketBook.decode(book.encode())


def test_a_book_dated_beyond_32_bits():
    late = replace(WORLD.book, expiration=EXPIRATION.replace(year=2200))
    with pytest.raises(MalformedData):
        TicketBook.decode(late.encode())


def test_the_form_grows_late_in_the_year():
    """The day of the year is a varint: nothing may rely on the length of a book."""
    pending = PendingTicketBook(7, bytes(32), WORLD.user, TYPE, EXPIRATION.replace(month=9, day=7))
    later = replace(pending, expiration=EXPIRATION.replace(month=9, day=8))
    assert len(later.encode()) == len(pending.encode()) + 2
    assert PendingTicketBook.decode(later.encode()) == later


def test_a_pending_book_with_foreign_halves():
    pending = PendingTicketBook(7, bytes(32), WORLD.user, TYPE, EXPIRATION)
    data = pending.encode()
    foreign = UserSecretKey.generate().public_key().encode()
    own = WORLD.user.public_key().encode()
    assert data.count(own) == 1
    with pytest.raises(MalformedData, match="belong together"):
        PendingTicketBook.decode(data.replace(own, foreign))


def test_parts_of_an_export_file():
    FILE.verify()
    for left_out in ("date_signatures", "coin_signatures"):
        partial = replace(FILE, **{left_out: None})
        partial.verify()
        assert ImportableTicketBook.decode(partial.encode()) == partial
    assert ImportableTicketBook.decode(FILE.pack().data) == FILE
    assert FILE.pack().revision == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"master_key": None}, InvalidArgument),
        ({"master_key": replace(WORLD.epoch_key, epoch_id=EPOCH + 1)}, InvalidArgument),
        ({"coin_signatures": replace(WORLD.coin_set, epoch_id=EPOCH + 1)}, InvalidArgument),
        (
            {"date_signatures": replace(WORLD.date_set, expiration=EXPIRATION + timedelta(days=1))},
            InvalidArgument,
        ),
        ({"master_key": EpochKey(EPOCH, World().master)}, AggregationVerification),
        (
            {"coin_signatures": CoinSignatureSet(EPOCH, World().coins)},
            CoinIndicesSignatureVerification,
        ),
        (
            {"date_signatures": DateSignatureSet(EPOCH, EXPIRATION, World().dates)},
            ExpirationDateSignatureVerification,
        ),
    ],
    ids=["no key", "key epoch", "coin epoch", "date", "foreign key", "foreign coins", "foreign dates"],
)
def test_export_files_that_do_not_fit_together(change, error):
    with pytest.raises(error):
        replace(FILE, **change).verify()


@pytest.mark.parametrize(
    "kind", [TicketBook, PendingTicketBook, CoinSignatureSet, DateSignatureSet, EpochKey]
)
def test_unknown_revisions(kind):
    for revision in {0, 1, 2, 3, 255} - {kind.REVISION}:
        with pytest.raises(UnknownRevision):
            kind.decode(b"", revision)


def test_unknown_revision_inside_of_a_file():
    data = FILE.encode()
    size = len(WORLD.book.pack().encode())
    with pytest.raises(UnknownRevision):
        ImportableTicketBook.decode(Versioned(WORLD.book.encode(), 2).encode() + data[size:])


def test_rows_of_old_databases():
    """Revision 1 held the bare content; the epoch and the date stood in other columns."""
    coins = vector(WORLD.coins, CoinIndexSignature.field)
    assert CoinSignatureSet.decode_revision_1(coins, EPOCH) == WORLD.coin_set
    assert varint(EPOCH) + coins == WORLD.coin_set.encode()
    dates = vector(WORLD.dates, ExpirationDateSignature.field)
    assert DateSignatureSet.decode_revision_1(dates, EPOCH, EXPIRATION) == WORLD.date_set
    assert EpochKey.decode_revision_1(WORLD.master.encode(), EPOCH) == WORLD.epoch_key
    with pytest.raises(MalformedBincode):
        CoinSignatureSet.decode_revision_1(coins + b"\0", EPOCH)
    with pytest.raises(MalformedBincode):
        DateSignatureSet.decode_revision_1(dates + b"\0", EPOCH, EXPIRATION)


def test_lists_of_secrets_with_another_length():
    json = WORLD.info.to_json()
    with pytest.raises(MalformedData):
        RequestInfo.from_json(json | {"private_attributes_openings": json["private_attributes_openings"][:1]})


def record() -> IssuedRecord:
    return IssuedRecord(7, EPOCH, WORLD.blinded[1], WORLD.request.attribute_commitments, TODAY, TYPE)


@pytest.mark.parametrize(
    "change",
    [
        {"blindedPartialCredential": "AAAA"},
        {"blindedPartialCredential": "not base64!"},
        {"blindedPartialCredential": "é"},
        {"joinedEncodedPrivateAttributesCommitments": "AAAA"},
        {"depositId": 2**32},
        {"expirationDate": "soon"},
        {"ticketbookType": "v2"},
    ],
)
def test_issued_records_that_cannot_be_read(change):
    assert IssuedRecord.from_json(record().to_json()) == record()
    with pytest.raises(MalformedData):
        IssuedRecord.from_json(record().to_json() | change)


@pytest.mark.parametrize("indices", [[], [7], [-1], [0, 7]])
def test_proofs_of_leaves_that_do_not_exist(indices):
    with pytest.raises(InvalidArgument):
        prove_inclusion(LEAVES, indices)


def test_trees_without_leaves():
    with pytest.raises(InvalidArgument):
        merkle_root([])
    assert merkle_root(LEAVES[:1]) == LEAVES[0]


def test_proofs_that_prove_nothing():
    proof = prove_inclusion(LEAVES, [1, 4])
    proof.verify()
    for broken in (
        replace(proof, siblings=proof.siblings[:-1]),
        replace(proof, siblings=()),
        replace(proof, siblings=(*proof.siblings, bytes(32))),
        replace(proof, included=(proof.included[0], proof.included[0])),
        replace(proof, included=((7, LEAVES[0]),)),
        replace(proof, included=((-1, LEAVES[0]),)),
        replace(proof, included=()),
        replace(proof, total_leaves=4),
        replace(proof, total_leaves=0),
        replace(proof, root=bytes(32)),
    ):
        with pytest.raises(MerkleProofInvalid):
            broken.verify()
    with pytest.raises(MalformedData):
        MerkleProof.from_json(proof.to_json() | {"inner_proof": "AAAA"})
    with pytest.raises(MalformedData):
        MerkleProof.from_json(proof.to_json() | {"total_leaves": 2**25})
