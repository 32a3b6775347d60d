"""What a purchase needs of whoever takes the money (docs/protocol/08 §7): $NYM on Nyx is the first, others may come.

The order of calls is the order of docs/protocol/08 §7: `quote`, then `prepare` (nothing is spent; everything returned
is stored durably), then `submit`, then `outcome` until it is not None. After a crash `recover` says what became of a
prepared payment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from nym_credentials.chain.records import Failed, Included, Price, SignedDeposit
from nym_credentials.money import Coin


@dataclass(frozen=True, slots=True)
class Quote:
    """What buying costs now, and whether this account can pay it."""

    count: int
    """Ticketbooks."""
    price: Price
    """Of one ticketbook."""
    fee: Coin
    """Of one deposit transaction; an estimate unless ``fee_is_simulated``."""
    fee_is_simulated: bool
    balance: Coin
    address: str

    @property
    def total(self) -> Coin:
        """Price and fees of all books, a transaction each."""
        return Coin(self.price.best.denom, self.count * (self.price.best.amount + self.fee.amount))

    @property
    def affordable(self) -> int:
        """How many books the balance pays for."""
        return self.balance.amount // max(1, self.price.best.amount + self.fee.amount)


class Recovery(StrEnum):
    """What to do with a prepared payment after a crash."""

    INCLUDED = "included"
    """It went through: continue with the deposit."""
    FAILED = "failed"
    """It is in a block but did nothing: the fee is spent."""
    RESUBMIT = "resubmit"
    """It may still be waiting, or never arrived: submit the same bytes again; that can only happen once."""
    IMPOSSIBLE = "impossible"
    """Another transaction took its place, or it failed unseen; no deposit of its keys exists."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The answer of `PaymentSource.recover`; ``deposit_ids`` only with INCLUDED, ``failure`` only with FAILED."""

    what: Recovery
    height: int | None = None
    deposit_ids: tuple[int, ...] = ()
    failure: Failed | None = None


class PaymentSource(Protocol):
    """Takes money and hands out deposits that signers accept. Errors are `CredentialsError`."""

    @property
    def name(self) -> str:
        """As on command lines: ``smartcontract``."""
        ...

    async def quote(self, count: int = 1) -> Quote:
        """Price, fee and balance. Spends nothing."""
        ...

    async def prepare(self, public_keys: Sequence[bytes], price: Coin) -> SignedDeposit:
        """A payment of ``price`` for each key (Ed25519, 32 bytes, fresh), simulated and signed but not sent.

        Raises `PriceChanged`, `InsufficientFunds`, `AccountUnfunded` and others: nothing was spent.
        """
        ...

    async def submit(self, deposit: SignedDeposit) -> None:
        """Sends it; sending the same again is harmless.

        `TransactionRefused` and its children, `InsufficientFunds` and `OutOfGas` mean that this call spent nothing;
        after an earlier `submit` of the same bytes, let `recover` decide. Any other error leaves the outcome open.
        """
        ...

    async def outcome(self, deposit: SignedDeposit) -> Included | Failed | None:
        """What became of it; None while it cannot be told."""
        ...

    async def wait(self, deposit: SignedDeposit, seconds: float) -> Included | Failed | None:
        """`outcome`, asked again until it is known or ``seconds`` have passed (then None: still open)."""
        ...

    async def recover(self, deposit: SignedDeposit, public_keys: Sequence[bytes]) -> Recovered:
        """What to do with a payment that was prepared before a crash."""
        ...
