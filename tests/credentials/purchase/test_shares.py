"""Putting a book together out of answers of two epochs (docs/protocol/09 §3.2, §3.3)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nym_credentials.purchase.records import Issuance, SignerShare
from nym_credentials.purchase.shares import ShareCollector
from nym_credentials.signers.epoch import Signer, SignerSet
from tests.credentials.signers.mini_signers import epoch_keys
from tests.zknym.ecash_world import TODAY
from zknym import (
    IssuanceVerification,
    TicketType,
    UserSecretKey,
    blind_sign,
    default_expiration,
    encode_date,
    request_withdrawal,
)

OLD, NEW = 5, 6
USER = UserSecretKey.generate()
EXPIRATION = default_expiration(TODAY)
REQUEST, INFO = request_withdrawal(USER, encode_date(EXPIRATION), TicketType.MIXNET_ENTRY)
ISSUANCE = Issuance(OLD, EXPIRATION, REQUEST, INFO)


def signers(epoch_id: int, moved: bool = False) -> SignerSet:
    host = "moved" if moved else "host"
    listed = tuple(
        Signer(s.index, s.verification, f"http://{host}{s.index}/", f"n1owner{s.index}")
        for s in epoch_keys(epoch_id).signers
    )
    return SignerSet(epoch_id, 2, listed)


def answer(epoch_id: int, index: int):
    secret = epoch_keys(epoch_id).of(index).secret
    return blind_sign(secret, USER.public_key(), REQUEST, encode_date(EXPIRATION), TicketType.MIXNET_ENTRY)


def share(epoch_id: int, index: int) -> SignerShare:
    return SignerShare(epoch_id, index, answer(epoch_id, index))


def test_shares_of_two_epochs_are_counted_apart():
    collector = ShareCollector([signers(NEW), signers(OLD)], ISSUANCE, USER, [share(OLD, 1), share(NEW, 2)])
    assert collector.complete is None
    assert [collector.count(epoch) for epoch in (OLD, NEW)] == [1, 1]
    assert [signer.index for signer in collector.to_ask()] == [3]
    kept = collector.take(signers(NEW).by_index(3), answer(OLD, 3))
    assert (kept.epoch_id, kept.node_index) == (OLD, 3)
    assert collector.complete.epoch_id == OLD
    book = collector.book(epoch_keys(OLD).master, OLD)
    book.verify(epoch_keys(OLD).master)


def test_a_signer_that_moved_is_known_by_its_account():
    collector = ShareCollector([signers(NEW, moved=True), signers(OLD)], ISSUANCE, USER)
    kept = collector.take(signers(NEW, moved=True).by_index(2), answer(OLD, 2))
    assert (kept.epoch_id, kept.node_index) == (OLD, 2)


def test_the_answer_of_another_signer_is_refused():
    collector = ShareCollector([signers(OLD)], ISSUANCE, USER)
    with pytest.raises(IssuanceVerification):
        collector.take(signers(OLD).by_index(1), answer(OLD, 2))
    stranger = Signer(1, epoch_keys(OLD).master, "http://stranger")
    with pytest.raises(IssuanceVerification, match="no signer"):
        collector.take(stranger, answer(OLD, 1))


def test_stored_shares_are_checked_again():
    """The chain may name other keys today; a share that does not fit any more is asked for anew."""
    unfit = [replace(share(OLD, 1), node_index=2), share(NEW, 1), replace(share(OLD, 3), node_index=9)]
    collector = ShareCollector([signers(OLD)], ISSUANCE, USER, unfit)
    assert collector.count(OLD) == 0
    assert len(collector.to_ask()) == 3
