"""The account of a running proxy as the top-up wants it: a buyer that is made when money moves, and what was spent.

All errors are those of ``nym_credentials``: the top-up tells by them who is at fault.
"""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from nym_credentials.chain.source import Quote
from nym_credentials.errors import ChainUnreachable, CredentialsError, WalletError
from nym_credentials.purchase.records import Purchase
from nym_credentials.purchase.steps import Resumed
from nym_credentials.store.records import BookInfo
from nymgate.errors import NymgateError
from nymgate.purse.money_io import Money
from zknym import TicketType

if TYPE_CHECKING:
    from nym_credentials.purchase.buyer_io import Buyer, Confirm, Watch


class AccountBuyer:
    """``nym_credentials.topup.topup_io.Buys`` over the account that the configuration or the store names."""

    def __init__(self, money: Money, *, allowed: bool, reached: Callable[[], bool] = lambda: True) -> None:
        """``allowed``: whether anything is bought by itself. ``reached``: whether chain and signers can be asked."""
        self._money = money
        self._allowed = allowed
        self._reached = reached

    async def quote(self, count: int = 1) -> Quote:
        async with self._buyer() as buyer:
            return await buyer.quote(count)

    async def buy(
        self,
        ticket_type: TicketType,
        count: int = 1,
        *,
        confirm: "Confirm | None" = None,
        watch: "Watch | None" = None,
    ) -> list[Purchase]:
        if not self._allowed:
            raise WalletError("Nothing is bought by itself: tickets.top_up is false.")
        async with self._buyer() as buyer:
            return await buyer.buy(ticket_type, count, confirm=confirm, watch=watch)

    async def resume(self, *, watch: "Watch | None" = None) -> list[Resumed]:
        async with self._buyer() as buyer:
            return await buyer.resume(watch=watch)

    async def pending(self) -> list[Purchase]:
        unfinished = await self._money.store.purchases.unfinished_purchases()
        return [item for item in unfinished if item.network == self._money.plan.network.name]

    @contextlib.asynccontextmanager
    async def _buyer(self) -> "AsyncIterator[Buyer]":
        if not self._reached():
            raise ChainUnreachable("The mixnet, which payments go through, has not been reached yet.")
        try:
            async with self._money.any_buyer() as buyer:
                yield buyer
        except NymgateError as error:
            if isinstance(error.__cause__, CredentialsError):
                raise error.__cause__ from None
            raise WalletError(error.what, error.todo) from None


class Payments:
    """``nym_credentials.topup.topup_io.PurchaseList``: purchases, and when each of them reached the chain."""

    def __init__(self, money: Money) -> None:
        self._money = money
        self._paid: dict[str, float] = {}

    async def purchases(self, *, limit: int = 100) -> list[Purchase]:
        """Newest first."""
        store = self._money.store.purchases
        lines = await store.spendings()
        self._paid = {line.purchase_id: line.paid_unix for line in lines if line.paid_unix is not None}
        return await store.purchases(limit=limit)

    def paid_unix(self, purchase: Purchase) -> float | None:
        """When it was seen on the chain first, by whichever replica; None if it was not."""
        return self._paid.get(str(purchase.id))


class FleetStock:
    """``nym_credentials.topup.topup_io.Stock``: the store of all replicas."""

    def __init__(self, money: Money) -> None:
        self._money = money
        self.payments = Payments(money)

    @property
    def purchases(self) -> Payments:
        """The purchases of all processes."""
        return self.payments

    async def books(self) -> list[BookInfo]:
        """All books."""
        return await self._money.store.books()
