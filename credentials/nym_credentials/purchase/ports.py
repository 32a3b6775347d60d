"""What a purchase needs besides a `chain.source.PaymentSource`: a store and the list of signers (docs/protocol/08 §7).

Everything that the store does is durable when it returns: a call that came back survives the loss of power. Errors
come through unchanged; a purchase that meets one goes no further for now.
"""

from __future__ import annotations

from datetime import date
from typing import Protocol
from uuid import UUID

from nym_credentials.purchase.records import Purchase
from nym_credentials.signers.epoch import SignerSet
from zknym import CoinSignatureSet, DateSignatureSet, EpochKey, TicketBook


class GlobalDataStore(Protocol):
    """The public data of epochs. What is put here was verified; it never changes afterwards."""

    async def epoch_key(self, epoch_id: int) -> EpochKey | None:
        """The master verification key of an epoch, if known."""
        ...

    async def put_epoch_key(self, key: EpochKey) -> None:
        """Keeps a key. The same one again is no error; another one for the same epoch is."""
        ...

    async def coin_signatures(self, epoch_id: int) -> CoinSignatureSet | None:
        """The coin-index signatures of an epoch, if known."""
        ...

    async def put_coin_signatures(self, signatures: CoinSignatureSet) -> None:
        """Keeps them; replaces those of the same epoch."""
        ...

    async def date_signatures(self, epoch_id: int, expiration: date) -> DateSignatureSet | None:
        """The signatures of an epoch for one expiration date, if known."""
        ...

    async def put_date_signatures(self, signatures: DateSignatureSet) -> None:
        """Keeps them; replaces those of the same epoch and date."""
        ...


class PurchaseStore(GlobalDataStore, Protocol):
    """Purchases and what belongs to them.

    Purchases are never deleted by this package: finished ones are the account book.
    """

    async def add_purchase(self, purchase: Purchase) -> Purchase:
        """Keeps a new purchase; returns it with its version. Raises if there is one with that id."""
        ...

    async def save_purchase(self, purchase: Purchase) -> Purchase:
        """Replaces the stored record if its version is still `purchase.version`; returns the new version.

        Raises `PurchaseConflict` when somebody else was faster: the caller stops working on it.
        """
        ...

    async def purchase(self, purchase_id: UUID) -> Purchase | None:
        """One purchase."""
        ...

    async def unfinished_purchases(self) -> list[Purchase]:
        """All whose state is not finished, oldest first."""
        ...

    async def purchases(self, *, limit: int = 100) -> list[Purchase]:
        """The most recent ones of every state, newest first."""
        ...

    async def finish_purchase(self, purchase: Purchase, book: TicketBook) -> Purchase:
        """In one transaction: the purchase (which is ISSUED) as by `save_purchase`, and its book, unspent."""
        ...


class SignerDirectory(Protocol):
    """Who issues books."""

    async def current(self) -> SignerSet:
        """The signers of the current epoch; `issuing` tells whether they do. Raises `CredentialsError`."""
        ...

    async def of_epoch(self, epoch_id: int) -> SignerSet:
        """The signers of an earlier epoch. Raises `CredentialsError`."""
        ...
