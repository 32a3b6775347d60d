"""Ticketbooks as stored: pending and issued (docs/protocol/07 §13.3)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from zknym.bincode import Reader, g1_field, scalar_field, varint
from zknym.constants import MAX_U32, SCALAR_BYTES
from zknym.credential import SpendingCredential
from zknym.dates import date_field, encode_date, is_expired, midnight, read_date
from zknym.epoch_data import CoinSignatureSet, DateSignatureSet, EpochKey
from zknym.errors import InvalidArgument, MalformedData
from zknym.pay_info import PayInfo
from zknym.randomness import Draw, random_scalar
from zknym.sign_request import SignRequest, request_plaintext
from zknym.signer_keys import VerificationKey
from zknym.spending import spend
from zknym.ticket_types import TicketType
from zknym.user_keys import UserPublicKey, UserSecretKey
from zknym.versioned import Versioned, expect_revision
from zknym.wallet import WalletSignatures, verify_wallet
from zknym.withdrawal import WithdrawalRequest


@dataclass(frozen=True, slots=True)
class PendingTicketBook:
    """A paid deposit whose book has not been issued yet (the reference's `IssuanceTicketBook`).

    It lacks the secrets of the withdrawal request. Store the request and its `RequestInfo` next to it:
    signers answer by deposit, so a retry with a new request can fail for ever (docs/protocol/07 §14).
    """

    REVISION: ClassVar[int] = 1

    deposit_id: int
    signing_key: bytes = field(repr=False)
    """Ed25519 seed of the deposit, 32 bytes."""
    user: UserSecretKey
    ticket_type: TicketType
    expiration: date

    def sign(self, request: WithdrawalRequest) -> SignRequest:
        """The body to post to every signer; retries must repeat it."""
        key = Ed25519PrivateKey.from_private_bytes(self.signing_key)
        return SignRequest(
            request,
            self.deposit_id,
            key.sign(request_plaintext(request, self.deposit_id)),
            self.user.public_key(),
            self.expiration,
            self.ticket_type,
        )

    def encode(self) -> bytes:
        """The stored form (bincode)."""
        return (
            varint(self.deposit_id)
            + self.signing_key
            + scalar_field(self.user.scalar)
            + g1_field(self.user.public_key().point)
            + varint(self.ticket_type)
            + date_field(self.expiration)
        )

    @classmethod
    def decode(cls, data: bytes, revision: int = REVISION) -> PendingTicketBook:
        """The inverse of `encode`. Raises `MalformedData`, `UnknownRevision`."""
        expect_revision("a pending ticketbook", revision, cls.REVISION)
        reader = Reader(data)
        deposit_id, signing_key = reader.varint(MAX_U32), reader.take(SCALAR_BYTES)
        user, public = UserSecretKey(reader.scalar()), UserPublicKey(reader.g1())
        book = cls(
            deposit_id, signing_key, user, TicketType.from_code(reader.varint(MAX_U32)), read_date(reader)
        )
        reader.finish()
        if public != user.public_key():
            raise MalformedData("a pending ticketbook whose user keys do not belong together")
        return book


@dataclass(frozen=True, slots=True)
class TicketBook:
    """A book with the user secret it was made for (the reference's `IssuedTicketBook`).

    `spent_tickets` is a snapshot: a database that keeps books counts in a column of its own.
    """

    REVISION: ClassVar[int] = 1

    wallet: WalletSignatures
    spent_tickets: int
    epoch_id: int
    user: UserSecretKey
    expiration: date
    ticket_type: TicketType

    @classmethod
    def issued(
        cls, wallet: WalletSignatures, epoch_id: int, user: UserSecretKey, expiration: date
    ) -> TicketBook:
        """A new, unspent book. Raises `InvalidArgument` when date and wallet do not fit."""
        book = cls(wallet, 0, epoch_id, user, expiration, TicketType.from_code(wallet.ticket_type))
        if not book._consistent:
            raise InvalidArgument("the wallet was signed for another expiration date")
        return book

    @property
    def _consistent(self) -> bool:
        """Date and type are stored twice."""
        return (self.wallet.expiration, self.wallet.ticket_type) == (
            midnight(self.expiration),
            self.ticket_type,
        )

    def expired(self, today: date) -> bool:
        """Whether it is worth nothing any more."""
        return is_expired(self.expiration, today)

    def verify(self, master: VerificationKey) -> None:
        """Checks the signature of a book that comes from elsewhere. Raises as `verify_wallet`."""
        verify_wallet(self.wallet, self.user, master)

    def pay(
        self,
        pay_info: PayInfo,
        today: date,
        master: EpochKey,
        coin_signatures: CoinSignatureSet,
        date_signatures: DateSignatureSet,
        *,
        tickets: int = 1,
        draw: Draw = random_scalar,
    ) -> tuple[SpendingCredential, TicketBook]:
        """A payment of the next tickets, valid `today` (UTC), and the book without them.

        Store the new count before the payment is sent. A payment that may have left the machine counts as
        spent for ever. Raises as `zknym.spending.spend`, and `InvalidArgument` for data of other epochs.
        """
        if {master.epoch_id, coin_signatures.epoch_id, date_signatures.epoch_id} != {self.epoch_id}:
            raise InvalidArgument(f"key and signatures must be those of the book's epoch {self.epoch_id}")
        payment = spend(
            self.wallet,
            self.user,
            master.key,
            pay_info,
            spent=self.spent_tickets,
            spend_date=encode_date(today),
            date_signatures=date_signatures.signatures,
            coin_signatures=coin_signatures.signatures,
            tickets=tickets,
            draw=draw,
        )
        credential = SpendingCredential(payment, pay_info, today, self.epoch_id)
        return credential, replace(self, spent_tickets=self.spent_tickets + tickets)

    def encode(self) -> bytes:
        """The stored form (bincode): 177 or 179 bytes, depending on the date; never check the length."""
        return (
            self.wallet.field()
            + varint(self.spent_tickets)
            + varint(self.epoch_id)
            + scalar_field(self.user.scalar)
            + date_field(self.expiration)
            + varint(self.ticket_type)
        )

    @classmethod
    def decode(cls, data: bytes, revision: int = REVISION) -> TicketBook:
        """The inverse of `encode`. Raises `MalformedData`, `UnknownRevision`."""
        expect_revision("a ticketbook", revision, cls.REVISION)
        reader = Reader(data)
        book = cls(
            WalletSignatures.read(reader),
            reader.varint(),
            reader.varint(),
            UserSecretKey(reader.scalar()),
            read_date(reader),
            TicketType.from_code(reader.varint(MAX_U32)),
        )
        reader.finish()
        if not book._consistent:
            raise MalformedData("a ticketbook that contradicts itself about its date or type")
        return book

    def pack(self) -> Versioned:
        """The stored form with its revision."""
        return Versioned(self.encode(), self.REVISION)
