"""One bit changed in each byte of a message, one after the other: nothing of it is accepted.

`test_tampering` changes fields and arbitrary bits; here no byte of any serialised form is left out.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.zknym.ecash_world import ENCODED_EXPIRATION, EPOCH, EXPIRATION, SPEND_DATE, TODAY, TYPE, WORLD
from zknym import (
    BlindedSignature,
    CoinSignatureSet,
    DateSignatureSet,
    EcashError,
    PartialWallet,
    PayInfo,
    Payment,
    SignRequest,
    SpendingCredential,
    TicketBook,
    WalletSignatures,
    WithdrawalRequest,
    aggregate_wallet,
    unblind,
    verify_payment,
    verify_wallet,
)
from zknym.sign_request import request_plaintext

PAYMENT, PAY_INFO = WORLD.pay(spent=11)
CREDENTIAL = SpendingCredential(PAYMENT, PAY_INFO, TODAY, EPOCH)
EPOCH_BYTES = 8
USER = WORLD.user.public_key()


def request(data: bytes) -> None:
    WithdrawalRequest.decode(data).verify(USER, ENCODED_EXPIRATION, TYPE)


def answer(data: bytes) -> None:
    signer = WORLD.signers[0]
    unblind(BlindedSignature.decode(data), WORLD.info, WORLD.user, signer.verification, signer.index)


def share(data: bytes) -> None:
    aggregate_wallet([PartialWallet.decode(data), WORLD.shares[1]], WORLD.user, WORLD.master)


def wallet(data: bytes) -> None:
    verify_wallet(WalletSignatures.decode(data), WORLD.user, WORLD.master)


def payment(data: bytes) -> None:
    verify_payment(Payment.decode(data), PAY_INFO, SPEND_DATE, WORLD.master)


def pay_info(data: bytes) -> None:
    verify_payment(PAYMENT, PayInfo.decode(data), SPEND_DATE, WORLD.master)


def credential(data: bytes) -> None:
    SpendingCredential.decode(data).verify(WORLD.master)


def dates(data: bytes) -> None:
    decoded = DateSignatureSet.decode(data)
    decoded.verify(WORLD.master)
    if (decoded.epoch_id, decoded.expiration) != (EPOCH, EXPIRATION):
        raise AssertionError("verified for another date")


def coins(data: bytes) -> None:
    CoinSignatureSet.decode(data).verify(WORLD.master)


ONE_COIN_BYTES = 99
FORMS: dict[str, tuple[bytes, Callable[[bytes], None], range]] = {
    "request": (WORLD.request.encode(), request, range(397)),
    "answer": (WORLD.blinded[1].encode(), answer, range(96)),
    "share": (WORLD.shares[0].encode(), share, range(200)),
    "wallet": (WORLD.wallet.encode(), wallet, range(133)),
    "payment": (PAYMENT.encode(), payment, range(1157)),
    "pay-info": (PAY_INFO.encode(), pay_info, range(72)),
    # The payment inside is the one above; the epoch only says which key to verify with.
    "credential": (CREDENTIAL.encode(), credential, range(4 + 1157, 1245 - EPOCH_BYTES)),
    "credential's length": (CREDENTIAL.encode(), credential, range(4)),
    # Byte 0 is the epoch, which the caller compares with what it asked for.
    "date signatures": (WORLD.date_set.encode(), dates, range(1, len(WORLD.date_set.encode()))),
    # All bytes of one entry, and the count; the other 49 have the same layout.
    "coin signatures": (WORLD.coin_set.encode(), coins, range(1, 2 + ONE_COIN_BYTES)),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_byte(name):
    data, check, positions = FORMS[name]
    check(data)
    assert positions
    for position in positions:
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        with pytest.raises(EcashError):
            check(bytes(changed))


def test_lengths_are_those_of_the_network():
    assert len(WORLD.request.encode()) == 397
    assert len(request_plaintext(WORLD.request, 1)) == 401
    assert len(WORLD.info.encode()) == 248
    assert len(WORLD.shares[0].encode()) == 200
    assert len(WORLD.wallet.encode()) == 133
    assert len(PAYMENT.encode()) == 1157
    assert len(CREDENTIAL.encode()) == 1245
    assert len(WORLD.book.encode()) == 177
    assert len(WORLD.coin_set.encode()) == 4952
    assert len(WORLD.date_set.encode()) == 769
    assert len(WORLD.epoch_key.encode()) == 684


def test_json_of_a_signing_request_is_as_strict():
    assert not hasattr(SignRequest, "decode"), "then it belongs above"
    assert TicketBook.decode(WORLD.book.encode()) == WORLD.book
