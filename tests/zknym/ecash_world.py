"""A small e-cash world: three signers, any two of which issue, and one user with a book."""

from __future__ import annotations

from datetime import date
from functools import cached_property

from zknym import (
    CoinIndexSignature,
    CoinSignatureSet,
    DateSignatureSet,
    EpochKey,
    ExpirationDateSignature,
    PayInfo,
    Payment,
    TicketBook,
    TicketType,
    UserSecretKey,
    WalletSignatures,
    aggregate_coin_indices,
    aggregate_expiration_date,
    aggregate_verification_keys,
    aggregate_wallet,
    blind_sign,
    default_expiration,
    encode_date,
    generate_signers,
    request_withdrawal,
    sign_coin_indices,
    sign_expiration_date,
    spend,
    unblind,
)

EPOCH = 12
TODAY = date(2026, 5, 28)
EXPIRATION = default_expiration(TODAY)
SPEND_DATE = encode_date(TODAY)
ENCODED_EXPIRATION = encode_date(EXPIRATION)
TYPE = TicketType.MIXNET_ENTRY
GATEWAY = bytes(range(32))
NOW_UNIX = SPEND_DATE + 3600


class World:
    """Everything is made once, when it is first asked for."""

    def __init__(self, y_values: int = 4) -> None:
        self.signers = generate_signers(2, 3, y_values=y_values)
        self.master = aggregate_verification_keys([(s.index, s.verification) for s in self.signers[:2]])
        self.user = UserSecretKey.generate()
        self.request, self.info = request_withdrawal(self.user, ENCODED_EXPIRATION, TYPE)
        self.blinded = {
            s.index: blind_sign(s.secret, self.user.public_key(), self.request, ENCODED_EXPIRATION, TYPE)
            for s in self.signers
        }
        self.shares = [
            unblind(self.blinded[s.index], self.info, self.user, s.verification, s.index)
            for s in self.signers
        ]
        self.wallet: WalletSignatures = aggregate_wallet(self.shares[1:], self.user, self.master)

    @cached_property
    def coins(self) -> tuple[CoinIndexSignature, ...]:
        return aggregate_coin_indices(
            [(s.index, s.verification, sign_coin_indices(s.secret, self.master)) for s in self.signers[:2]],
            self.master,
        )

    @cached_property
    def dates(self) -> tuple[ExpirationDateSignature, ...]:
        return aggregate_expiration_date(
            [
                (s.index, s.verification, sign_expiration_date(s.secret, ENCODED_EXPIRATION))
                for s in self.signers[:2]
            ],
            ENCODED_EXPIRATION,
            self.master,
        )

    @cached_property
    def book(self) -> TicketBook:
        return TicketBook(self.wallet, 0, EPOCH, self.user, EXPIRATION, TYPE)

    @cached_property
    def epoch_key(self) -> EpochKey:
        return EpochKey(EPOCH, self.master)

    @cached_property
    def coin_set(self) -> CoinSignatureSet:
        return CoinSignatureSet(EPOCH, self.coins)

    @cached_property
    def date_set(self) -> DateSignatureSet:
        return DateSignatureSet(EPOCH, EXPIRATION, self.dates)

    def pay(
        self, *, spent: int = 0, tickets: int = 1, pay_info: PayInfo | None = None
    ) -> tuple[Payment, PayInfo]:
        info = pay_info or PayInfo.create(GATEWAY, NOW_UNIX)
        payment = spend(
            self.wallet,
            self.user,
            self.master,
            info,
            spent=spent,
            spend_date=SPEND_DATE,
            date_signatures=self.dates,
            coin_signatures=self.coins,
            tickets=tickets,
        )
        return payment, info


WORLD = World()
