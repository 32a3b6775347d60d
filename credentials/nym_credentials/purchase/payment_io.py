"""From an intention to a deposit: PLANNED … DEPOSITED (docs/protocol/08 §4.5, §7).

The transaction is stored before it is sent, and from then on only the chain decides what became of it: time-outs,
unreadable answers and crashes leave it where it is, to be looked for again. It is never replaced by another one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

from nym_credentials.chain.records import Failed, Included, SignedDeposit
from nym_credentials.chain.source import PaymentSource, Recovered, Recovery
from nym_credentials.errors import (
    ChainError,
    CredentialsError,
    DepositIdsUnclear,
    InsufficientFunds,
    OutOfGas,
    PaymentFailed,
    PaymentUnconfirmed,
    PurchaseError,
    TransactionRefused,
    printable,
)
from nym_credentials.money import Coin
from nym_credentials.purchase.ports import PurchaseStore
from nym_credentials.purchase.records import Deposit, Purchase, SignedPayment
from nym_credentials.purchase.states import PurchaseState
from nym_credentials.purchase.steps import AtPoint, Point

Clock = Callable[[], float]
"""Unix seconds."""

_REFUSED: Final = (TransactionRefused, InsufficientFunds, OutOfGas)
"""A node's word that it does not take a transaction. Of bytes that were never sent before it is final: `PaymentSource`
says so only if no node can have kept them."""
CONFIRM_SECONDS: Final = 60.0
"""How long a transaction is waited for before it is left to a later resumption."""
IMPOSSIBLE_AFTER_SECONDS: Final = 900.0
"""Younger payments are not given up even if the chain says that another one took their place: the node that says
so may know fewer blocks than the one that counted the account's transactions."""


class Cashier:
    """Pays for purchases."""

    def __init__(
        self,
        store: PurchaseStore,
        source: PaymentSource,
        clock: Clock,
        at: AtPoint,
        *,
        confirm_seconds: float = CONFIRM_SECONDS,
        impossible_after_seconds: float = IMPOSSIBLE_AFTER_SECONDS,
    ) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._at = at
        self._confirm_seconds = confirm_seconds
        self._impossible_after = impossible_after_seconds

    async def sign(self, purchase: Purchase, price: Coin) -> Purchase:
        """Simulates and signs; SIGNED when this returns. Raises what `PaymentSource.prepare` raises."""
        signed = await self._source.prepare([purchase.identity_key], price)
        self._at(Point.PREPARED)
        purchase = await self._store.save_purchase(purchase.signed(SignedPayment.of(signed)))
        self._at(Point.SIGNED)
        return purchase

    async def pay(self, purchase: Purchase) -> Purchase:
        """Sends a purchase that is SIGNED and waits for its deposit.

        Raises `TransactionRefused` and `PaymentFailed` (the purchase has FAILED), `PaymentUnconfirmed` (it has not).
        """
        purchase, problem = await self._send(purchase)
        if isinstance(problem, _REFUSED):
            await self._store.save_purchase(purchase.rejected(printable(str(problem))))
            raise problem
        return await self.confirm(purchase, problem)

    async def resume(self, purchase: Purchase) -> Purchase:
        """Goes on with a purchase that is SIGNED or BROADCAST. Raises as `pay`."""
        recovered = await self._source.recover(purchase.signed_deposit(), [purchase.identity_key])
        if purchase.state is PurchaseState.SIGNED:
            if recovered.what is Recovery.RESUBMIT:
                return await self.pay(purchase)
            # Nothing was sent by the process that stored it, but another copy of the store must have done so.
            purchase = await self._store.save_purchase(purchase.sending())
        match recovered.what:
            case Recovery.INCLUDED:
                return await self._deposited(purchase, _only(recovered), recovered.height or 0)
            case Recovery.FAILED:
                failure = recovered.failure
                raise await self._failed(purchase, failure.log if failure is not None else "")
            case Recovery.IMPOSSIBLE:
                raise await self._impossible(purchase)
            case Recovery.RESUBMIT:
                purchase, problem = await self._send(purchase)
                # A refusal of bytes that were sent before proves nothing: they may have been included meanwhile.
                return await self.confirm(purchase, problem)
            case _:
                assert_never(recovered.what)

    async def look(self, purchase: Purchase) -> Purchase:
        """Goes on with a payment of another account if it is on the chain; decides nothing if it is not.

        Whether it can still be included only the sequence of that account tells. Raises as `pay`.
        """
        if purchase.state is PurchaseState.SIGNED:
            raise PaymentUnconfirmed(
                purchase.signed_deposit().tx_hash, f"it waits for the wallet of {purchase.account}"
            )
        return await self.confirm(purchase, seconds=0.0)

    async def confirm(
        self, purchase: Purchase, problem: CredentialsError | None = None, *, seconds: float | None = None
    ) -> Purchase:
        """Waits for a transaction that was sent. `problem`: what went wrong when it was."""
        signed = purchase.signed_deposit()
        outcome = await self._wait(purchase, signed, self._confirm_seconds if seconds is None else seconds)
        match outcome:
            case Included(height=height, deposit_ids=(deposit_id,)):
                return await self._deposited(purchase, deposit_id, height)
            case Included(height=height):
                return await self._deposited(purchase, await self._search(purchase, signed), height)
            case Failed(log=log):
                raise await self._failed(purchase, log)
        why = printable(str(problem)) if problem is not None else ""
        if why != purchase.problem:
            await self._store.save_purchase(purchase.noted(why))
        raise PaymentUnconfirmed(signed.tx_hash, why, refused=isinstance(problem, _REFUSED))

    async def _send(self, purchase: Purchase) -> tuple[Purchase, CredentialsError | None]:
        """Sends, and tells what went wrong."""
        purchase = await self._store.save_purchase(purchase.sending())
        self._at(Point.SENDING)
        problem: CredentialsError | None = None
        try:
            await self._source.submit(purchase.signed_deposit())
        except CredentialsError as error:
            problem = error
        self._at(Point.SENT)
        return purchase, problem

    async def _wait(
        self, purchase: Purchase, signed: SignedDeposit, seconds: float
    ) -> Included | Failed | None:
        try:
            return await self._source.wait(signed, seconds)
        except DepositIdsUnclear:
            recovered = await self._source.recover(signed, [purchase.identity_key])
            if recovered.what is not Recovery.INCLUDED:
                raise
            return Included(recovered.height or 0, recovered.deposit_ids, 0)
        except ChainError as error:
            raise PaymentUnconfirmed(signed.tx_hash, printable(str(error))) from error

    async def _search(self, purchase: Purchase, signed: SignedDeposit) -> int:
        recovered = await self._source.recover(signed, [purchase.identity_key])
        if recovered.what is not Recovery.INCLUDED:
            raise PaymentUnconfirmed(signed.tx_hash, "the chain contradicts itself about it")
        return _only(recovered)

    async def _deposited(self, purchase: Purchase, deposit_id: int, height: int) -> Purchase:
        self._at(Point.INCLUDED)
        purchase = await self._store.save_purchase(purchase.deposited(Deposit(deposit_id, height)))
        self._at(Point.DEPOSITED)
        return purchase

    async def _failed(self, purchase: Purchase, log: str) -> PaymentFailed:
        said = printable(log)
        await self._store.save_purchase(purchase.rejected(f"failed inside a block: {said}"))
        return PaymentFailed(
            f"The payment was included and failed: {said}.", "Its fee is spent, the deposit was not made."
        )

    async def _impossible(self, purchase: Purchase) -> PurchaseError:
        signed = purchase.signed_deposit()
        why = "another transaction of the account took its place"
        if self._clock() - purchase.created_unix < self._impossible_after:
            return PaymentUnconfirmed(signed.tx_hash, f"{why}; looked for again to be certain")
        await self._store.save_purchase(purchase.rejected(why))
        return PaymentFailed(f"The payment {signed.tx_hash} was never made: {why}.", "Buy again.")


def _only(recovered: Recovered) -> int:
    """The deposit of a transaction that makes one. More than one of the same key: any is good for the book."""
    if not recovered.deposit_ids:
        raise DepositIdsUnclear(
            "The payment was included, but its deposit cannot be found.", "Try again later."
        )
    return recovered.deposit_ids[0]
